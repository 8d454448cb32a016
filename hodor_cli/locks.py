"""One writer at a time: an advisory lock on a file, which the operating system drops when its holder dies."""

from __future__ import annotations

import json
import os
import socket
import weakref
from pathlib import Path
from types import TracebackType

from hodor_cli.errors import OutputError


class WriterLock:
    """Held while something is written. A second writer gets an OutputError that names the first.

    The lock is the kernel's (`flock`), not the existence of the lock file, so a killed writer never leaves it locked.

    Args:
        target: what is written; messages name it.
        path: the lock file; by default beside the target.
        advice: what a second writer should do, the end of its error's sentence.
    """

    def __init__(
        self, target: Path, path: Path | None = None, *, advice: str = "wait until it ends or write to another file"
    ) -> None:
        self.target = target
        self.path = path or target.with_name(target.name + ".lock")
        self.advice = advice
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise OutputError at once."""
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise OutputError(
                    f"cannot write beside {self.target} ({error.strerror}); choose another place"
                ) from None
            if not _try_lock(descriptor):
                holder = _describe(os.pread(descriptor, 4096, 0) if hasattr(os, "pread") else b"")
                os.close(descriptor)
                raise OutputError(f"{self.target} is being written by {holder}; {self.advice}")
            # The former holder may have removed the file between our open and our lock: then we hold a nameless lock.
            if _is_same_file(descriptor, self.path):
                break
            os.close(descriptor)
        self._descriptor = descriptor
        _held.add(self)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        except OSError:
            pass  # a full disk: the lock holds all the same, it only cannot name its holder

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._descriptor is None:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None
        _held.discard(self)

    def __enter__(self) -> WriterLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _forget(self) -> None:
        """Close the lock file without giving the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_all() -> None:
    """In a forked child: the lock is its parent's, and must not outlive it in, say, a data loader's worker."""
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; its byte lock also ends with the process.
        import msvcrt

        try:
            # Far past the text, so that others may still read who holds the lock.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            os.lseek(descriptor, 0, os.SEEK_SET)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino)


def _describe(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
