"""The processes of a run: this one alone, several that are started here, or those that torchrun or SLURM started."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessExitedException, spawn
from torch.nn.parallel import DistributedDataParallel

from hodor_cli.errors import DeviceError, HodorError, UsageError
from hodor_cli.runtime.device import choose_device, choose_precision
from hodor_cli.runtime.interrupts import terminated_like_ctrl_c
from hodor_cli.runtime.threads import uninterruptible_children, usable_cores
from hodor_cli.settings import options_of
from hodor_cli.training.options import LaunchSettings

_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
#: How long the other processes wait while the first one validates.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Layout:
    """The processes of a run: `local` on each of `nodes` machines, each on a device of `kind` ("cpu" or "cuda").

    starter: what starts them: "hodor", "torchrun" or "slurm". rank: the number of this process among all; 0 before
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
        """The number of processes on all machines."""
        return self.local * self.nodes


def layout_of(settings: LaunchSettings | None = None, environ: Mapping[str, str] | None = None) -> Layout:
    """The processes that the settings and the environment ask for.

    Raises UsageError for settings that contradict the launcher, DeviceError for missing GPUs.
    """
    settings, environ = options_of(LaunchSettings, settings, "launch"), os.environ if environ is None else environ
    starter, rank, local, nodes = "hodor", 0, 1, 1
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
    if starter == "hodor":
        local, nodes = wanted or 1, settings.nodes
        missing = [variable for variable in _RENDEZVOUS if variable not in environ]
        if nodes > 1 and missing:
            raise UsageError(f"`nodes={nodes}` needs torchrun or srun on each machine, or {', '.join(missing)} set")
        rank = int(environ.get("NODE_RANK", 0)) * local if nodes > 1 else 0
    else:
        if wanted is not None and wanted != local:
            raise UsageError(f"`{name}={wanted}` contradicts {starter}, which started {local} processes per machine")
        if settings.nodes not in (1, nodes):
            raise UsageError(f"`nodes={settings.nodes}` contradicts {starter}, which runs on {nodes} machines")
    if settings.device != "auto":
        choose_device(settings.device)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and local > there and (wanted is not None or starter != "hodor"):
        raise DeviceError(
            f"{starter if wanted is None else f'`{name}={wanted}`'} asks for {local} CUDA"
            f" {'device' if local == 1 else 'devices'}, but this machine has {there}"
            f"{'; use `processes` to train on the CPU' if there == 0 else ''}"
        )
    device = "cuda" if settings.gpus else "cpu" if settings.processes else settings.device
    return Layout(device, settings.precision, kind, local, nodes, starter, rank)


@terminated_like_ctrl_c()
def in_processes(layout: Layout, function: Callable[..., Any], *arguments: Any, unused: bool = False) -> Any:
    """Call `function(process, *arguments)` in each of several processes and return the first local process's result.

    function, arguments: picklable. unused: whether some parameters get no gradient in some iterations. Raises the
    HodorError that a process raised, DeviceError if one was killed.
    """
    if layout.starter != "hodor":
        local = int(os.environ["LOCAL_RANK" if layout.starter == "torchrun" else "SLURM_LOCALID"])
        with _joined(layout, layout.rank, local, _init_method(layout), unused=unused) as process:
            return function(process, *arguments)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="hodor-launch-") as name:
        folder = Path(name)
        try:
            # Without this, the processes warn about parameters without a gradient, which `unused` announces.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
            given = layout, folder, unused, function, arguments
            with uninterruptible_children():
                started = spawn(_run_spawned, given, nprocs=layout.local, join=False)
            while not started.join():
                pass
        except KeyboardInterrupt:
            children = multiprocessing.active_children()
            for child in children:  # a terminal interrupts them, too, but `kill` does not
                os.kill(cast(int, child.pid), signal.SIGINT)
            for child in children:
                child.join()
            raise
        except Exception as error:
            # The first error that a process wrote. It is safe to unpickle: only this user can write to the folder.
            left = sorted(folder.glob("error*"), key=lambda path: path.stat().st_mtime_ns)
            if left:
                raise pickle.loads(left[0].read_bytes()) from None
            # The others may notice it first: gloo then says that a connection was closed by its peer.
            if isinstance(error, ProcessExitedException) and error.signal_name is None:
                raise UsageError(
                    "a process ended before it began; a script that trains in several processes must do so below"
                    ' `if __name__ == "__main__":`, because each of them imports it'
                ) from error
            if isinstance(error, ProcessExitedException) or "by peer" in str(error):
                raise DeviceError(
                    f"one of {layout.local} processes was killed, probably because memory is short; continue with"
                    " `resume` and fewer of them"
                ) from error
            raise
        finally:
            os.environ.clear()
            os.environ.update(before)
        return pickle.loads((folder / "result").read_bytes())


def _run_spawned(
    local: int, layout: Layout, folder: Path, unused: bool, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Run in a process started here; write its result or a HodorError, which `spawn` would turn into a traceback."""
    # Until all processes have met there is nothing to save, and Python could not interrupt the wait for the others.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // layout.local))
    init_method = (folder / "rendezvous").as_uri() if layout.nodes == 1 else _init_method(layout)
    try:
        with _joined(layout, layout.rank + local, local, init_method, unused=unused) as process:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            result = function(process, *arguments)
    except HodorError as error:
        (folder / f"error{local}").write_bytes(pickle.dumps(error))
        raise
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launching process passes the same Ctrl-C on
        raise
    if local == 0:
        (folder / "result").write_bytes(pickle.dumps(result))


def _init_method(layout: Layout) -> str:
    """The URL by which the processes of several machines find each other."""
    if layout.starter != "slurm":
        return "env://"
    first = re.sub(r"\[(\d+)[^]]*\]", r"\1", os.environ["SLURM_STEP_NODELIST"])
    port = 15_000 + int(os.environ.get("SLURM_JOB_ID", "0")[-4:])
    return f"tcp://{os.environ.get('MASTER_ADDR', first.split(',')[0])}:{os.environ.get('MASTER_PORT', port)}"


@contextmanager
def _joined(layout: Layout, rank: int, local: int, init_method: str, *, unused: bool) -> Iterator[Process]:
    """Join the process group inside the block, as process `rank` of the run and number `local` on its machine."""
    if on_gpu := layout.kind == "cuda":
        torch.cuda.set_device(local)
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=init_method, timeout=_PATIENCE, world_size=layout.world, rank=rank
    )
    yield Process(f"cuda:{local}" if on_gpu else "cpu", layout.precision, rank, layout.world, unused=unused)
    distributed.destroy_process_group()  # not after an error: the others may be gone, and this process ends anyway


class Process:
    """One process of a run, number `rank` of `world`; the first one writes the files.

    dtype: the precision of training. unused: whether some parameters get no gradient in some iterations.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        precision: str = "fp32",
        rank: int = 0,
        world: int = 1,
        *,
        unused: bool = False,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.rank, self.world, self._unused = rank, world, unused
        self.is_first = rank == 0

    def setup(self, module: nn.Module) -> nn.Module:
        """The module, already on the device, made ready to exchange gradients with the other processes."""
        if self.world == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=self._unused)

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
        """If enabled, the processes exchange no gradients inside the block, which holds both forward and backward."""
        return module.no_sync() if enabled and isinstance(module, DistributedDataParallel) else nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
            values = values / self.world
        return values

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            distributed.barrier()

    def gather(self, values: Any) -> list[Any]:
        """The values of all processes, by rank."""
        gathered = [values] * self.world
        if self.world > 1:
            distributed.all_gather_object(gathered, values)
        return gathered
