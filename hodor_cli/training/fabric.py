"""Several processes with Lightning Fabric. The only module that imports it, and itself imported only for several."""

from __future__ import annotations

import logging
from datetime import timedelta

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning_fabric.strategies import DDPStrategy

#: How long the other processes wait while the first one validates.
_PATIENCE = timedelta(hours=6)
_ENVIRONMENTS: dict[str, type[ClusterEnvironment]] = {
    "fabric": LightningEnvironment,
    "torchrun": TorchElasticEnvironment,
    "slurm": SLURMEnvironment,
}


class QuietDDP(DDPStrategy):
    """Distributed data parallel that says nothing about its ranks while it starts."""

    def setup_environment(self) -> None:
        """Join the other processes."""
        for name in ("lightning_fabric", "lightning_utilities", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        super().setup_environment()


def make_fabric(kind: str, local: int, nodes: int, starter: str, *, unused: bool) -> Fabric:
    """A Fabric of `local` processes on each of `nodes` machines.

    kind: "cpu" or "cuda". starter: who starts the processes, "fabric", "torchrun" or "slurm". unused: whether some
    iterations give some parameters no gradient.
    """
    return Fabric(
        accelerator=kind,
        devices=local,
        num_nodes=nodes,
        strategy=QuietDDP(
            start_method="spawn" if starter == "fabric" else "popen",
            timeout=_PATIENCE,
            find_unused_parameters=unused,
        ),
        precision="32-true",  # each process casts by itself
        plugins=[_ENVIRONMENTS[starter]()],
    )
