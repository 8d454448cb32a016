"""Delays Ctrl-C, or termination by a scheduler, until an iteration or a call of HDF5 is complete."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, which a scheduler sends shortly before it kills a job, does inside the block what Ctrl-C does.

    A handler that the program has set for it is kept.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(number, frame)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class HalfDone(KeyboardInterrupt):
    """A second Ctrl-C, which stops inside an `uninterrupted` block."""


#: Another Ctrl-C within this many seconds counts as the same one.
_IMPATIENCE = 1.0


@contextmanager
def uninterrupted(at_first: Callable[[], None] | None = None) -> Iterator[None]:
    """Ctrl-C and termination inside the block take effect at its end, so that nothing is left half done.

    at_first: called at the first of them; a later Ctrl-C then raises HalfDone inside the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers only in the main thread
        return
    held: list[tuple[int, FrameType | None, float]] = []
    earlier: dict[int, Any] = {}

    def catch(number: int, frame: FrameType | None) -> None:
        held.append((number, frame, time.monotonic()))
        if at_first is not None and len(held) == 1:
            at_first()
        elif at_first is not None and number == signal.SIGINT and held[-1][2] - held[0][2] > _IMPATIENCE:
            held.clear()
            raise HalfDone

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):
            earlier[number] = handler
            signal.signal(number, catch)
    try:
        yield
    finally:
        for known, handler in reversed(earlier.items()):  # SIGINT last: raising, it would leave the other one set
            signal.signal(known, handler)
        for caught, frame, _ in held:
            earlier[caught](caught, frame)
