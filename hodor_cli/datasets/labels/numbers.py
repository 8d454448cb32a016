"""The numbers that a mask file stores, one per pixel, read fast: scoring spends most of its time here.

Most masks are 8-bit PNGs whose rows need no unfiltering or a running sum; those are decoded with zlib and one pass.
Everything else goes through Pillow.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.picture import StoredPicture, read_stored

LabelMap = npt.NDArray[np.uint16] | npt.NDArray[np.uint8]

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm", ".webp")
#: Endings of files that are no pictures; `read_mask` says what they are.
NO_PICTURES = (".npy", ".npz", ".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".zip")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TURNED = (b"Raw profile type", b"XML:com.adobe.xmp")  # texts that may hold an orientation


def read_numbers(path: Path) -> LabelMap | None:
    """(H, W) uint8 or uint16 numbers of a mask file, upright: indexed, grey, or grey stored as RGB.

    None for a file that needs thought: colours, transparency, JPEG, floats, an array. Raises InputError naming the
    file when it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    labels = _decode_plain_png(data)
    if labels is not None:
        return labels
    if path.suffix.lower() in NO_PICTURES:
        return None
    return numbers_of(read_stored(path, "a mask image"), path)


def numbers_of(picture: StoredPicture, path: Path, *, grey_in_colour: bool = True) -> LabelMap | None:
    """(H, W) numbers of a picture that has one per pixel; None for any other.

    A picture in which another value than 0 is transparent is none: there transparency, not 0, is the background.
    grey_in_colour: take RGB without any colour for grey.
    """
    values = picture.values
    if picture.format == "JPEG" or values.dtype.kind == "f":
        return None
    if grey_in_colour and values.ndim == 3 and values.shape[2] == 3 and bool((values == values[..., :1]).all()):
        values = values[..., 0]
    if values.ndim == 3 or (picture.clear and 0 not in picture.clear and np.isin(values, list(picture.clear)).any()):
        return None
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    highest, lowest = int(values.max(initial=0)), int(values.min(initial=0))
    if lowest < 0 or highest > MAX_ID:
        wrong = lowest if lowest < 0 else highest
        raise InputError(f"{path} holds the value {wrong}; object ids lie in 1..{MAX_ID} and 0 is background")
    return np.ascontiguousarray(values, dtype=np.uint16)


def _decode_plain_png(data: bytes) -> npt.NDArray[np.uint8] | None:
    """An 8-bit indexed or grey PNG whose row filters are none, sub or up; None for any other or damaged file, and
    for one with transparency or an orientation."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if depth != 8 or colour not in (0, 3) or interlace or not 0 < width * height <= 1 << 28:
        return None
    packed, offset = [], 8
    while offset + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[offset : offset + 8])
        if kind == b"IDAT":
            packed.append(data[offset + 8 : offset + 8 + length])
        elif kind in (b"tRNS", b"eXIf") or data[offset + 8 : offset + 8 + length].startswith(_TURNED):
            return None
        offset += 12 + length
    size = height * (width + 1)
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(b"".join(packed), size)
    except zlib.error:
        return None
    if len(raw) != size:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    return _unfiltered(rows[:, 0], rows[:, 1:])


def _unfiltered(filters: npt.NDArray[np.uint8], rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Undo PNG's row filters 0 (none), 1 (sub) and 2 (up); None where a row uses another."""
    kinds = set(filters.tobytes())
    if kinds == {0}:
        return np.ascontiguousarray(rows)
    if kinds == {1}:
        return _running_sums(rows)
    if not kinds <= {0, 1, 2}:
        return None
    image = np.ascontiguousarray(rows)
    sub = np.flatnonzero(filters == 1)
    if sub.size:
        image[sub] = _running_sums(image[sub])
    for row in np.flatnonzero(filters == 2):
        if row:  # the row above the first is all zeros
            image[row] += image[row - 1]
    return image


def _running_sums(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Sums along each row modulo 256. The integral image is the fastest running sum there is at hand."""
    import cv2

    if rows.size > 1 << 23:  # sums of 8 million bytes fit its 32 bits
        return np.cumsum(rows, axis=1, dtype=np.uint8)
    sums: Any = cv2.integral(np.ascontiguousarray(rows)).astype(np.uint8)
    return np.subtract(sums[1:, 1:], sums[:-1, 1:])
