"""Sharing cores with other programs: PyTorch uses only the cores that are free, which are measured regularly.

PyTorch's threads wait for each other after every layer. If another program uses one of two cores, the thread on that
core always finishes last and the other one waits for it: two threads are then slower than one.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from hodor_cli.runtime.threads import usable_cores

#: Seconds between two measurements.
_PERIOD = 0.5
#: Cores that other programs, such as an idle browser, may use before PyTorch gets one thread less.
_TOLERATED = 0.35
#: Our threads that may wait for a core, on average; even on an idle machine some wait for each other.
_PATIENCE = 0.2


class Used(NamedTuple):
    """Seconds since some moment: wall time, time on the usable cores by all programs and by this one, and the time that
    this program's threads waited for a core (None if unknown)."""

    clock: float
    by_all: float
    by_us: float
    waited: float | None

    @staticmethod
    def now() -> Used | None:
        """The values now; None if the system does not report them."""
        import psutil

        try:
            times = psutil.cpu_times(percpu=True)
        except (OSError, RuntimeError, NotImplementedError):  # hidden in a sandbox
            return None
        affinity = getattr(os, "sched_getaffinity", None)
        usable = affinity(0) if affinity else range(len(times))
        ours = [times[core] for core in usable if core < len(times)]
        resting = sum(core.idle + getattr(core, "iowait", 0.0) for core in ours)
        counted_twice = sum(getattr(core, kind, 0.0) for core in ours for kind in ("guest", "guest_nice"))
        busy = sum(map(sum, ours)) - resting - counted_twice
        return Used(time.monotonic(), busy, time.process_time(), _waited())

    def cores_of_others(self, earlier: Used) -> float:
        """How many cores other programs have used since, on average."""
        return (self.by_all - earlier.by_all - (self.by_us - earlier.by_us)) / (self.clock - earlier.clock)

    def waiting(self, earlier: Used) -> float:
        """How many threads of this program have waited for a core since, on average; infinite if unknown.

        Low-priority work of other programs only fills idle time, so no thread waits for it.
        """
        if self.waited is None or earlier.waited is None:
            return math.inf
        return (self.waited - earlier.waited) / (self.clock - earlier.clock)


def _waited() -> float | None:
    """Seconds that this program's threads were ready to run but had no core; None except on Linux."""
    try:
        files = [task / "schedstat" for task in Path("/proc/self/task").iterdir()]
        return sum(int(file.read_text().split()[1]) for file in files) / 1e9
    except (OSError, IndexError, ValueError):  # no such file, or a thread has just ended
        return None


def threads_beside(others: float, cores: int, most: int) -> int:
    """How many threads, 1 to `most`, to compute with on `cores` cores of which other programs use `others`."""
    return max(1, min(most, int(cores - others + _TOLERATED)))


class FreeCores(AbstractContextManager["FreeCores"]):
    """A context in which `adjust`, called between frames or iterations, gives PyTorch a thread for each free core.

    If the user has set OMP_NUM_THREADS, the number of threads does not change. It is restored at the end.
    """

    def __init__(self, sharing: int = 1) -> None:
        """sharing: how many of our threads share the cores; each has its own threads of PyTorch."""
        import torch

        self._before = torch.get_num_threads()
        self._sharing, self._cores = sharing, max(1, usable_cores() // sharing)
        self._most = min(self._before, self._cores)
        self._last = Used.now() if self._most > 1 and not os.environ.get("OMP_NUM_THREADS") else None

    def adjust(self) -> None:
        """Adapt to the load of other programs, measured at most twice a second; other calls cost almost nothing."""
        if self._last is None or time.monotonic() < self._last.clock + _PERIOD:
            return
        import torch

        last, self._last = self._last, Used.now()
        if self._last is None:
            return
        now = torch.get_num_threads()
        wanted = threads_beside(self._last.cores_of_others(last) / self._sharing, self._cores, self._most)
        # Too many threads show in their waiting. With too few none waits, so only what others use can tell.
        if wanted > now or (wanted < now and self._last.waiting(last) >= _PATIENCE):
            torch.set_num_threads(wanted)

    def __exit__(self, *error: object) -> None:
        import torch

        torch.set_num_threads(self._before)
