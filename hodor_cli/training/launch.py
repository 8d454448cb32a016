"""The processes of a run: this one alone, or several that Lightning Fabric, torchrun or SLURM start.

Lightning Fabric is imported only for more than one process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

import hodor_cli.errors
from hodor_cli.errors import DeviceError, HodorError, UsageError, extra
from hodor_cli.runtime.device import choose_device, choose_precision
from hodor_cli.training.options import LaunchSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


@dataclass(frozen=True)
class Layout:
    """The processes of a run: `local` on each of `nodes` machines, each on a device of `kind` ("cpu" or "cuda").

    starter: who starts them, "fabric", "torchrun" or "slurm". rank: the number of this process among all; 0 before
    they start. device: where a single process computes.
    """

    device: str
    precision: str
    kind: str
    local: int
    nodes: int
    starter: str
    rank: int

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.local * self.nodes


def resolve(settings: LaunchSettings | None = None, environ: Mapping[str, str] | None = None) -> Layout:
    """The processes that the settings and the environment ask for.

    Raises UsageError for settings that contradict the launcher, DeviceError for GPUs that are not there.
    """
    settings, environ = settings or LaunchSettings(), os.environ if environ is None else environ
    starter, rank, local, nodes = "fabric", 0, 1, 1
    # Only `srun` starts several processes; a batch script or an interactive shell of SLURM is a single one.
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS") or 1) if "SLURM_STEP_ID" in environ else 1
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"} <= set(environ):
        starter, rank, local = "torchrun", int(environ["RANK"]), int(environ["LOCAL_WORLD_SIZE"])
        nodes = int(environ["WORLD_SIZE"]) // local
    elif tasks > 1 and "SLURM_PROCID" in environ:
        nodes = int(environ.get("SLURM_STEP_NUM_NODES") or environ.get("SLURM_NNODES") or 1)
        starter, rank, local = "slurm", int(environ["SLURM_PROCID"]), tasks // nodes
    on_cpu = settings.processes is not None or settings.device in ("cpu", "mps")
    wants_gpu = settings.gpus is not None or settings.device.startswith("cuda")
    kind = "cuda" if wants_gpu or (not on_cpu and torch.cuda.is_available()) else "cpu"
    wanted = settings.gpus if kind == "cuda" else settings.processes
    name = "gpus" if kind == "cuda" else "processes"
    if starter == "fabric":
        local, nodes = wanted or 1, settings.nodes
        missing = [variable for variable in _RENDEZVOUS if variable not in environ]
        if nodes > 1 and missing:
            raise UsageError(
                f"`nodes={nodes}` needs to know the other machines: start it with torchrun or srun on each, or set"
                f" {', '.join(missing)}"
            )
        rank = int(environ.get("NODE_RANK", 0)) * local if nodes > 1 else 0
    else:
        if wanted is not None and wanted != local:
            raise UsageError(
                f"`{name}={wanted}` contradicts {starter}, which started {local} processes on each machine"
            )
        if settings.nodes not in (1, nodes):
            raise UsageError(f"`nodes={settings.nodes}` contradicts {starter}, which runs on {nodes} machines")
    if settings.device != "auto":
        choose_device(settings.device)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and local > there and (wanted is not None or starter != "fabric"):
        raise DeviceError(
            f"{starter if wanted is None else f'`{name}={wanted}`'} asks for {local} CUDA"
            f" {'device' if local == 1 else 'devices'}, but this machine has {there}"
            f"{'; use `processes` to train on the CPU' if there == 0 else ''}"
        )
    alone = "cuda" if settings.gpus else "cpu" if settings.processes else settings.device
    return Layout(alone, settings.precision, kind, local, nodes, starter, rank)


def launch(layout: Layout, function: Callable[..., Any], *arguments: Any, unused: bool = False) -> Any:
    """Call `function(process, *arguments)` in each of several processes and return what the first one returned.

    function, arguments: picklable. unused: whether some iterations give some parameters no gradient. Raises whatever
    HodorError one of the processes raised.
    """
    # Lightning leaves ports and ranks in the environment, and the next launch would take them for its own.
    before = dict(os.environ)
    with extra("distributed", "training in several processes"):
        from hodor_cli.training.fabric import make_fabric

    with tempfile.TemporaryDirectory(prefix="hodor-launch-") as folder:
        errors = Path(folder) if layout.starter == "fabric" else None
        try:
            # Without this, the processes warn of parameters without a gradient, which `unused` announces.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
            if layout.starter == "slurm":
                # Lightning needs the number of processes on each machine, also where srun was not told it.
                os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(layout.local))
            fabric = make_fabric(layout.kind, layout.local, layout.nodes, layout.starter, unused=unused)
            # A partial, because Fabric takes arguments apart to look for modules.
            return fabric.launch(partial(_in_process, function, arguments, layout.precision, errors))
        except KeyboardInterrupt:
            children = multiprocessing.active_children()
            for child in children:  # a terminal tells them, too, but `kill` does not
                os.kill(cast(int, child.pid), signal.SIGINT)
            for child in children:
                child.join()
            raise
        except HodorError:
            raise
        except Exception:
            # The error that a process wrote down; the first one, if several did.
            left = sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_mtime_ns)
            if not left:
                raise
            kind, _, message = left[0].read_text(encoding="utf-8").partition("\n")
            raise getattr(hodor_cli.errors, kind, HodorError)(message) from None
        finally:
            os.environ.clear()
            os.environ.update(before)


def _in_process(
    function: Callable[..., Any], arguments: tuple[Any, ...], precision: str, errors: Path | None, fabric: Fabric
) -> Any:
    try:
        return function(Process(precision=precision, fabric=fabric), *arguments)
    except HodorError as error:
        # The parent gets a child's error as the text of a traceback, so the child writes its sentence into a file.
        if errors is not None:
            (errors / f"{fabric.global_rank}").write_text(f"{type(error).__name__}\n{error}", encoding="utf-8")
        raise


class Process:
    """One process of a run, number `rank` of `world`; the first one writes the files.

    fabric: joins several processes; None for a single one, on `device`. dtype: the precision of training.
    """

    def __init__(
        self, device: str | torch.device = "cpu", precision: str = "fp32", fabric: Fabric | None = None
    ) -> None:
        self._fabric = fabric
        self.device = choose_device(device) if fabric is None else fabric.device
        self.dtype = choose_precision(precision, self.device, training=True)
        self.rank, self.world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
        self.is_first = self.rank == 0

    def setup(self, module: nn.Module) -> nn.Module:
        """The module, which lies on the device, ready to exchange gradients with the other processes."""
        return module if self._fabric is None else self._fabric.setup_module(module)

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
        """If enabled, the processes exchange no gradients while the block runs."""
        if self._fabric is None:
            return nullcontext()
        return self._fabric.no_backward_sync(module, enabled=enabled)  # type: ignore[arg-type]

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients, averaged over all processes unless `accumulate` holds them back."""
        loss.backward() if self._fabric is None else self._fabric.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        return values if self._fabric is None else self._fabric.all_reduce(values, reduce_op="mean")  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait for the others."""
        if self._fabric is not None:
            self._fabric.barrier()

    def gather(self, values: Any) -> list[Any]:
        """What each process has, in order of their ranks."""
        gathered = [values] * self.world
        if self._fabric is not None:
            torch.distributed.all_gather_object(gathered, values)
        return gathered


class HalfDone(KeyboardInterrupt):
    """A second Ctrl-C, which leaves an iteration half done."""


#: Seconds after Ctrl-C in which another one asks for the same.
_IMPATIENCE = 1.0


@contextmanager
def uninterrupted(at_first: Callable[[], None] | None = None) -> Iterator[None]:
    """Ctrl-C inside the block takes effect at its end, so that no iteration is left half done.

    at_first: called at the first Ctrl-C; a later one then raises HalfDone inside the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[float] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(time.monotonic())
        if at_first is not None and len(caught) == 1:
            at_first()
        elif at_first is not None and caught[-1] - caught[0] > _IMPATIENCE:
            raise HalfDone

    before = signal.signal(signal.SIGINT, catch)
    try:
        yield
    except Exception:
        if not caught:  # after Ctrl-C it may come from the other processes, which are gone
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if caught:
        raise KeyboardInterrupt
