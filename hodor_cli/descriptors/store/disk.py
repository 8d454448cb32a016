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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

_PAGE = 4096


class SpillFile:
    """A file for h5py that continues in memory once the disk refuses; `error` is then what the disk said."""

    def __init__(self, path: Path, mode: str) -> None:
        self._file = io.FileIO(path, mode)
        self._pages: dict[int, bytearray] = {}
        self._place = 0
        self._size = os.fstat(self._file.fileno()).st_size
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
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
            self._keep(self._place + done, view[done:])
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        data = bytearray(max(self._size - self._place, 0) if size < 0 else size)
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self._size - self._place), 0)
        view[:count] = self._read(self._place, count)
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

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Close the file and raise the disk's error, if there was one."""
        try:
            if self.error is None:
                os.fsync(self._file.fileno())
        finally:
            self._pages.clear()
            self._file.close()
        if self.error is not None:
            raise self.error

    def _read(self, start: int, count: int) -> bytearray:
        self._file.seek(start)
        data = bytearray(count)
        done = self._file.readinto(data) or 0
        while 0 < done < count and (more := self._file.readinto(memoryview(data)[done:])):
            done += more
        for page in range(start // _PAGE, (start + count - 1) // _PAGE + 1) if self._pages else ():
            if page in self._pages:
                low, high = max(page * _PAGE, start), min((page + 1) * _PAGE, start + count)
                data[low - start : high - start] = self._pages[page][low - page * _PAGE : high - page * _PAGE]
        return data

    def _keep(self, start: int, view: memoryview) -> None:
        end = start + len(view)
        while start < end:
            page, offset = divmod(start, _PAGE)
            if page not in self._pages:
                self._pages[page] = self._read(page * _PAGE, _PAGE)
            take = min(_PAGE - offset, end - start)
            self._pages[page][offset : offset + take] = view[len(view) - (end - start) :][:take]
            start += take


class WritableFile:
    """An HDF5 file open for writing, `file`, whose methods raise OSError when the disk refuses."""

    def __init__(self, path: Path, *, existing: bool = False) -> None:
        import h5py

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
