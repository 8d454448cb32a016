"""Several processes with Lightning Fabric. The only module that imports it, and itself imported only for several."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from hodor_cli.runtime.device import choose_precision
from hodor_cli.training.launch import Process

#: The other processes wait this long while the first one validates.
_PATIENCE = timedelta(hours=6)
_ENVIRONMENTS: dict[str, type[ClusterEnvironment]] = {
    "fabric": LightningEnvironment,
    "torchrun": TorchElasticEnvironment,
    "slurm": SLURMEnvironment,
}


class FabricProcess(Process):
    """One of the processes of a Lightning Fabric launch: several GPUs, machines, or CPU processes."""

    def __init__(self, fabric: Fabric, precision: str = "fp32") -> None:
        self.fabric = fabric
        self.device = fabric.device
        self.dtype = choose_precision(precision, self.device, training=True)
        self.rank, self.world, self.is_first = fabric.global_rank, fabric.world_size, fabric.is_global_zero

    def setup(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        return self.fabric.setup_module(self._cast(module)), optimiser

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
        return self.fabric.no_backward_sync(module, enabled=enabled)  # type: ignore[arg-type]

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        return self.fabric.all_reduce(values, reduce_op="mean")  # type: ignore[return-value]

    def barrier(self) -> None:
        self.fabric.barrier()

    def gather(self, values: Any) -> list[Any]:
        gathered: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(gathered, values)
        return gathered


class QuietDDP(DDPStrategy):
    """Distributed data parallel that says nothing about its ranks while it starts."""

    def setup_environment(self) -> None:
        """In every process: join the others."""
        for name in ("lightning_fabric", "lightning_utilities", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        super().setup_environment()


def make_fabric(kind: str, local: int, nodes: int, starter: str, *, unused: bool) -> Fabric:
    """A Fabric of `local` processes on each of `nodes` machines.

    kind: "cpu" or "cuda". starter: who starts the processes, "fabric", "torchrun" or "slurm". unused: some iterations
    leave parameters out.
    """
    strategy = QuietDDP(
        start_method="spawn" if starter == "fabric" else "popen",
        timeout=_PATIENCE,
        find_unused_parameters=unused,
    )
    return Fabric(
        accelerator=kind,
        devices=local,
        num_nodes=nodes,
        strategy=strategy,
        precision="32-true",  # each process casts by itself
        plugins=[_ENVIRONMENTS[starter]()],
    )
