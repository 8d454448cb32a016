"""HDF5 files written so that a full disk or Ctrl-C ends in an exception.

HDF5 keeps what it could not write and tries again when its objects go away, long after the error: on a full disk that
ends in a crash of the process. So HDF5 writes through a file that never refuses: after the disk's first error nothing
more is written, the file is thrown away, and the error is raised from here.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import h5py


class _Disk(io.FileIO):
    """A file for h5py that seems to take everything; `error` is what the disk said at its first refusal."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        end = self.tell() + len(view)
        self._try(lambda: self._write_all(view))
        self.seek(end)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._try(lambda: super(_Disk, self).truncate(size))
        return self.tell() if size is None else size

    def close(self) -> None:
        """Close the file, whose bytes are on the disk then, and raise the disk's error, if there was one."""
        if not self.closed:
            self._try(lambda: os.fsync(self.fileno()))
            super().close()
            if self.error is not None:
                raise self.error

    def _write_all(self, view: memoryview) -> None:
        while view:  # a full disk takes a part, and refuses the rest
            view = view[super().write(view) :]

    def _try(self, change: Callable[[], object]) -> None:
        try:
            if self.error is None:
                change()
        except OSError as error:
            self.error = error


class WritableFile:
    """An HDF5 file open for writing, `file`, whose methods raise OSError when the disk refuses."""

    def __init__(self, path: Path, *, existing: bool = False) -> None:
        with uninterrupted():
            self._disk = _Disk(path, "r+" if existing else "w+")
            try:
                self.file: h5py.File = h5py.File(self._disk, "r+" if existing else "w")
            except BaseException:
                self._disk.close()
                raise
        if self._disk.error is not None:
            self.close()

    def check(self) -> None:
        """Raise OSError if the disk has refused anything so far."""
        if self._disk.error is not None:
            raise self._disk.error

    def close(self) -> None:
        """Close the file; its bytes are on the disk when this returns."""
        with uninterrupted():
            try:
                self.file.close()
            finally:
                self._disk.close()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and termination back until the block ends: HDF5 must not be left in the middle of a call."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs its signal handlers in the main thread alone
        return
    held: list[tuple[int, FrameType | None]] = []
    earlier: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):
            earlier[number] = handler
            signal.signal(number, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        for known, handler in earlier.items():
            signal.signal(known, handler)
        for seen, frame in held:
            earlier[seen](seen, frame)
