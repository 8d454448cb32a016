"""Mask files of every kind are read as the values that they hold."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hodor_cli.datasets.labels.decode import read_labels
from hodor_cli.datasets.labels.mask_values import read_numbers
from hodor_cli.errors import InputError


def png_with_filters(image: np.ndarray, filters: list[int]) -> bytes:
    """An 8-bit grey PNG whose rows use these filters (0 none, 1 sub, 2 up, 3 average, 4 Paeth) in turn."""
    height, width = image.shape
    wide = image.astype(int)
    rows = []
    for y in range(height):
        kind = filters[y % len(filters)]
        left = np.concatenate([[0], wide[y, :-1]])
        above = wide[y - 1] if y else np.zeros(width, int)
        corner = np.concatenate([[0], above[:-1]])
        estimate = left + above - corner
        distances = np.abs(np.stack([estimate - left, estimate - above, estimate - corner]))
        paeth = np.choose(np.argmin(distances, 0), [left, above, corner])
        guess = [np.zeros(width, int), left, above, (left + above) // 2, paeth][kind]
        rows.append(bytes([kind]) + ((wide[y] - guess) % 256).astype(np.uint8).tobytes())

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(b"".join(rows))
    half = len(packed) // 2
    parts = chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + parts + chunk(b"IEND", b"")


@pytest.mark.parametrize("filters", [[0], [1], [2], [0, 1, 2], [2, 1, 1, 2], [3], [4], [0, 1, 2, 3, 4]])
def test_row_filters(tmp_path: Path, filters: list[int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    file = tmp_path / "mask.png"
    file.write_bytes(png_with_filters(image, filters))
    np.testing.assert_array_equal(np.array(Image.open(file)), image)
    np.testing.assert_array_equal(read_numbers(file), image)


def test_modes(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 4, (20, 31), dtype=np.uint8)
    palette = Image.fromarray(ids)
    palette.putpalette(list(range(12)))
    cases = {
        "palette": (palette, {}),
        "palette of 2 bits": (palette, {"bits": 2}),
        "grey": (Image.fromarray(ids), {}),
        "grey as RGB": (Image.fromarray(np.repeat(ids[..., None], 3, 2)), {}),
    }
    for name, (image, options) in cases.items():
        image.save(tmp_path / "mask.png", **options)
        np.testing.assert_array_equal(read_numbers(tmp_path / "mask.png"), ids, err_msg=name)
    Image.fromarray(ids > 1).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_numbers(tmp_path / "mask.png"), ids > 1)
    Image.fromarray(ids.astype(np.uint16) * 1000).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_numbers(tmp_path / "mask.png"), ids.astype(int) * 1000)


def test_what_is_no_mask_is_named(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match=r"colour\.png holds .* looks like a photograph"):
        read_labels(tmp_path / "colour.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:80])
    with pytest.raises(InputError, match=r"cut\.png"):
        read_labels(tmp_path / "cut.png")
    with pytest.raises(InputError, match=r"gone\.png"):
        read_labels(tmp_path / "gone.png")
