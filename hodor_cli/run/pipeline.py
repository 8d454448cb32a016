"""Threads around the network: one reads ahead, one writes behind, in order and in bounded memory.

Ctrl-C raises KeyboardInterrupt between any two bytecode instructions of the main thread. Inside `queue.Queue` that can
leave a lock held or a thread waiting forever. So the main thread waits only in `queue.SimpleQueue`, whose put and get
are atomic, and at most _PATIENCE at a time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

# Seconds between checks for Ctrl-C during a wait, because Windows does not interrupt one.
_PATIENCE = 0.1


class _End:
    """The last entry of a queue; carries the error that ended it early, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Iterator[Item]]:
    """Yield an iterator over `items` that reads them in a separate thread, at most `depth` items ahead; an error is
    raised in its place. The end of the block stops the thread."""
    entries: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
    free, stopped = _slots(depth), False

    def read() -> None:
        end = _End()
        try:
            for item in items:
                free.get()
                if stopped:
                    return
                entries.put(item)
        except BaseException as error:  # raised in the thread that iterates
            end = _End(error)
        entries.put(end)

    def handed_over() -> Iterator[Item]:
        while not isinstance(item := _wait_for(entries), _End):
            free.put(None)
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=read, name="hodor-read", daemon=True)
    thread.start()
    try:
        yield handed_over()
    finally:
        stopped = True
        free.put(None)  # wakes a thread that waits for room
        thread.join(timeout=5)  # not longer, because a camera may not respond


class WriteBehind(Generic[Item]):
    """Calls `handle` on every item in order, in a separate thread, at most `depth` items behind.

    An error of `handle` is raised by the next `put` or by `close`; items after it are dropped.
    """

    def __init__(self, handle: Callable[[Item], None], depth: int) -> None:
        self._handle = handle
        self._queue: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        self._free = _slots(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="hodor-write", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            if self._error is None:
                try:
                    self._handle(item)
                except BaseException as error:  # raised in the thread that puts
                    self._error = error
            self._free.put(None)

    def put(self, item: Item) -> None:
        """Hand over one item; waits while `depth` items are unwritten. Raises an earlier error of `handle`."""
        if self._error is not None:
            raise self._error
        _wait_for(self._free)
        self._queue.put(item)

    def close(self) -> None:
        """Write all items handed over, then stop. Raises the error of `handle`, if any."""
        if (error := self.finish()) is not None:
            raise error

    def finish(self) -> BaseException | None:
        """Like `close`, but returns the error of `handle` instead of raising it."""
        self._queue.put(_End())
        while self._thread.is_alive():
            self._thread.join(_PATIENCE)
        return self._error


def _slots(depth: int) -> queue.SimpleQueue[None]:
    """A queue with one entry for each item that may be handed over."""
    free: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(max(1, depth)):
        free.put(None)
    return free


def _wait_for(entries: queue.SimpleQueue[Value]) -> Value:
    while True:
        try:
            return entries.get(timeout=_PATIENCE)
        except queue.Empty:
            continue
