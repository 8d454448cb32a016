"""Threads around the network: reading ahead of it and writing behind it, in order and in bounded memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

# How long a thread waits before it looks whether it is still wanted, seconds.
_PATIENCE = 0.1


class _End:
    """The last entry of a queue; carries the error that ended it early, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class ReadAhead(Generic[Item]):
    """Iterates over `items` in a thread of its own, at most `depth` items ahead; an error surfaces in its place.

    A context manager: leaving it stops the thread, also half-way. Iterating works once.
    """

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._queue: queue.Queue[Item | _End] = queue.Queue(maxsize=max(1, depth))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(items,), name="hodor-read", daemon=True)
        self._thread.start()

    def _read(self, items: Iterable[Item]) -> None:
        end = _End()
        try:
            for item in items:
                if not self._offer(item):
                    return
        except BaseException as error:  # handed to the thread that iterates
            end = _End(error)
        self._offer(end)

    def _offer(self, item: Item | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def close(self) -> None:
        """Stop reading. Waits a moment for the thread; one that hangs in a dead camera does not hold up the program."""
        self._stopped.set()
        self._thread.join(timeout=5)

    def __enter__(self) -> ReadAhead[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WriteBehind(Generic[Item]):
    """Calls `handle` on every item in order, in a thread of its own, at most `depth` items behind.

    An error of `handle` is raised by the next `put` or by `close`; items after it are dropped.
    """

    def __init__(self, handle: Callable[[Item], None], depth: int) -> None:
        self._handle = handle
        self._queue: queue.Queue[Item | _End] = queue.Queue(maxsize=max(1, depth))
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="hodor-write", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if self._error is None:
                try:
                    self._handle(item)
                except BaseException as error:  # handed to the thread that puts
                    self._error = error

    def put(self, item: Item) -> None:
        """Hand over one item; waits while `depth` items are unwritten. Raises what `handle` raised on an earlier."""
        self._raise()
        self._queue.put(item)

    def close(self) -> None:
        """Write what was handed over, then stop. Raises what `handle` raised."""
        self.finish()
        self._raise()

    def finish(self) -> BaseException | None:
        """Like `close`, but gives the error of `handle` back instead of raising it."""
        if self._thread.is_alive():
            self._queue.put(_End())
            self._thread.join()
        return self._error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def queue_depth(height: int, width: int, most: int = 8, budget: int = 64 * 2**20) -> int:
    """How many RGB frames of this size fit into `budget` bytes, 2 to `most`."""
    return max(2, min(most, budget // max(1, height * width * 3)))
