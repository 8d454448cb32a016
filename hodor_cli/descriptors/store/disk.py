"""Writing HDF5 files so that a full disk or Ctrl-C ends in an exception.

HDF5 keeps data that it could not write and tries again when its objects are freed, long after the error; on a full disk
that crashes the process. So HDF5 writes to a file object that never fails: after the disk's first error it drops all
further data, and `WritableFile` raises the error. The file is then discarded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from hodor_cli.runtime.interrupts import uninterrupted


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
