"""Delays Ctrl-C, or termination by a scheduler, until an iteration is complete."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
    """A second Ctrl-C, which stops within an iteration."""


#: Another Ctrl-C within this many seconds counts as the same one.
_IMPATIENCE = 1.0


@contextmanager
def uninterrupted(at_first: Callable[[], None] | None = None) -> Iterator[None]:
    """Ctrl-C inside the block takes effect at its end, so that no iteration is left half done.

    at_first: called at the first Ctrl-C; a later one then raises HalfDone inside the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[float] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(time.monotonic())
        if at_first is not None and len(caught) == 1:
            at_first()
        elif at_first is not None and caught[-1] - caught[0] > _IMPATIENCE:
            raise HalfDone

    before = signal.signal(signal.SIGINT, catch)
    try:
        yield
    except Exception:
        if not caught:  # after Ctrl-C, the cause may be that the other processes are gone
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if caught:
        raise KeyboardInterrupt
