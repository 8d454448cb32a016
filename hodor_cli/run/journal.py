"""The journal of a run: a line of JSON for each frame done. An incomplete line, and lines after the checkpoint, are
dropped."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hodor_cli.run.records import FrameRecord, MadeFrame, decode, require_inside


class Journal:
    """The records of the frames done so far, on disk."""

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        """Open for appending, after truncating the file to `keep_bytes` bytes."""
        self._file = path.open("r+b" if keep_bytes else "wb", buffering=0)
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)
        self.size = keep_bytes

    def append(self, record: FrameRecord) -> None:
        """Add one frame's record."""
        line = msgspec.json.encode(record) + b"\n"
        written = self._file.write(line)
        if written != len(line):
            raise OSError(errno.ENOSPC, "the disk is full")
        self.size += len(line)

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path, from_byte: int = 0, to_byte: int | None = None) -> Iterator[FrameRecord]:
    """Yield the journal's complete records between two offsets; an incomplete last line is left out.

    Raises OutputError for a line that hodor did not write.
    """
    for line in _lines(path, from_byte, to_byte):
        yield decode(line, FrameRecord, str(path))


def read_made_frames(journal: Path, from_byte: int = 0) -> Iterator[MadeFrame]:
    """Yield the frames of a journal from an offset on, with what determines their files; damaged lines are left out.

    Raises OutputError for a name that leads outside the folder.
    """
    for line in _lines(journal, from_byte, None):
        try:
            frame = msgspec.json.decode(line, type=MadeFrame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        require_inside(frame.name, str(journal))
        yield frame


def _lines(path: Path, from_byte: int, to_byte: int | None) -> Iterator[bytes]:
    """Yield the complete lines between two offsets."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(from_byte)
        position = from_byte
        for line in file:
            position += len(line)
            if to_byte is not None and position > to_byte:
                return
            if line.endswith(b"\n"):
                yield line
