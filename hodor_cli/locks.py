"""One writer at a time: a lock file that names its holder, and a lock that ends with the process that holds it.

On one machine the kernel's lock (`flock`) is enough. A network file system may have none, or grant it to two machines
at once. So the file also names its holder, which renews the file's time stamp every few seconds: a holder on another
machine is alive while that stamp is fresh by the file system's own clock.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hodor_cli.errors import OutputError

#: The lock file inside a folder that is locked as a whole.
LOCK_FILE = ".hodor.lock"

_RENEWED_SECONDS = 5.0
#: A holder on another machine that has not renewed its stamp for so long is dead.
_STALE_SECONDS = 30.0
#: Where the kernel grants no locks: how long a second writer has to show itself.
_SETTLE_SECONDS = 0.3
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


#: Descriptors of the locks that this process holds.
_held: set[int] = set()


class WriterLock:
    """Held while something is written. A second writer gets an OutputError that names the first and since when.

    Args:
        target: what is written; messages name it.
        path: the lock file; by default beside the target.
        advice: what a second writer should do, the end of its error's sentence.
    """

    def __init__(
        self, target: Path, path: Path | None = None, *, advice: str = "wait until it ends or write to another file"
    ) -> None:
        self.target, self.advice = target, advice
        self.path = path or target.with_name(target.name + ".lock")
        self._descriptor, self._ended = -1, threading.Event()

    def acquire(self) -> None:
        """Take the lock or raise OutputError at once."""
        while True:
            descriptor = self._open()
            try:
                granted = _try_lock(descriptor)
                # The former holder may have removed the file between our opening and our lock: ours is then nameless.
                if granted is not False and not _is_same_file(descriptor, self.path):
                    os.close(descriptor)
                    continue
                holder = _holder(descriptor)
                if granted is False or (holder is not None and _is_alive(holder, descriptor, locked=granted is True)):
                    raise self._taken(holder)
                token = _name_holder(descriptor)
                if granted is None:  # two may have named themselves at once: the last one stays
                    time.sleep(_SETTLE_SECONDS)
                    holder = _holder(descriptor)
                    if holder is None or holder.get("token") != token or not _is_same_file(descriptor, self.path):
                        raise self._taken(holder)
            except BaseException:
                os.close(descriptor)
                raise
            break
        _held.add(descriptor)
        self._descriptor, self._ended = descriptor, threading.Event()
        threading.Thread(target=_renew, args=(descriptor, self._ended), name="hodor-lock", daemon=True).start()

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._descriptor not in _held:
            return
        _held.discard(self._descriptor)
        self._ended.set()
        with suppress(OSError):
            if _is_same_file(self._descriptor, self.path):
                self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1
        if os.name == "nt":  # there a file that is open cannot be removed, not even another writer's
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> WriterLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> int:
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            return os.open(self.path, flags, 0o644)
        except OSError as error:
            folder = self.path.parent
            raise OutputError(f"{folder} cannot be written to ({error.strerror}); choose another place") from None

    def _taken(self, holder: dict[str, Any] | None) -> OutputError:
        who = "another process"
        if holder is not None:
            who = f"process {holder['pid']} on {holder['host']}"
            if holder.get("since"):
                who += f" since {holder['since']}"
        return OutputError(f"{self.target} is being written by {who}; {self.advice}")


@contextmanager
def locked_folder(folder: Path, *, advice: str, name: str = LOCK_FILE) -> Iterator[None]:
    """Make a folder if need be and hold the lock on it; a folder that was made here and stayed empty is removed.

    name: of the lock file. Raises OutputError if the folder is being written to, or cannot be made.
    """
    made = not folder.exists()
    lock = WriterLock(folder, folder / name, advice=advice)
    for attempt in range(3):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            break
        except OSError as error:
            why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise OutputError(f"the folder {folder} cannot be made ({why}); choose another with `out`") from error
        except OutputError:
            if attempt == 2 or folder.is_dir():  # else another run has just failed and removed its folder
                raise
    try:
        yield
    finally:
        lock.release()
        if made:
            with suppress(OSError):
                folder.rmdir()


def _forget_all() -> None:
    """In a forked child: the lock is its parent's, and must not outlive it in, say, a data loader's worker."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _renew(descriptor: int, ended: threading.Event) -> None:
    """Show that the holder lives, until it gives the lock back."""
    while not ended.wait(_RENEWED_SECONDS):
        try:
            os.utime(descriptor)
        except (OSError, TypeError, ValueError):  # closed meanwhile, or a system that cannot
            return


def _try_lock(descriptor: int) -> bool | None:
    """Whether the kernel grants the lock; None where it has none to grant."""
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
    except OSError as error:
        return None if error.errno in _UNSUPPORTED else False
    return True


def _is_alive(holder: dict[str, Any], descriptor: int, *, locked: bool) -> bool:
    """Whether the holder that the file names still writes, given that the kernel granted us the lock (or has none)."""
    if holder["host"] == socket.gethostname():
        return not locked and _process_lives(holder["pid"])
    stamp = os.fstat(descriptor).st_mtime_ns
    try:
        os.utime(descriptor)  # the file system's time, not ours
        now = os.fstat(descriptor).st_mtime_ns
        os.utime(descriptor, ns=(stamp, stamp))
    except (OSError, TypeError):
        return False
    return now - stamp < _STALE_SECONDS * 1e9


def _process_lives(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))


def _is_same_file(descriptor: int, path: Path) -> bool:
    if os.name == "nt":  # there a file that is open keeps its name
        return True
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino)


def _holder(descriptor: int) -> dict[str, Any] | None:
    """Who a lock file names; None if it says nothing that can be read."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, 4096))
        known = {"pid": int(holder["pid"]), "host": str(holder["host"])[:80]}
        return known | {key: str(holder[key])[:40] for key in ("since", "token") if key in holder}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _name_holder(descriptor: int) -> str:
    """Write into a lock file that this process holds it. Returns the token that marks it."""
    token, since = uuid.uuid4().hex, time.strftime("%Y-%m-%d %H:%M:%S")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "token": token}
    with suppress(OSError):  # a full disk: the lock holds all the same, it only cannot name its holder
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())
    return token
