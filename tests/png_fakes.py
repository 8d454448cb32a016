"""PNG files written by hand, for what Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable


def grey_png(
    rows: Iterable[bytes], size: tuple[int, int], *, bits: int = 8, before: tuple[bytes, bytes] | None = None
) -> bytes:
    """A grey PNG of `size` (width, height). rows: each begins with its filter; before: a chunk before the pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packed = zlib.compress(b"".join(rows))
    half = len(packed) // 2
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *size, bits, 0, 0, 0, 0)), *([before] if before else [])]
    parts += [(b"IDAT", packed[:half]), (b"IDAT", packed[half:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
