"""Names of files and folders: sorting them, showing them, and the error about a missing one."""

from __future__ import annotations

import codecs
import difflib
import errno
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os.path import exists  # False also for names that no file can have
from pathlib import Path

from hodor_cli.errors import HodorError, InputError, UsageError


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts img2 before img10, whatever the Unicode form of a name. Names that differ only in leading
    zeros, such as img1 and img01, are sorted as text."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", name).casefold())
    return [int(part) if part.isdigit() and part.isascii() else part for part in parts], name


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """ "1 frame", "2,000 frames". nouns: the plural, unless it only adds an s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def listed(things: Iterable[object], most: int = 5) -> str:
    """ "a, b, c", or "a, b and 4 more" if there are more than `most`."""
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def size_text(size: Sequence[int]) -> str:
    """The size (height, width) or shape of a picture as text: "WIDTHxHEIGHT"."""
    return f"{size[1]}x{size[0]}"


def path_text(path: str | Path) -> str:
    """A path as text that can be printed and written as JSON. One that is not UTF-8 is read as Latin-1, its most likely
    encoding."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("latin-1")
    return str(path)


def readable_name(name: str) -> str:
    """`path_text` in composed Unicode form, in which equal names are equal texts."""
    return unicodedata.normalize("NFC", path_text(name))


def as_path(given: object, what: str) -> Path:
    """A caller's path as a `Path`. Raises UsageError for another type, or a name that no file can have; what: the thing
    in words, such as "the mask"."""
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"{what} must be a path, not a {type(given).__name__}")
    path = Path(given)
    try:
        os.lstat(path)
    except ValueError:
        raise UsageError(f"{what} has a zero byte in its name; leave that out") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and "://" not in str(given):  # an address may be longer
            raise UsageError(f"{what} has a name that is too long; choose a shorter one") from None
    return path


def require_exists(path: Path, what: str) -> None:
    """Raise `InputError` if `path` is missing; the message suggests the most similar name that exists.

    what: the missing thing in words, for example "video or folder" or "mask".
    """
    if exists(path):
        return
    if os.path.islink(path):
        raise InputError(f"{path} is a link to {os.readlink(path)}, which does not exist")
    # The mistake is in the first missing component: in /data/vidoes/a.mp4 it is "vidoes", not "a.mp4".
    missing = path
    while not exists(missing.parent) and missing.parent != missing:
        missing = missing.parent
    siblings: list[str] = []
    with suppress(OSError):
        siblings = sorted(entry.name for entry in missing.parent.iterdir() if not entry.name.startswith("."))
    close = difflib.get_close_matches(missing.name, siblings, n=1, cutoff=0.7)
    if not close:  # difflib underrates the same name with another ending or in another case
        stem = missing.stem.casefold()
        close = [name for name in siblings if Path(name).stem.casefold() == stem][:1]
    if close:
        hint = f"did you mean {missing.parent / close[0]}?"
    elif missing != path:
        hint = f"the folder {missing} does not exist"
    else:
        hint = f"{missing.parent.resolve()} " + (f"holds {listed(siblings, 4)}" if siblings else "is empty")
    raise InputError(f"there is no {what} {path}: {hint}")


@contextmanager
def reading_file(path: Path | str, error: type[HodorError] = InputError) -> Iterator[None]:
    """Turn an OSError while reading `path` into an `error` that names the path and the reason."""
    try:
        yield
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}") from reason


def read_start(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, or all if it is shorter. Raises `InputError` if it cannot be read."""
    with reading_file(path), path.open("rb") as file:
        return file.read(size)


def read_utf8(path: Path, error: type[HodorError] = InputError) -> bytes:
    """The bytes of a text file as UTF-8: programs on Windows may have written a byte-order mark, which is removed, or
    UTF-16, which is converted. Raises `error` if the file cannot be read."""
    with reading_file(path, error):
        data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def summarise_files(names: Iterable[str]) -> str:
    """The number of files by ending, most frequent first: "12 .mp4 files, 1 .txt file"."""
    counts = Counter(Path(name).suffix.lower() or "(no ending)" for name in names)
    parts = [plural(n, f"{suffix} file") for suffix, n in counts.most_common(3)]
    rest = sum(n for _, n in counts.most_common()[3:])
    return ", ".join(parts) + (f" and {plural(rest, 'other')}" if rest else "")


def visible_files(folder: Path) -> list[str]:
    """Names of the files in `folder` in natural order, without hidden ones. Links to missing files are among them, so
    that they are reported when they are read. Raises `InputError` if the folder is unreadable."""
    with reading_file(f"the folder {folder}"):
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        names = [entry.name for entry in entries if entry.is_file() or not exists(entry)]
    return sorted(names, key=natural_key)


def visible_folders(folder: Path) -> list[Path]:
    """Sub-folders of `folder` in natural order, without hidden ones; empty if it is missing or cannot be read."""
    try:
        folders = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return sorted(folders, key=lambda entry: natural_key(entry.name))
