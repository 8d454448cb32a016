"""One writer at a time: a kernel lock on a file that names its holder; the lock ends with the holder's process."""

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
#: The most bytes to read of a lock file, which names the process that holds it.
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
        path: the lock file; by default next to the target.
        advice: what a second writer should do; the end of its error message.
    """
    path = path or target.with_name(target.name + ".lock")
    while True:
        descriptor = _opened(path)
        try:
            _take(descriptor, path, target, advice)
        except BaseException:
            os.close(descriptor)
            raise
        # The previous holder may have removed the file after we opened it: then our lock is on a deleted file.
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
    """Lock an open file and write the holder into it. Raises OutputError if another process has the lock."""
    granted, holder = _try_lock(descriptor), "another process"
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = os.read(descriptor, _MOST_BYTES).decode(errors="replace")
    if granted is False:
        raise OutputError(f"{target} is being written by {holder}; {advice}")
    if granted is None and holder:
        raise OutputError(f"{target} is being written by {holder}; if that was killed, remove {path}")
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with suppress(OSError):  # on a full disk the lock still works, but does not name its holder
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())


def _release(descriptor: int, path: Path) -> None:
    with suppress(OSError):
        if _is_same_file(descriptor, path):
            path.unlink(missing_ok=True)
    os.close(descriptor)
    if os.name == "nt":  # Windows cannot remove an open file
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def locked_folder(folder: Path, *, advice: str, name: str = LOCK_FILE) -> Iterator[None]:
    """Create a folder if needed and hold the lock on it; a folder that was created here and is empty is removed.

    name: of the lock file. Raises OutputError if the folder is being written to or cannot be created.
    """
    made, lock = not folder.exists(), ExitStack()
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.enter_context(locked_file(folder, folder / name, advice=advice))
            break
        except OSError as error:
            why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise OutputError(f"the folder {folder} cannot be created ({why}); choose another with `out`") from error
        except OutputError:
            if folder.is_dir():  # otherwise another run has just failed and removed the folder
                raise
    try:
        with lock:
            yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


def _forget_all() -> None:
    """Close the locks in a forked child, such as a data loader's worker: they must not outlive the parent."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _try_lock(descriptor: int) -> bool | None:
    """Whether the kernel grants the lock; None if the file system does not support locks."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock; its byte lock also ends with the process
        import msvcrt

        try:
            # Far behind the text, so that others can still read it.
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
