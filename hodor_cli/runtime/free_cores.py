"""Threads beside other programs: PyTorch uses only the cores that are free, which is checked regularly.

PyTorch's threads wait for each other after every layer. If another program holds one of two cores, the thread that
shares it comes last each time and the other one waits for it: two threads then do less than one.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from hodor_cli.runtime.threads import usable_cores

#: Seconds between two looks at what other programs use.
_PERIOD = 0.5
#: Cores that others may use before a thread less is used: a browser at rest, a terminal.
_TOLERATED = 0.35
#: Threads of ours that may wait for a core, on average; some do so for each other on an idle machine, too.
_PATIENCE = 0.2


class Used(NamedTuple):
    """Seconds since some moment: on the clock, of the usable cores by all programs and by this one, and those that this
    one's threads waited for a core (None where the system does not say)."""

    clock: float
    by_all: float
    by_us: float
    waited: float | None

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
        return Used(
            time.monotonic(), sum(sum(core) for core in ours) - resting - guests, time.process_time(), _waited()
        )

    def cores_of_others(self, earlier: Used) -> float:
        """How many cores other programs have used since."""
        return (self.by_all - earlier.by_all - (self.by_us - earlier.by_us)) / (self.clock - earlier.clock)

    def waiting(self, earlier: Used) -> float:
        """How many threads of this program have waited for a core since; infinite where the system does not say.

        Work of low priority fills the gaps that a program leaves without taking anything from it.
        """
        if self.waited is None or earlier.waited is None:
            return math.inf
        return (self.waited - earlier.waited) / (self.clock - earlier.clock)


def _waited() -> float | None:
    """Seconds that this program's threads were ready to compute and had no core; None elsewhere than on Linux."""
    try:
        files = [task / "schedstat" for task in Path("/proc/self/task").iterdir()]
        return sum(int(file.read_text().split()[1]) for file in files) / 1e9
    except (OSError, IndexError, ValueError):  # a thread that has just ended
        return None


def threads_beside(others: float, cores: int, most: int) -> int:
    """How many threads, 1 to `most`, to compute with on `cores` cores of which other programs use `others`."""
    return max(1, min(most, int(cores - others + _TOLERATED)))


class FreeCores(AbstractContextManager["FreeCores"]):
    """A context in which `adjust`, called between frames or iterations, gives PyTorch the cores that are free.

    A number of threads that the user has set by OMP_NUM_THREADS stays as it is. At the end the number is that of the
    beginning again.
    """

    def __init__(self, sharing: int = 1) -> None:
        """sharing: how many threads of ours share the cores, each with as many of PyTorch's threads."""
        import torch

        self._before = torch.get_num_threads()
        self._sharing, self._cores = sharing, max(1, usable_cores() // sharing)
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
        now = torch.get_num_threads()
        wanted = threads_beside(self._last.cores_of_others(last) / self._sharing, self._cores, self._most)
        # With more threads than free cores, threads wait. With fewer none waits, and the cores that others use count.
        if wanted > now or (wanted < now and self._last.waiting(last) >= _PATIENCE):
            torch.set_num_threads(wanted)

    def __exit__(self, *error: object) -> None:
        import torch

        torch.set_num_threads(self._before)
