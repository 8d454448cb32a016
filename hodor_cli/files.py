"""Files that appear whole or not at all, and what is said where the system refuses to write them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hodor_cli.errors import OutputError

#: The way out where a user chose the file's place.
ELSEWHERE = "choose another place"

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1))
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end of the block, or removed if the block raises.

    A reader sees the old file or the whole new one; a kill leaves at most a hidden file `.NAME.PID.tmp`. `durable`
    waits until the disk holds it, for files that a run goes on from.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # of a disk that takes nothing, the first error says why
            temporary.unlink()
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is on the disk, whole, when this returns; an existing one is replaced. Raises OSError."""
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(data)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into an OutputError that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutputError(
                f"the disk is full while writing to {folder}; make room and run the same command with --resume"
            ) from error
        if error.errno in _NO_RIGHT:
            raise OutputError(f"{folder} cannot be written to (no permission); choose another with -o") from error
        raise OutputError(f"{folder} cannot be written to ({error.strerror or error}); see the disk") from error


@contextmanager
def writing_file(path: Path, way_out: str) -> Iterator[None]:
    """Turn the operating system's refusal to write a file into an OutputError that names it and the way out."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); {way_out}") from error
