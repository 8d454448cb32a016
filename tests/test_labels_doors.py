"""Every door reads the same odd mask files and gives one answer: the same object ids, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.labels.decode import LabelReader, read_labels
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.descriptors.export.sources import video_with_masks
from hodor_cli.errors import DataError, HodorError
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.images.label_png import davis_palette
from hodor_cli.video.source import open_source

H, W = 40, 60
TWO = np.zeros((H, W), np.uint8)
TWO[4:16, 5:25], TWO[20:36, 30:55] = 1, 2
ONE = (TWO == 1).astype(np.uint8)


def indexed(labels: np.ndarray, colours: np.ndarray | None = None) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette((davis_palette() if colours is None else colours).tobytes())
    return image


def rgba(labels: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([davis_palette()[labels], alpha.astype(np.uint8)]))


def turned(labels: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(labels[::-1, ::-1])).save(path, exif=exif)


def soft() -> Image.Image:
    big = Image.fromarray(ONE * 255).resize((4 * W, 4 * H), Image.Resampling.NEAREST)
    return big.rotate(9).resize((W, H), Image.Resampling.LANCZOS)


def palette_with_transparency(path: Path) -> None:
    # The background has the index 2 and is transparent; index 0 is a painted object.
    index = np.choose(TWO, [2, 0, 1]).astype(np.uint8)
    colours = np.zeros((256, 3), np.uint8)
    colours[:3] = davis_palette()[[1, 2, 0]]
    indexed(index, colours).save(path, transparency=2)


FILES: dict[str, tuple[Callable[[Path], object], np.ndarray | None]] = {
    "1 and 255": (lambda path: Image.fromarray(np.where(TWO == 2, 255, TWO)).save(path), ONE),
    "0 and 255": (lambda path: Image.fromarray(ONE * 255).save(path), ONE),
    "bilevel": (lambda path: Image.fromarray(ONE > 0).save(path), ONE),
    "indexed": (lambda path: indexed(TWO).save(path), TWO),
    "indexed with void": (lambda path: indexed(np.where(TWO == 2, 255, TWO)).save(path), ONE),
    "indexed of 2 bits": (lambda path: indexed(TWO).save(path, bits=2), TWO),
    "palette with transparency": (palette_with_transparency, TWO),
    "16-bit": (lambda path: Image.fromarray(TWO.astype(np.uint16) * 300).save(path), TWO.astype(np.uint16) * 300),
    "16-bit white": (lambda path: Image.fromarray(ONE.astype(np.uint16) * 65535).save(path), ONE),
    "16-bit with void": (lambda path: Image.fromarray(np.where(TWO == 2, 255, TWO).astype(np.uint16)).save(path), ONE),
    "RGB": (lambda path: Image.fromarray(davis_palette()[TWO]).save(path), TWO),
    "ids as RGB": (lambda path: Image.fromarray(np.dstack([TWO] * 3)).save(path), TWO),
    "grey as RGB": (lambda path: Image.fromarray(np.dstack([ONE * 255] * 3)).save(path), ONE),
    "RGBA": (lambda path: rgba(TWO, (TWO > 0) * 255).save(path), TWO),
    "alpha under half opacity": (lambda path: rgba(TWO, (TWO > 0) * 90).save(path), TWO),
    "alpha, two coats": (lambda path: rgba(TWO, np.choose(TWO, [0, 255, 100])).save(path), TWO),
    "weak paint on an opaque ground": (lambda path: rgba(TWO, np.where(TWO > 0, 90, 255)).save(path), TWO),
    "weak paint on a white ground": (
        lambda path: Image.fromarray(
            np.dstack(
                [np.array([(255, 255, 255), *davis_palette()[1:3]], np.uint8)[TWO], np.where(TWO > 0, 60, 255)]
            ).astype(np.uint8)
        ).save(path),
        TWO,
    ),
    "EXIF-turned": (lambda path: turned(TWO, path), TWO),
    "soft edges": (lambda path: soft().save(path), None),
    "photograph": (
        lambda path: Image.fromarray(np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)).save(path),
        None,
    ),
    "cut off": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), None),
}


def of_training(root: Path) -> np.ndarray:
    return ClipSet(root).load_labels(0, 0)


def of_folder(root: Path) -> np.ndarray:
    source = open_source(root / "JPEGImages" / "clip")
    return read_given([str(root / "Annotations" / "clip")], source).masks[0].labels


def of_export(root: Path) -> np.ndarray:
    images, masks = root / "JPEGImages" / "clip", root / "Annotations" / "clip"
    frame = next(video_with_masks(open_source(images), images, masks).frames())
    labels = np.zeros((H, W), np.uint16)
    for object_id, mask in frame.masks.items():
        labels[mask] = object_id
    return labels


DOORS: dict[str, Callable[[Path], np.ndarray]] = {
    "--mask FILE": lambda root: read_mask(root / "Annotations/clip/00000.png").labels,
    "--mask FOLDER": of_folder,
    "training": of_training,
    "truth": lambda root: LabelReader("clip").read(root / "Annotations/clip/00000.png").ids,
    "one file": lambda root: read_labels(root / "Annotations/clip/00000.png").ids,
    "export": of_export,
}


@pytest.mark.parametrize("name", list(FILES))
def test_every_door_gives_one_answer(tmp_path: Path, name: str) -> None:
    save, wanted = FILES[name]
    frames, masks = tmp_path / "JPEGImages" / "clip", tmp_path / "Annotations" / "clip"
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    Image.new("RGB", (W, H), (90, 120, 60)).save(frames / "00000.jpg")
    save(masks / "00000.png")
    for door, read in DOORS.items():
        if wanted is None:
            with pytest.raises(HodorError, match=r"00000\.png"):
                read(tmp_path)
        else:
            np.testing.assert_array_equal(read(tmp_path), wanted, err_msg=door)


def test_void_is_marked_and_background(tmp_path: Path) -> None:
    Image.fromarray(np.where(TWO == 2, 255, TWO)).save(tmp_path / "a.png")
    found = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(found.void, TWO == 2)
    np.testing.assert_array_equal(found.ids, np.where(TWO == 2, 0, TWO))


def test_what_a_value_means_is_remembered_over_a_sequence() -> None:
    white = np.where(TWO == 2, 255, 0).astype(np.uint8)
    ids = LabelReader("ids")
    assert ids.read(TWO).new == (1, 2)
    later = ids.read(white)  # among masks of ids, 255 is void
    assert not later.ids.any() and later.void is not None and later.new == ()
    binary = LabelReader("binary")
    assert binary.read(np.zeros_like(TWO)).new == () and binary.binary is None
    assert binary.read(white).new == (1,)
    assert np.array_equal(binary.read(white).ids, white > 0)
    many = LabelReader("many")
    many.read(TWO.astype(np.uint16) * 400)
    assert set(np.unique(many.read(np.where(TWO == 2, 255, TWO)).ids)) == {0, 1, 255}, "255 is an id beside 800"


def test_all_masks_of_a_sequence_have_one_size() -> None:
    reader = LabelReader("bear")
    reader.read(TWO, "00000")
    with pytest.raises(DataError, match=r"bear has masks of 40x60 \(frame 00001\) and 60x40; give all one size"):
        reader.read(TWO.T, "00001")
