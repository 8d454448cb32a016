"""The files that views and projections are written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hodor_cli.errors import OutputError
from hodor_cli.files import ELSEWHERE, replacing, require_replaceable, writing_file


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
