"""Whether a video file is shorter than its own header says: MP4/MOV, AVI and Matroska/WebM declare their size."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from hodor_cli.errors import InputError


def count_missing_bytes(path: Path) -> int:
    """How many of the bytes that a file's outermost boxes declare are missing; 0 for formats that declare no size.

    Raises `InputError` if the file cannot be read, is empty, or is an MP4 that is cut off before its index.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
                end = _mp4_end(file, size, path)
            elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
                end = _riff_end(file, size)
            elif head[:4] == b"\x1a\x45\xdf\xa3":
                end = _matroska_end(file, size)
            else:
                end = 0
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes)")
    return max(0, end - size)


def _mp4_end(file: BinaryIO, size: int, path: Path) -> int:
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
    if not has_index:
        raise InputError(
            f"{path} is an MP4 that is cut off before its index (no moov box), so no frame of it can be read; copy or "
            f"record it again"
        )
    return at


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
        first = file.read(1)
        width = 9 - first[0].bit_length() if first and first[0] else 0
        if name not in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67") or width == 0:
            break
        file.seek(at + 4)
        raw = int.from_bytes(file.read(width), "big") & ((1 << 7 * width) - 1)
        if raw == (1 << 7 * width) - 1:  # means unknown, as in a live recording
            return 0
        at += 4 + width + raw
    return at
