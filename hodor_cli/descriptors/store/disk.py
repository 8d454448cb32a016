"""HDF5 files written so that a full disk or Ctrl-C ends in an exception.

HDF5 keeps what it could not write and tries again when its objects go away, long after the error: on a full disk that
ends in a crash of the process. So HDF5 writes through `SpillFile`, which never refuses: what the disk does not take
stays in memory until the file is closed and thrown away, and the disk's error is raised from here.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import h5py


class SpillFile(io.RawIOBase):
    """A file for h5py that continues in memory once the disk refuses; `error` is then what the disk said."""

    def __init__(self, path: Path, mode: str) -> None:
        self._file = io.FileIO(path, mode)
        self._spilled: list[tuple[int, bytes]] = []
        self._place = 0
        self._size = os.fstat(self._file.fileno()).st_size
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        if self.error is None:
            try:
                self._file.seek(self._place)
                while done < len(view):
                    done += self._file.write(view[done:]) or 0
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._spilled.append((self._place + done, bytes(view[done:])))
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        start, count = self._place, max(min(len(buffer), self._size - self._place), 0)
        view = memoryview(buffer).cast("B")[:count]
        self._file.seek(start)
        done = 0
        while more := self._file.readinto(view[done:]):
            done += more
        view[done:] = bytes(count - done)
        for place, data in self._spilled:
            low, high = max(place, start), min(place + len(data), start + count)
            if low < high:
                view[low - start : high - start] = data[low - place : high - place]
        self._place += count
        return count

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        if self.error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.error = error
        return self._size

    def close(self) -> None:
        """Close the file and raise the disk's error, if there was one."""
        if self._file.closed:
            return
        try:
            if self.error is None:
                os.fsync(self._file.fileno())
        finally:
            self._spilled.clear()
            self._file.close()
        if self.error is not None:
            raise self.error


class WritableFile:
    """An HDF5 file open for writing, `file`, whose methods raise OSError when the disk refuses."""

    def __init__(self, path: Path, *, existing: bool = False) -> None:
        with uninterrupted():
            self._disk = SpillFile(path, "r+" if existing else "w+")
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
