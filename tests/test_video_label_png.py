"""Label maps as PNG files, and the palette they are drawn in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hodor_cli.errors import InputError, OutputError
from hodor_cli.images.label_png import davis_palette, read_label_png, write_label_png


def test_label_png_round_trip_in_davis_colours(tmp_path: Path, data_dir: Path) -> None:
    annotation = data_dir / "davis_multi/Annotations/240p/schoolgirls/00000.png"
    labels = read_label_png(annotation)
    write_label_png(tmp_path / "a.png", labels)
    written, original = Image.open(tmp_path / "a.png"), Image.open(annotation)
    assert written.mode == "P" and np.array_equal(np.asarray(written), np.asarray(original))
    assert written.getpalette()[: 22 * 3] == original.getpalette()[: 22 * 3]


@pytest.mark.parametrize("highest", [1, 255, 256, 65535])
def test_label_png_keeps_ids(tmp_path: Path, highest: int) -> None:
    labels = np.array([[0, 1, highest]], dtype=np.int64)
    write_label_png(tmp_path / "a.png", labels)
    assert np.array_equal(read_label_png(tmp_path / "a.png"), labels)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_label_png_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="65536"):
        write_label_png(tmp_path / "a.png", np.array([[65536]]))
    with pytest.raises(OutputError, match="cannot be written"):
        write_label_png(tmp_path / "nowhere" / "a.png", np.ones((4, 4), np.uint8))
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    with pytest.raises(InputError, match="not a label PNG"):
        read_label_png(tmp_path / "rgb.png")


def test_palette_rows_differ() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert len(np.unique(palette, axis=0)) == 256


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits_keeps_its_values(tmp_path: Path, bits: int) -> None:
    labels = (np.arange(64).reshape(4, 16) % (1 << bits)).astype(np.uint8)
    rows = np.packbits(np.unpackbits(labels[..., None], axis=2)[..., 8 - bits :].reshape(4, -1), axis=1)
    (tmp_path / "a.png").write_bytes(grey_png(rows, 16, bits))
    assert np.array_equal(read_label_png(tmp_path / "a.png"), labels)


def grey_png(rows: np.ndarray, width: int, bits: int) -> bytes:
    """A grey PNG of packed rows; Pillow writes no 2 and 4 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, 0, 0, 0, 0)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
