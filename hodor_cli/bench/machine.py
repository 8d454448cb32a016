"""What this machine can do: its largest matrix products per second and its memory, measured, not looked up."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from hodor_cli.runtime.device import device_name

#: Seconds spent on each measurement.
_PATIENCE = 0.4


@dataclass(frozen=True)
class Machine:
    """One machine as it was during a measurement.

    matrix_gflops: operations per second of a large matrix product, in 1e9, by precision. copy_gbytes: bytes read and
    written per second by a copy far larger than the caches, in 1e9. load: the system's load average of the last minute
    before the measurement, per core; above about 0.2 on an idle machine something else was running.
    """

    device: str
    system: str
    torch: str
    threads: int
    cores: int
    load: float | None
    matrix_gflops: dict[str, float]
    copy_gbytes: float


def describe_machine(device: torch.device, precisions: tuple[str, ...] = ("fp32", "bf16")) -> Machine:
    """Measure this machine; takes about a second."""
    from hodor_cli.runtime.device import PRECISIONS

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    load = round(os.getloadavg()[0] / cores, 2) if hasattr(os, "getloadavg") else None
    return Machine(
        device=device_name(device),
        system=f"{platform.system()} {platform.machine()}",
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        cores=cores,
        load=load,
        matrix_gflops={name: round(matrix_gflops(device, PRECISIONS[name]), 1) for name in precisions},
        copy_gbytes=round(copy_gbytes(device), 1),
    )


def matrix_gflops(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Operations per second, in 1e9, of a square matrix product of that side: the best that layers can hope for."""
    size = size or (4096 if device.type == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, device) / 1e9


def copy_gbytes(device: torch.device, size: int | None = None) -> float:
    """Bytes per second, in 1e9, read and written together, of a copy of `size` bytes."""
    size = size or (2**30 if device.type == "cuda" else 2**28)
    source = torch.zeros(size // 4, device=device)
    target = torch.zeros_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source), device) / 1e9


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The median time of a call."""
    times: list[float] = []
    with torch.inference_mode():
        run()
        began = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - began < _PATIENCE:
            synchronise(device)
            started = time.perf_counter()
            run()
            synchronise(device)
            times.append(time.perf_counter() - started)
    return median(times)
