"""Writing files whole or not at all, the errors where that fails, and texts that are safe to write and to show."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hodor_cli.errors import OutputError

#: The way out where a user chose the file's place.
ELSEWHERE = "choose another place"

WINDOWS = os.name == "nt"
#: Seconds between tries to replace a file that another program has open.
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)
#: Names of devices on Windows, with any ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1))
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_MOST_BYTES = 255  # of a file's name, on nearly every file system

#: Terminal controls, characters that turn the direction of writing, and lone surrogates, which no file can hold.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def harmless(text: str, keep: str = "") -> str:
    """A text that can be shown and written: controls and lone surrogates become escapes such as `\\x1b`.

    keep: controls that stay as they are.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def drawable(text: str) -> str:
    """A text in the letters that Pillow's and OpenCV's own fonts have: without accents, and `?` for other alphabets."""
    plain = unicodedata.normalize("NFKD", harmless(text))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).encode("ascii", "replace").decode()


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV. No spreadsheet takes a text in it for a formula: such texts get an apostrophe in front."""

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        is_formula = value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
        return f"'{harmless(value)}" if is_formula else harmless(value)

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def require_replaceable(path: Path) -> None:
    """Raise OutputError if something other than a regular file lies at `path`.

    A device, a pipe or a folder must never make room for a file, and a link is neither replaced nor followed.
    """
    if os.path.islink(path) or (os.path.exists(path) and not os.path.isfile(path)):
        what = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a device or a pipe"
        raise OutputError(f"{path} is {what}, which is not replaced; {ELSEWHERE}")


def require_new(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError if there is something at `path` already, unless `overwrite`."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; give another `out` or `overwrite`")


def require_folder(path: Path) -> None:
    """Raise OutputError, before any work is done, if the folder of a file that will be written is missing."""
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent} to write {path.name} into; make it first")


def require_place(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError, before any work is done, unless a file can be made at `path`: its folder is there, and nothing
    else, or a file that `overwrite` allows to replace."""
    require_folder(path)
    require_replaceable(path)
    require_new(path, overwrite=overwrite)


def require_empty(folder: Path, *ignored: str) -> None:
    """Raise OutputError if a folder for results holds files that are not `ignored`."""
    if folder.is_dir() and any(entry.name not in ignored for entry in folder.iterdir()):
        raise OutputError(f"{folder} is a folder with other files in it; choose another with `out`")


def is_plain_name(name: str) -> bool:
    """Whether a name that was read from a file names an entry of a folder, and nothing outside it."""
    plain = name not in ("", ".", "..") and "\0" not in name and Path(name).name == name
    plain = plain and not (WINDOWS and _DEVICES.fullmatch(name))
    return plain and len(os.fsencode(name)) <= _MOST_BYTES


def put_in_place(source: Path, target: Path) -> None:
    """`os.replace`, tried several times, because on Windows a virus scanner may briefly lock a new file."""
    for seconds in _WAITS if WINDOWS else ():
        try:
            os.replace(source, target)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    os.replace(source, target)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end of the block, or removed if the block raises.

    A reader sees the old file or the whole new one; a kill leaves at most a hidden file `.NAME.PID.tmp`. Only a regular
    file is replaced. `durable` waits until the disk holds it, for files that a run is resumed from. Raises OutputError
    if something else is in the way.
    """
    require_replaceable(path)
    ending = f".{os.getpid()}.tmp"
    shown = os.fsencode(path.name)[: _MOST_BYTES - len(ending) - 1]
    temporary = path.with_name("." + shown.decode(errors="ignore") + ending)
    try:
        temporary.unlink(missing_ok=True)  # whatever lies there, a link perhaps, is not written into
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        put_in_place(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # of a disk that takes nothing, the first error says why
            temporary.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Wait until the disk knows the folder's names, where the system can do that."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def new_file(path: Path, way_out: str = ELSEWHERE) -> Iterator[Path]:
    """`replacing`, for a file of a place that a user chose. Raises OutputError if it cannot be written."""
    with writing_file(path, way_out), replacing(path) as temporary:
        yield temporary


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is on the disk, whole, when this returns; an existing one is replaced. Raises OSError."""
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(data)


def append_whole(file: io.FileIO, data: bytes) -> None:
    """Append to an unbuffered file, which is as before if that fails. Raises OSError."""
    size = os.fstat(file.fileno()).st_size
    try:
        if file.write(data) != len(data):  # a full disk takes a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        file.truncate(size)
        raise


@contextmanager
def writing(folder: Path, *, again: str = "run the same again with `resume`") -> Iterator[None]:
    """Turn the operating system's refusal to write into an OutputError that names the folder and the way out.

    again: what to do once a full disk has room.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise OutputError(f"the disk is full while writing to {folder}; make room and {again}") from error
        if error.errno in _NO_RIGHT:
            raise OutputError(f"{folder} cannot be written to (no permission); choose another with `out`") from error
        if isinstance(error, FileExistsError | NotADirectoryError) and not folder.is_dir():
            raise OutputError(f"{folder} is no folder but a file, or lies below one; choose another `out`") from error
        raise OutputError(f"{folder} cannot be written to ({error.strerror or error}); see the disk") from error


def write_result(path: Path, data: bytes) -> None:
    """`write_whole` into a folder of results, which is made if need be. Raises OutputError, naming the folder."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


@contextmanager
def writing_file(path: Path, way_out: str) -> Iterator[None]:
    """Turn the operating system's refusal to write a file into an OutputError that names it and the way out."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); {way_out}") from error
