"""The reader and the listing of picture files: orientation, depth, transparency, pages, size, names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features
from png_fakes import grey_png

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import box_of, extents, ids_in, window_of
from hodor_cli.images.listing import list_pictures
from hodor_cli.images.paths import listed
from hodor_cli.images.picture import read_header, read_pages, read_picture, read_stored
from hodor_cli.images.value_range import ValueRange, measure_range

HEIGHT, WIDTH = 20, 40
ORIENTATION = 0x0112
#: How `np.rot90` and a flip of columns undo what each EXIF orientation says about the stored pixels.
UPRIGHT = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}


def corner(dtype: type = np.uint8, value: int = 200) -> np.ndarray:
    """Bright in one corner, darker beside it: no turn or flip gives the same picture."""
    picture = np.zeros((HEIGHT, WIDTH), dtype)
    picture[:8, :16] = value
    picture[:8, 16:32] = value // 2
    return picture


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    quarter_turns, mirror = UPRIGHT[orientation]
    turned = np.rot90(stored, quarter_turns)
    return turned[:, ::-1] if mirror else turned


def turned_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "lzw.tif"])
def test_pictures_are_turned_once_whatever_the_format(tmp_path: Path, ending: str, orientation: int) -> None:
    path = tmp_path / f"a.{ending}"
    extra = {"compression": "tiff_lzw"} if ending == "lzw.tif" else {"lossless": True} if ending == "webp" else {}
    Image.fromarray(np.stack([corner()] * 3, 2)).save(path, exif=turned_exif(orientation), **extra)
    wanted = upright(corner(), orientation)
    read = read_picture(path)
    assert read_header(path).size == read.shape[:2] == wanted.shape
    assert np.abs(read[..., 1].astype(int) - wanted).mean() < (4 if ending == "jpg" else 0.01)
    assert np.array_equal(read_stored(path).values[..., :3], read)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", ["p.png", "grey16.png", "grey16.tif", "float.tif"])
def test_stored_values_keep_their_mode_and_are_upright(tmp_path: Path, name: str, orientation: int) -> None:
    values = corner({"p": np.uint8, "g": np.uint16, "f": np.float32}[name[0]], 200 if name[0] == "p" else 900)
    image = Image.fromarray(values)
    if name[0] == "p":
        image.putpalette(bytes(range(256)) * 3)
    image.save(tmp_path / name, exif=turned_exif(orientation))
    stored = read_stored(tmp_path / name)
    assert np.array_equal(stored.values, upright(values, orientation))
    assert (stored.palette is not None) == (name == "p.png")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_deep_colours_in_separate_planes_are_refused(tmp_path: Path, compression: str | None) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    planes = np.random.default_rng(0).integers(500, 3000, (3, HEIGHT, WIDTH))
    path = tmp_path / "cells.tif"
    for dtype in (np.uint8, np.uint16):
        stored = (planes // (16 if dtype == np.uint8 else 1)).astype(dtype)
        tifffile.imwrite(path, stored, photometric="rgb", planarconfig="separate", compression=compression)
        if dtype == np.uint8:
            np.testing.assert_array_equal(read_picture(path), np.moveaxis(stored, 0, -1))
    with pytest.raises(InputError, match="separate planes"):
        read_picture(path)


@pytest.mark.parametrize("stored", [corner(), corner() > 150, corner(np.uint16, 60_000), corner(np.float32, 1)])
def test_a_tiff_whose_zero_is_white_is_shown_so_and_keeps_its_values_as_a_mask(
    tmp_path: Path, stored: np.ndarray
) -> None:
    path = tmp_path / "a.tif"
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    tifffile.imwrite(path, stored, photometric="miniswhite")
    picture = read_picture(path)
    assert picture[-1, -1, 0] == 255 and picture[0, 0, 0] < picture[0, 20, 0]
    np.testing.assert_array_equal(read_stored(path).values, stored)


def test_sixteen_bit_colour_keeps_its_low_byte(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), np.stack([corner(np.uint16, 1000)] * 3, 2))
        said: list[str] = []
        assert read_header(tmp_path / name).deep
        assert read_picture(tmp_path / name, warn=said.append).max() == pytest.approx(1000 / 1023 * 255, abs=1)
        assert "1023 white" in said[0]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.linspace(0, 1000, 5000).astype(np.uint16), 0, 1023),  # 10 bits
        (np.linspace(50, 3900, 5000).astype(np.uint16), 0, 4095),  # 12 bits
        (np.linspace(0, 65000, 5000).astype(np.uint16), 0, 65535),
        (np.linspace(20_000, 22_000, 5001).astype(np.uint16), 20_002, 21_998),  # a thermal camera
        (np.linspace(0, 0.9, 5000).astype(np.float32), 0, 1),
        (np.linspace(0, 250, 5000).astype(np.float32), 0, 255),
        (np.linspace(-3, 3, 5001).astype(np.float32), -2.994, 2.994),
        (np.full(100, np.nan, np.float32), 0, 1),
        (np.zeros(100, np.uint16), 0, 255),
    ],
)
def test_range_follows_what_the_values_fill(values: np.ndarray, low: float, high: float) -> None:
    found = measure_range([values.reshape(1, -1)])
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3)


def test_floats_among_integers_are_told() -> None:
    integers, floats = np.arange(4096, dtype=np.uint16)[None], np.linspace(0, 1, 100, dtype=np.float32)[None]
    for pictures, told in (([integers, floats], True), ([floats, floats], False), ([integers, integers], False)):
        warnings: list[str] = []
        measure_range(pictures, warnings.append)
        assert any("some pictures have float and others integer values" in one for one in warnings) == told


def test_hot_pixels_and_values_that_are_not_a_number_do_not_darken_a_picture(tmp_path: Path) -> None:
    values = np.full((100, 100), 0.5, np.float32)
    values[:50] = 0.1
    values[0, 0], values[0, 1], values[99, 99] = 1e9, np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    read = read_picture(tmp_path / "a.tif")
    assert abs(int(read[70, 50, 0]) - 128) < 3 and read[0, 1, 0] == 0 and read[0, 0, 0] == read[99, 99, 0] == 255


def test_given_range_is_used(tmp_path: Path) -> None:
    Image.fromarray(corner(np.uint16, 500)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", value_range=ValueRange(0, 500)).max() == 255


def test_transparent_pixels_become_black_and_are_told(tmp_path: Path) -> None:
    rgba = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    rgba[:10, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    palette = Image.fromarray(corner() // 100).convert("P")
    palette.putpalette([255, 255, 255] * 3)
    palette.save(tmp_path / "p.png", transparency=0)
    for name, clear in (("a.png", rgba[..., 3] == 0), ("p.png", corner() // 100 == 0)):
        said: list[str] = []
        assert np.array_equal(read_picture(tmp_path / name, warn=said.append).any(axis=2), ~clear)
        assert said == ["transparent pixels are read as black"]
    Image.fromarray(np.full((4, 4, 4), 255, np.uint8)).save(tmp_path / "opaque.png")
    assert read_picture(tmp_path / "opaque.png", warn=said.append).all() and len(said) == 1


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif", "avif"])
def test_every_page_is_read_with_its_time(tmp_path: Path, ending: str) -> None:
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    pictures = [Image.fromarray(np.roll(np.stack([corner()] * 3, 2), 3 * i, 1)) for i in range(4)]
    extra = {"lossless": True} if ending == "webp" else {"quality": 100} if ending == "avif" else {}
    path = tmp_path / f"a.{ending}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[40, 80, 40, 200], **extra)
    pages = list(read_pages(path))
    assert len(pages) == read_header(path).pages == 4
    for (page, _), wanted in zip(pages, pictures, strict=True):
        assert np.abs(page.astype(int) - np.asarray(wanted)).mean() < 3
    (third, _), *others = read_pages(path, pages=[2])
    assert np.array_equal(third, pages[2][0]) and not others
    assert [shown for _, shown in pages] == ([None] * 4 if ending == "tif" else pytest.approx([0.04, 0.08, 0.04, 0.2]))
    with pytest.raises(InputError, match=r"damaged|cannot be read"):
        list(read_pages(path, pages=[9]))


def test_the_picture_for_programs_without_animations_is_no_frame_of_a_png(tmp_path: Path) -> None:
    still, *frames = (Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue"))
    path = tmp_path / "a.png"
    still.save(path, save_all=True, append_images=frames, duration=80, default_image=True)
    assert read_header(path).pages == 2
    assert [(page[0, 0].tolist(), shown) for page, shown in read_pages(path)] == [
        ([0, 255, 0], 0.08), ([0, 0, 255], 0.08)
    ]  # fmt: skip


def test_huge_and_damaged_pictures_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(grey_png([bytes(100)], (60_000, 60_000)))
    (tmp_path / "short.png").write_bytes(grey_png([bytes(100)], (400, 400)))
    (tmp_path / "none.png").write_bytes(b"no picture")
    for name, words in (("bomb", "too large"), ("short", "cannot be read|damaged"), ("none", "not an image")):
        with pytest.raises(InputError, match=words):
            read_picture(tmp_path / f"{name}.png")
    with pytest.raises(InputError, match="there is no file"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(InputError):
        read_picture(tmp_path / "with\0zero.png")


# ---- the listing -----------------------------------------------------------------------------------------------------


def fill(folder: Path, *names: str, mode: str = "RGB") -> None:
    formats = {".jpg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".JPG": "JPEG", ".png": "PNG", ".tif": "TIFF"}
    for name in names:
        Image.new(mode, (8, 8)).save(folder / name, format=formats[Path(name).suffix])


def test_listing_is_in_natural_order_with_endings_in_any_case(tmp_path: Path) -> None:
    fill(tmp_path, "f10.JPG", "f2.jfif", "f1.jpe", "f3.tif", ".hidden.jpg")
    (tmp_path / "notes.txt").touch()
    files, left_out = list_pictures(tmp_path)
    assert [file.name for file in files] == ["f1.jpe", "f2.jfif", "f3.tif", "f10.JPG"]
    assert left_out == []


def test_files_of_unknown_ending_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "3.psd").touch()
    assert "1 .psd file left out" in list_pictures(tmp_path)[1][0]


@pytest.mark.parametrize("frames", ["jpg", "png"])
@pytest.mark.parametrize("name", ["00000_mask.png", "mask.png", "mask-2.png", "seen.png", "first frame.tif"])
def test_a_mask_among_the_frames_is_no_frame(tmp_path: Path, name: str, frames: str) -> None:
    fill(tmp_path, *[f"{i:05d}.{frames}" for i in range(5)])
    fill(tmp_path, name, mode="P" if name == "seen.png" else "L")
    files, left_out = list_pictures(tmp_path)
    assert len(files) == 5 and name in left_out[0] and "mask" in left_out[0]


def test_frames_that_a_program_saved_in_fewer_colours_stay_frames(tmp_path: Path) -> None:
    fill(tmp_path, *[f"{i:05d}.png" for i in range(1, 8)], "cover.jpg")
    fill(tmp_path, "00000.png", mode="P")
    assert len(list_pictures(tmp_path)[0]) == 9


def test_a_folder_of_masks_or_of_frames_that_are_called_so_is_whole(tmp_path: Path) -> None:
    fill(tmp_path, "mask_1.png", "mask_2.png", "label 3.png", mode="P")
    assert len(list_pictures(tmp_path)[0]) == 3


def test_names_are_one_frame_in_every_unicode_form(tmp_path: Path) -> None:
    fill(tmp_path, unicodedata.normalize("NFD", "é1.jpg"), "é2.jpg")
    assert [unicodedata.normalize("NFC", file.stem) for file in list_pictures(tmp_path)[0]] == ["é1", "é2"]
    fill(tmp_path, unicodedata.normalize("NFC", "é1.jpg"))
    if len(list(tmp_path.iterdir())) == 3:  # a file system that keeps both
        with pytest.raises(InputError, match="same frame"):
            list_pictures(tmp_path)


def test_of_many_things_some_are_listed_and_the_others_counted() -> None:
    assert listed("abc") == listed("abc", 3) == "a, b, c"
    assert listed(range(9), 5) == "0, 1, 2, 3, 4 and 4 more"
    assert listed([]) == ""


def test_areas_and_boxes_from_one_pass_are_those_of_each_object() -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):  # objects in pieces, at all edges
        labels = rng.choice(np.array([1, 2, 300, 65535], np.uint16), (9, 13)) * (rng.random((9, 13)) < density)
        wanted = {key: (int((labels == key).sum()), box_of(labels == key)) for key in ids_in(labels)}
        assert extents(labels) == wanted


def test_the_box_of_a_mask_holds_all_of_it_and_nothing_more() -> None:
    mask = np.zeros((7, 9), bool)
    assert box_of(mask) is None
    mask[2, 3] = mask[5, 8] = True
    assert box_of(mask) == (3, 2, 6, 4) == box_of(mask[:, ::-1][:, ::-1])
    rows, columns = window_of((3, 2, 6, 4))
    mask[rows, columns] = False
    assert not mask.any()
