"""Is a video file shorter than its own header says? MP4/MOV, AVI and Matroska/WebM declare their size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class ContainerSize:
    """format: "mp4", "avi", "matroska" or "other". missing_bytes: how much of what is declared is not there.
    has_index: False for an MP4 without its moov box, which cannot be decoded."""

    format: str
    missing_bytes: int = 0
    has_index: bool = True


def inspect_container(path: Path) -> ContainerSize:
    """Read the outermost boxes of a file and compare the size they declare with the file's."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
            return _inspect_mp4(file, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return ContainerSize("avi", max(0, _riff_end(file, size) - size))
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return ContainerSize("matroska", max(0, _matroska_end(file, size) - size))
    return ContainerSize("other")


def _inspect_mp4(file: BinaryIO, size: int) -> ContainerSize:
    at, has_index = 0, False
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int(struct.unpack(">I", header[:4])[0])
        if length == 1 and len(header) == 16:
            length = int(struct.unpack(">Q", header[8:16])[0])
        elif length == 0:  # the last box, to the end of the file
            length = size - at
        if length < 8:  # zeros or noise, not a box
            break
        has_index |= header[4:8] == b"moov" and at + length <= size
        at += length
    return ContainerSize("mp4", max(0, at - size), has_index)


def _riff_end(file: BinaryIO, size: int) -> int:
    at = 0
    while at + 8 <= size:  # large AVI files are a chain of RIFF chunks
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length == 0:
            break
        at += 8 + length + (length & 1)
    return at


def _matroska_end(file: BinaryIO, size: int) -> int:
    at = 0
    while at < size:
        file.seek(at)
        name = file.read(4)
        width = _vint_width(file.read(1))
        if name not in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67") or width == 0:
            break
        file.seek(at + 4)
        raw = int.from_bytes(file.read(width), "big") & ((1 << 7 * width) - 1)
        if raw == (1 << 7 * width) - 1:  # "unknown": a live recording
            return 0
        at += 4 + width + raw
    return at


def _vint_width(first: bytes) -> int:
    return 9 - first[0].bit_length() if first and first[0] else 0
