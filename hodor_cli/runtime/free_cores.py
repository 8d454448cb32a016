"""Threads beside other programs: PyTorch gets the cores that nobody else uses, looked at again and again.

PyTorch's threads wait for each other after every layer. If another program holds one of two cores, the thread that
shares it comes last each time and the other one waits for it: two threads then do less than one.
"""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import NamedTuple

from hodor_cli.runtime.threads import usable_cores

#: Seconds between two looks at what other programs use.
_PERIOD = 0.5
#: Cores that others may use before a thread less is used: a browser at rest, a terminal.
_TOLERATED = 0.35


class Used(NamedTuple):
    """Seconds since some moment: on the clock, of the usable cores by all programs, and of them by this one."""

    clock: float
    by_all: float
    by_us: float

    @staticmethod
    def now() -> Used | None:
        """What has been used until now; None where the system does not say."""
        import psutil

        try:
            times = psutil.cpu_times(percpu=True)
        except (OSError, RuntimeError, NotImplementedError):  # a sandbox hides them
            return None
        affinity = getattr(os, "sched_getaffinity", None)
        usable = affinity(0) if affinity else range(len(times))
        ours = [times[core] for core in usable if core < len(times)]
        resting = sum(core.idle + getattr(core, "iowait", 0.0) for core in ours)
        guests = sum(getattr(core, "guest", 0.0) + getattr(core, "guest_nice", 0.0) for core in ours)  # counted twice
        return Used(time.monotonic(), sum(sum(core) for core in ours) - resting - guests, time.process_time())


def threads_beside(others: float, cores: int, most: int) -> int:
    """How many threads, 1 to `most`, to compute with on `cores` cores of which other programs use `others`."""
    return max(1, min(most, int(cores - others + _TOLERATED)))


class FreeCores:
    """A context in which `adjust`, called between frames or iterations, gives PyTorch the cores that are free.

    A number of threads that the user has set by OMP_NUM_THREADS stays as it is. At the end the number is that of the
    beginning again.
    """

    def __init__(self) -> None:
        import torch

        self._before = torch.get_num_threads()
        self._cores = usable_cores()
        self._most = min(self._before, self._cores)
        self._last = Used.now() if self._most > 1 and not os.environ.get("OMP_NUM_THREADS") else None

    def adjust(self) -> None:
        """Look whether other programs have begun or ended, at most twice a second; costs next to nothing otherwise."""
        if self._last is None or time.monotonic() < self._last.clock + _PERIOD:
            return
        import torch

        last, self._last = self._last, Used.now()
        if self._last is None:
            return
        passed = self._last.clock - last.clock
        others = (self._last.by_all - last.by_all - (self._last.by_us - last.by_us)) / passed
        wanted = threads_beside(others, self._cores, self._most)
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)

    def __enter__(self) -> FreeCores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch

        torch.set_num_threads(self._before)
