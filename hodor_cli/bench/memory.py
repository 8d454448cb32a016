"""The largest memory that a piece of work needs, on the host and on the device."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakMemory:
    """MiB: the process's largest resident memory during the work, and the device's; None where nobody can tell."""

    host_mib: float | None
    device_mib: float | None


def peak_memory(run: Callable[[], object], device: torch.device) -> PeakMemory:
    """Call `run` and watch. The host's number holds the whole process: Python, PyTorch and the weights."""
    gc.collect()
    _give_back()
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    known = _reset_host_peak()
    run()
    return PeakMemory(
        host_mib=_host_peak() if known else None,
        device_mib=round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if on_cuda else None,
    )


def _give_back() -> None:
    """Free memory that the allocator keeps for later, so that earlier work is not counted."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):
            pass  # another C library


def _reset_host_peak() -> bool:
    """Make the kernel forget the largest memory so far. False where it cannot (elsewhere than on Linux)."""
    try:
        _CLEAR.write_text("5")
        return _STATUS.exists()
    except OSError:
        return False


def _host_peak() -> float | None:
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None
