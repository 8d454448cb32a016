"""A second thread that computes at the same time as the first one; the two share PyTorch's threads.

A network is a chain of small operations, in which PyTorch's threads mostly wait for each other. Two threads that each
do a part of the work wait for each other only once per frame, and are slowed down less by other programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import torch

Value = TypeVar("Value")


class SecondThread:
    """Runs one task after another. Until `close`, each of the two threads has half of PyTorch's threads."""

    def __init__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads((self._before + 1) // 2)
        self._pool = ThreadPoolExecutor(1, "hodor-second")

    def start(self, work: Callable[..., Value], *arguments: Any) -> Future[Value]:
        """Run `work` with as many of PyTorch's threads as the caller has now."""
        count = torch.get_num_threads()

        def run() -> Value:
            if torch.get_num_threads() != count:
                torch.set_num_threads(count)  # the setting is per thread
            return work(*arguments)

        return self._pool.submit(run)

    def close(self) -> None:
        """Finish all tasks, and give the caller all of PyTorch's threads again."""
        self._pool.shutdown()
        torch.set_num_threads(self._before)


@contextmanager
def second_thread(wanted: bool) -> Iterator[SecondThread | None]:
    """A second thread inside the block; None if it is not wanted or PyTorch has only one thread."""
    if not wanted or torch.get_num_threads() == 1:
        yield None
        return
    with closing(SecondThread()) as second:
        yield second
