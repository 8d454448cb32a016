"""Speed beside other programs: processes that do nothing but keep cores busy, and what is left of the speed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

#: Times that both speeds are measured, in turn.
_ROUNDS = 2


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """`count` processes that compute without end, on one thread each, while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def contended(speed: Callable[[], float], count: int) -> dict[str, Any]:
    """What `speed` (units a second) gives alone and beside `count` busy processes, and the share that is left."""
    alone, beside = [], []
    for _ in range(_ROUNDS):
        alone.append(speed())
        with busy_processes(count):
            beside.append(speed())
    return {
        "processes": count,
        "alone": round(median(alone), 3),
        "beside": round(median(beside), 3),
        "share": round(median(beside) / median(alone), 3),
    }
