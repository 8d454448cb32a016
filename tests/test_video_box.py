"""Boxes in: parsing them, and the masks GrabCut makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hodor_cli.errors import InputError, UsageError
from hodor_cli.run.box import BoxArgument, mask_from_box, parse_box
from hodor_cli.video.source import open_source


def scene(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """An orange disk on textured green, and its true mask."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 25, (height, width, 3))
    disk = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 4) ** 2
    image = np.where(disk[..., None], (220, 120, 20), (40, 110, 50)) + noise
    return image.clip(0, 255).astype(np.uint8), disk


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("scale", [1, 8])
def test_box_becomes_the_objects_mask(scale: int) -> None:
    image, disk = scene(120 * scale, 160 * scale)
    box = (45 * scale, 25 * scale, 70 * scale, 70 * scale)
    mask = mask_from_box(image, box)
    assert mask.shape == disk.shape and mask.dtype == bool
    assert iou(mask, disk) > 0.95
    outside = mask.copy()
    outside[25 * scale : 95 * scale, 45 * scale : 115 * scale] = False
    assert not outside.any()


def test_same_box_gives_same_mask() -> None:
    import cv2

    image, _ = scene()
    first = mask_from_box(image, (45, 25, 70, 70))
    cv2.setRNGSeed(123)
    assert np.array_equal(first, mask_from_box(image, (45, 25, 70, 70)))


def test_box_at_the_picture_border() -> None:
    image, disk = scene()
    cropped, truth = image[30:, 40:], disk[30:, 40:]
    assert iou(mask_from_box(np.ascontiguousarray(cropped), (0, 0, 85, 65)), truth) > 0.9


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((-1, 0, 20, 20), "outside the 160x120 picture"),
        ((150, 10, 20, 20), "outside the 160x120 picture"),
        ((500, 500, 20, 20), "outside"),
        ((45, 25, 115, 105), r"two corners it is 45,25,70,80"),
        ((10, 10, 0, 20), "too small"),
        ((10, 10, 30, -5), "too small"),
        ((0, 0, 160, 120), "all of the 160x120 picture"),
    ],
)
def test_boxes_that_do_not_fit(box: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mask_from_box(scene()[0], box)


def test_box_with_nothing_in_it() -> None:
    flat = np.full((120, 160, 3), 90, np.uint8)
    with pytest.raises(InputError, match=r"nothing inside the box 45,25,70,70 stands out"):
        mask_from_box(flat, (45, 25, 70, 70))


def test_parse_box() -> None:
    assert parse_box("10,20,30,40") == BoxArgument(None, (10, 20, 30, 40))
    assert parse_box(" 12 = 10, 20.4 ,30,40 ") == BoxArgument(12, (10, 20, 30, 40))
    for wrong in ("10,20,30", "a,b,c,d", "x=1,2,3,4", "", "1=2=3,4,5,6", "1,2,3,nan", "-3=1,2,3,4"):
        with pytest.raises(UsageError, match="is no box"):
            parse_box(wrong)


def test_parse_box_against_a_source(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    image, _ = scene()
    source = open_source(make_video(tmp_path / "clip.mp4", [image] * 5), start=1)
    assert parse_box("45,25,70,70", source) == BoxArgument(1, (45, 25, 70, 70))
    assert parse_box("4=45,25,70,70", source).frame == 4
    with pytest.raises(InputError, match="past the end"):
        parse_box("5=45,25,70,70", source)
    with pytest.raises(UsageError, match="outside"):
        parse_box("45,25,700,70", source)


def test_real_frame(data_dir: Path) -> None:
    image = np.asarray(Image.open(data_dir / "davis2016_dev/JPEGImages/480p/soapbox/00000.jpg").convert("RGB"))
    truth = np.asarray(Image.open(data_dir / "davis2016_dev/Annotations/480p/soapbox/00000.png")) > 0
    rows, columns = np.where(truth)
    box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    assert iou(mask_from_box(image, box), truth) > 0.7
