"""One writer at a time: the kernel's lock on a file, which ends with the process that holds it and names it."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hodor_cli.errors import OutputError

#: The lock file inside a folder that is locked as a whole.
LOCK_FILE = ".hodor.lock"

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
#: Bytes of a lock file that are read and written: a sentence that says who holds it.
_MOST_BYTES = 200

#: Descriptors of the locks that this process holds.
_held: set[int] = set()


@contextmanager
def locked_file(
    target: Path, path: Path | None = None, *, advice: str = "wait until it ends or write to another file"
) -> Iterator[None]:
    """Hold a lock while something is written. A second writer gets an OutputError that names the first.

    Args:
        target: what is written; messages name it.
        path: the lock file; by default beside the target.
        advice: what a second writer should do, the end of its error's sentence.
    """
    path = path or target.with_name(target.name + ".lock")
    while True:
        descriptor = _opened(path)
        try:
            _take(descriptor, path, target, advice)
        except BaseException:
            os.close(descriptor)
            raise
        # The former holder may have removed the file between our opening and our lock: ours is then nameless.
        if _is_same_file(descriptor, path):
            break
        os.close(descriptor)
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:  # and not in a forked child
            _held.discard(descriptor)
            _release(descriptor, path)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written to ({error.strerror}); choose another place") from None


def _take(descriptor: int, path: Path, target: Path, advice: str) -> None:
    """Lock an open file and write into it who holds it. Raises OutputError if another process has it."""
    granted, holder = _try_lock(descriptor), "another process"
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = os.read(descriptor, _MOST_BYTES).decode(errors="replace")
    if granted is False:
        raise OutputError(f"{target} is being written by {holder}; {advice}")
    if granted is None and holder:
        raise OutputError(
            f"{target} is being written by {holder}, or that process was killed: then remove {path}, because this file "
            "system has no locks"
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with suppress(OSError):  # a full disk: the lock holds all the same, it only cannot name its holder
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())


def _release(descriptor: int, path: Path) -> None:
    with suppress(OSError):
        if _is_same_file(descriptor, path):
            path.unlink(missing_ok=True)
    os.close(descriptor)
    if os.name == "nt":  # there a file that is open cannot be removed, not even another writer's
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def locked_folder(folder: Path, *, advice: str, name: str = LOCK_FILE) -> Iterator[None]:
    """Make a folder if need be and hold the lock on it; a folder that was made here and stayed empty is removed.

    name: of the lock file. Raises OutputError if the folder is being written to, or cannot be made.
    """
    made, lock = not folder.exists(), ExitStack()
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.enter_context(locked_file(folder, folder / name, advice=advice))
            break
        except OSError as error:
            why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise OutputError(f"the folder {folder} cannot be made ({why}); choose another with `out`") from error
        except OutputError:
            if folder.is_dir():  # else another run has just failed and removed its folder
                raise
    try:
        with lock:
            yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


def _forget_all() -> None:
    """In a forked child: the lock is its parent's, and must not outlive it in, say, a data loader's worker."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _try_lock(descriptor: int) -> bool | None:
    """Whether the kernel grants the lock; None where the file system has none."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock; its byte lock also ends with the process.
        import msvcrt

        try:
            # Far past the text, so that others may still read who holds the lock.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _UNSUPPORTED else False
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
