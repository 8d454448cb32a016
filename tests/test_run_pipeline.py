"""The threads around the network: order, bounded memory, errors, and Ctrl-C at every moment."""

from __future__ import annotations

import dis
import linecache
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from hodor_cli.run.pipeline import WriteBehind, read_ahead


def test_items_come_in_order_and_the_reader_stays_within_its_depth() -> None:
    given: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            given.append(number)
            yield number

    with read_ahead(items(), 3) as ahead:
        for count, number in enumerate(ahead, start=1):
            assert number == count - 1
            if number == 10:
                time.sleep(0.05)  # the reader runs into its bound
                assert len(given) <= count + 4


def test_the_writer_stays_within_its_depth_and_writes_everything() -> None:
    written: list[int] = []
    gate = threading.Event()

    def handle(item: int) -> None:
        gate.wait(5)
        written.append(item)

    writer = WriteBehind(handle, 2)
    putting = threading.Thread(target=lambda: [writer.put(number) for number in range(6)], daemon=True)
    putting.start()
    putting.join(0.2)
    assert putting.is_alive()  # 2 items are handed over, the third waits
    gate.set()
    putting.join(5)
    writer.close()
    assert written == list(range(6))


def test_errors_cross_the_threads() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    seen = []
    with read_ahead(items(), 2) as ahead, pytest.raises(ZeroDivisionError):
        seen.extend(ahead)

    def handle(item: int) -> None:
        raise KeyError(item)

    writer = WriteBehind(handle, 2)
    with pytest.raises(KeyError, match="0"):
        for number in range(20):
            writer.put(number)
            time.sleep(0.005)
    assert isinstance(writer.finish(), KeyError)


class _InterruptAt:
    """Raises KeyboardInterrupt at the given line, call or return of Python code, once, as Ctrl-C may.

    Starting a thread and leaving a `with` block are left out: tracing can raise at places there where Python looks for
    no signal.
    """

    def __init__(self, step: int) -> None:
        self.left, self.fired = step, False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.fired and not _starts_thread(frame) and not _leaves_with(frame):
            self.left -= 1
            if self.left < 0:
                self.fired = True
                raise KeyboardInterrupt
        return self


def _starts_thread(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def _leaves_with(frame: FrameType) -> bool:
    """Whether the next instruction begins the call of `__exit__` after a block that ended well."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    if not line.startswith("with "):
        return False
    return frame.f_lasti > min(at for at, number in dis.findlinestarts(frame.f_code) if number == frame.f_lineno)


def _segment_like(written: list[int]) -> None:
    """What a run does with its two threads."""
    writer = WriteBehind(written.append, 2)
    try:
        with read_ahead(iter(range(4)), 2) as frames:
            for frame in frames:
                writer.put(frame)
        writer.close()
    except BaseException:
        writer.finish()
        raise


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_step_neither_hangs_nor_loses_what_was_handed_over() -> None:
    hung: list[int] = []
    step, fired = 0, True
    while fired:
        written: list[int] = []
        interrupt = _InterruptAt(step)
        done = threading.Event()

        def run(interrupt: _InterruptAt = interrupt, written: list[int] = written, done: Any = done) -> None:
            sys.settrace(interrupt)
            try:
                _segment_like(written)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
                done.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        if not done.wait(5):
            hung.append(step)
            break
        assert written == list(range(len(written)))
        fired = interrupt.fired
        step += 1
    assert step > 100 and not hung
