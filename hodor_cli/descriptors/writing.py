"""Files that appear whole, and names from a store that stay text wherever they are shown."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hodor_cli.errors import OutputError
from hodor_cli.files import ELSEWHERE, replacing, require_replaceable, writing_file

#: Terminal controls, what turns the direction of writing, and halves of characters, which no file can hold.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def check_output(path: Path, example: str) -> None:
    """Raise OutputError unless `path` can name a new file: folders, devices and links are never replaced.

    example: a file's name for the message.
    """
    if path.name in ("", "..") or path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it, for example {path / example}")
    if path.is_symlink():
        raise OutputError(f"{path} is a link and is not replaced; name another file")
    require_replaceable(path)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` at the end of the block.

    Raises OutputError if that names a folder, a device or a link, or cannot be written.
    """
    check_output(path, "picture.png")
    with writing_file(path, ELSEWHERE), replacing(path) as temporary:
        yield temporary


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a table whose texts no spreadsheet takes for formulas: they get an apostrophe in front."""
    with new_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_cell(value) if isinstance(value, str) else value for value in row] for row in rows)


def shown(text: str) -> str:
    """A name as it can be drawn or written: controls and halves of characters become escapes such as `\\x1b`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _cell(text: str) -> str:
    return f"'{shown(text)}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else shown(text)
