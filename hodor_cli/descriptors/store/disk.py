"""Writing HDF5 files so that a full disk or Ctrl-C ends in an exception.

HDF5 keeps data that it could not write and tries again when its objects are freed, long after the error; on a full disk
that crashes the process. So HDF5 writes to a file object that never fails: after the disk's first error it drops all
further data, and `WritableFile` raises the error. The file is then discarded.
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
    """A file for h5py whose writes never fail; `error` is the disk's first error."""

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
        """Sync and close the file, and raise the disk's first error, if there was one."""
        if not self.closed:
            self._try(lambda: os.fsync(self.fileno()))
            super().close()
            if self.error is not None:
                raise self.error

    def _write_all(self, view: memoryview) -> None:
        while view:  # a full disk accepts a part and refuses the rest
            view = view[super().write(view) :]

    def _try(self, change: Callable[[], object]) -> None:
        try:
            if self.error is None:
                change()
        except OSError as error:
            self.error = error


class WritableFile:
    """An HDF5 file open for writing, as `file`. Its methods raise OSError if the disk has refused anything."""

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
    """Delay Ctrl-C and termination until the block ends, because HDF5 must not be left in the middle of a call."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers only in the main thread
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
