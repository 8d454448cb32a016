"""Ctrl-C while something must not be left half done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class HalfDone(KeyboardInterrupt):
    """A second Ctrl-C, which leaves an iteration half done."""


#: Seconds after Ctrl-C in which another one asks for the same.
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
        if not caught:  # after Ctrl-C it may come from the other processes, which are gone
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if caught:
        raise KeyboardInterrupt
