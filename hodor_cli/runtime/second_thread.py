"""A second thread that computes beside the first one, each with a part of PyTorch's threads.

A network is a chain of small operations, in which several threads of PyTorch mostly wait for each other. Two threads
that each do a part of the work wait for each other once per frame, and suffer less from other programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import torch

Value = TypeVar("Value")


class SecondThread:
    """Does one piece of work after the other. Until `close` both threads have half of PyTorch's threads."""

    def __init__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads((self._before + 1) // 2)
        self._pool = ThreadPoolExecutor(1, "hodor-second")

    def start(self, work: Callable[..., Value], *arguments: Any) -> Future[Value]:
        """Begin `work` with as many of PyTorch's threads as the caller has now."""
        count = torch.get_num_threads()

        def run() -> Value:
            if torch.get_num_threads() != count:
                torch.set_num_threads(count)  # the number belongs to a thread
            return work(*arguments)

        return self._pool.submit(run)

    def close(self) -> None:
        """Finish what was begun, and give the caller all of PyTorch's threads again."""
        self._pool.shutdown()
        torch.set_num_threads(self._before)


@contextmanager
def second_thread(wanted: bool = True) -> Iterator[SecondThread | None]:
    """A second thread inside the block; None if it is not wanted or PyTorch has one thread alone."""
    if not wanted or torch.get_num_threads() == 1:
        yield None
        return
    with closing(SecondThread()) as second:
        yield second
