"""Atomic file writing, the errors if it fails, and text that is safe to write and to show."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hodor_cli.errors import OutputError

#: The advice if the user chose where the file goes.
ELSEWHERE = "choose another place"

WINDOWS = os.name == "nt"
#: Seconds between tries to replace a file that another program has open.
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)
#: Names of devices on Windows, with any suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1))
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_MOST_BYTES = 255  # in a file name, on nearly every file system

#: What a killed process leaves of a file that it was writing (`replacing`).
_LEFTOVER = re.compile(r"\..+\.[0-9]+\.tmp")
#: Terminal controls, characters that change the text direction, and lone surrogates, which cannot be encoded.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Prefixes that make a spreadsheet treat a cell as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def harmless(text: str, keep: str = "") -> str:
    """A text that can be shown and written: controls and lone surrogates are replaced by escapes such as `\\x1b`.

    keep: controls that are not replaced.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def drawable(text: str) -> str:
    """The text in the letters of Pillow's and OpenCV's built-in fonts: no accents, and `?` for other alphabets."""
    plain = unicodedata.normalize("NFKD", harmless(text))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).encode("ascii", "replace").decode()


def json_text(value: Any) -> str:
    """A value as indented JSON, with a line break at its end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV. Texts that a spreadsheet would treat as formulas get an apostrophe in front."""

    def cell(value: object) -> object:
        if not isinstance(value, str):
            return value
        is_formula = value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
        return f"'{harmless(value)}" if is_formula else harmless(value)

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def require_replaceable(path: Path) -> None:
    """Raise OutputError if something other than a regular file is at `path`.

    A device, a pipe or a folder must never be replaced by a file, and a link is neither replaced nor followed.
    """
    if os.path.islink(path) or (os.path.exists(path) and not os.path.isfile(path)):
        what = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a device or a pipe"
        raise OutputError(f"{path} is {what}, which hodor does not replace; {ELSEWHERE}")


def require_new(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError if `path` exists, unless `overwrite`."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; give another `out` or `overwrite`")


def require_folder(path: Path) -> None:
    """Raise OutputError if the folder of a file that will be written later is missing."""
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent} to write {path.name} into; create it first")


def require_place(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless a file can be written to `path` later: its folder exists and may be written to, and the
    file does not exist or is a regular file that `overwrite` allows to replace."""
    require_folder(path)
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written (no permission for its folder); {ELSEWHERE}")
    require_replaceable(path)
    require_new(path, overwrite=overwrite)


def require_empty(folder: Path, *ignored: str) -> None:
    """Raise OutputError if a folder for results has files that are not `ignored`, except those that a killed run left
    half-written."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if any(name not in ignored and not _LEFTOVER.fullmatch(name) for name in names):
        raise OutputError(f"{folder} is a folder with other files in it; choose another with `out`")


def is_plain_name(name: str) -> bool:
    """Whether a name read from a file is the name of an entry in a folder, and not a path out of it."""
    plain = name not in ("", ".", "..") and "\0" not in name and Path(name).name == name
    plain = plain and not (WINDOWS and _DEVICES.fullmatch(name))
    return plain and len(os.fsencode(name)) <= _MOST_BYTES


def put_in_place(source: str | Path, target: str | Path) -> None:
    """`os.replace`, with retries on Windows, where a virus scanner may briefly lock a new file."""
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
    """A temporary path next to `path`, renamed to it at the end of the block, or removed if the block raises.

    A reader sees the old file or the complete new one; a killed process leaves at most a hidden `.NAME.PID.tmp`. Only a
    regular file is replaced. durable: also flush it to the disk, for files that a run is resumed from. Raises
    OutputError if something other than a regular file is in the way.
    """
    require_replaceable(path)
    ending = f".{os.getpid()}.tmp"
    shown = os.fsencode(path.name)[: _MOST_BYTES - len(ending) - 1]
    temporary = path.with_name("." + shown.decode(errors="ignore") + ending)
    try:
        temporary.unlink(missing_ok=True)  # a link, perhaps, which must not be followed
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        put_in_place(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # the first error says why
            temporary.unlink()
        raise


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left half-written of files whose names match. The caller holds the files' lock."""
    for left in folder.glob(f".{name}.[0-9]*.tmp"):
        left.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the folder's entries to the disk, if the system supports it."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def new_file(path: Path, way_out: str = ELSEWHERE) -> Iterator[Path]:
    """`replacing`, for a path that the user chose. Raises OutputError if it cannot be written."""
    with writing_file(path, way_out), replacing(path) as temporary:
        yield temporary


def write_whole(path: Path, data: bytes) -> None:
    """Write or replace a file atomically, and flush it to the disk. Raises OSError."""
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(data)


def append_whole(file: io.FileIO, data: bytes) -> None:
    """Append to an unbuffered file; if that fails, the file is unchanged. Raises OSError."""
    size = os.fstat(file.fileno()).st_size
    try:
        if file.write(data) != len(data):  # a full disk may accept only a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        file.truncate(size)
        raise


@contextmanager
def writing(folder: Path, *, again: str = "run again with `resume`") -> Iterator[None]:
    """Turn an OSError while writing into an OutputError that names the folder and the way out.

    again: what to do once a full disk has room again.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise OutputError(f"the disk is full while writing to {folder}; make room and {again}") from error
        if error.errno in _NO_RIGHT:
            raise OutputError(f"{folder} cannot be written to (no permission); choose another with `out`") from error
        if isinstance(error, FileExistsError | NotADirectoryError) and not folder.is_dir():
            raise OutputError(f"{folder} is a file or is inside one; choose another `out`") from error
        raise OutputError(f"{folder} cannot be written to ({error.strerror or error}); check the disk") from error


def write_result(path: Path, data: bytes) -> None:
    """`write_whole` into a folder for results, which is created if needed. Raises OutputError, naming the folder."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


@contextmanager
def writing_file(path: Path, way_out: str) -> Iterator[None]:
    """Turn an OSError while writing a file into an OutputError that names it and the way out."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); {way_out}") from error
