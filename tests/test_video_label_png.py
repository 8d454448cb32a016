"""Label maps as PNG files, and the palette they are drawn in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_fakes import grey_png

from hodor_cli.datasets.labels.mask_values import read_numbers
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
    with pytest.raises(InputError, match="65536"):
        write_label_png(tmp_path / "a.png", np.array([[65536]]))
    with pytest.raises(InputError, match=r"not \(0, 5\) uint8"):
        write_label_png(tmp_path / "a.png", np.zeros((0, 5), np.uint8))
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere to write a.png into; create it first"):
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
    (tmp_path / "a.png").write_bytes(grey_png((b"\0" + row.tobytes() for row in rows), (16, 4), bits=bits))
    assert np.array_equal(read_label_png(tmp_path / "a.png"), labels)


def filtered(image: np.ndarray, filters: list[int]) -> list[bytes]:
    """The rows of an 8-bit picture with these filters (0 none, 1 sub, 2 up, 3 average, 4 Paeth) in turn."""
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
    return rows


@pytest.mark.parametrize("filters", [[0], [1], [2], [0, 1, 2], [2, 1, 1, 2], [3], [4], [0, 1, 2, 3, 4]])
def test_row_filters(tmp_path: Path, filters: list[int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    file = tmp_path / "mask.png"
    file.write_bytes(grey_png(filtered(image, filters), (53, 37)))
    np.testing.assert_array_equal(np.array(Image.open(file)), image)
    np.testing.assert_array_equal(read_numbers(file), image)
