"""Files that are odd but meant well give the right result, and all others one sentence that says what is wrong."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from png_fakes import grey_png

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import HodorError, InputError
from hodor_cli.formats.check import check_dataset
from hodor_cli.formats.opening import open_set
from hodor_cli.formats.recognise import read_annotations
from hodor_cli.images.picture import read_picture

HEIGHT, WIDTH = 96, 128
SQUARE = [30, 20, 70, 20, 70, 50, 30, 50]
AREA = 1200
IMAGE = {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": AREA, "bbox": [30, 20, 40, 30]}
SHAPE = {"label": "cat", "points": [[30, 20], [70, 20], [70, 50], [30, 50]], "shape_type": "polygon", "group_id": None}


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)


def coco(folder: Path, annotation: dict[str, Any], image: dict[str, Any], category: object = 1) -> Path:
    photograph(folder / "a.jpg")
    content = {"images": [IMAGE | image], "categories": [{"id": category, "name": "cat"}]}
    content["annotations"] = [ANNOTATION | {"segmentation": [SQUARE]} | annotation]
    (folder / "instances.json").write_text(json.dumps(content))  # Python writes NaN
    return folder


def labelme(folder: Path, shape: dict[str, Any], **more: object) -> Path:
    photograph(folder / "a.jpg")
    content = {"imagePath": "a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [SHAPE | shape]}
    (folder / "a.json").write_text(json.dumps(content | more))
    return folder


def yolo(folder: Path, text: str) -> Path:
    photograph(folder / "images" / "a.jpg")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(text)
    (folder / "data.yaml").write_text("names: [cat]\n")
    return folder


def cvat(folder: Path, track: str) -> Path:
    size = f"<meta><original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size></meta>"
    text = f'<annotations>{size}<track id="0" label="cat">{track}</track></annotations>'
    (folder / "annotations.xml").write_text(text)
    return folder


def drawn(folder: Path) -> tuple[list[int], int]:
    """The ids in the first picture of a set, and the number of their pixels."""
    labels = next(iter(read_annotations(folder).pictures)).labels
    return sorted(set(np.unique(labels).tolist()) - {0}), int((labels > 0).sum())


@pytest.mark.parametrize(
    ("annotation", "image", "category"),
    [
        ({"id": 1.0, "image_id": 1.0, "category_id": 1.0}, {"id": 1.0, "width": 128.0, "height": 96.0}, 1.0),
        ({}, {"width": "128", "height": "96"}, 1),
        ({"area": float("nan")}, {}, 1),
        ({"area": 0, "bbox": [0, 0, 0, 0]}, {}, 1),
        ({"area": -1}, {}, 1),
    ],
    ids=["float ids", "sizes as text", "NaN", "no area", "negative area"],
)
def test_coco_as_programs_write_it(tmp_path: Path, annotation: dict, image: dict, category: object) -> None:
    folder = coco(tmp_path, annotation, image, category)
    assert drawn(folder) == ([1], AREA) and read_annotations(folder).names == {1: "cat"}
    report = check_dataset(folder, limits=ObjectLimits(100, 5, at_area=None), full=True)
    assert report.ok and report.objects == 1 and "1 photograph, 1 left to train on with 1 object" in report.lines()[0]


@pytest.mark.parametrize("track", [{"track_id": 2.0}, {"attributes": {"track_id": 2.0}}, {"object_id": 2}])
def test_a_track_may_be_a_float(tmp_path: Path, track: dict) -> None:
    assert drawn(coco(tmp_path, track, {})) == ([2], AREA)


def test_a_text_that_looks_like_a_number_is_shown_as_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="annotation 1: image '1'"):
        read_annotations(coco(tmp_path, {"image_id": "1"}, {}))


@pytest.mark.parametrize(
    ("shape", "more", "found"),
    [
        ({"group_id": 3.0}, {}, [3]),
        ({}, {"imageHeight": 96.0, "imageWidth": 128.0}, [1]),
        ({"shape_type": "rectangle"}, {}, [1]),
    ],
    ids=["float group", "float size", "rectangle of four corners"],
)
def test_labelme_as_other_programs_write_it(tmp_path: Path, shape: dict, more: dict, found: list[int]) -> None:
    assert drawn(labelme(tmp_path, shape, **more)) == (found, AREA)


@pytest.mark.filterwarnings("error")
def test_coordinates_near_the_largest_float_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reaches far outside the image"):
        read_annotations(labelme(tmp_path, {"points": [[1e308, 1e308], [-1e308, 0], [0, 1e308]]}))


def test_annotations_of_another_size_than_their_picture_are_told(tmp_path: Path) -> None:
    found = read_annotations(labelme(tmp_path, {}, imageHeight=2 * HEIGHT, imageWidth=2 * WIDTH))
    assert found.notes == ("the size of 1 picture differs from the annotated one: a.jpg (128x96 instead of 256x192)",)
    assert not read_annotations(labelme(tmp_path, {})).notes


@pytest.mark.parametrize("number", ["0", "0.0", "0.000000e+00"])
def test_yolo_class_may_be_a_float(tmp_path: Path, number: str) -> None:
    found = read_annotations(yolo(tmp_path, f"{number} 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n"))
    assert found.names == {1: "cat"} and drawn(tmp_path) == ([1], 32 * 24)


def test_yolo_labels_below_splits_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    line = "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n"
    for split in ("train/monday", "val"):
        photograph(tmp_path / "images" / split / "a.jpg")
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text(line, encoding="utf-8-sig")
    found = read_annotations(tmp_path)
    assert len(found.pictures) == 2 and all(picture.file for picture in found.pictures)
    assert "labels/val, labels/train/monday are read together" in found.notes[0]
    trained = open_set(tmp_path, limits=ObjectLimits(1, 1))
    assert isinstance(trained, StillImages) and len(trained) == 1 and "labels/val left out" in trained.faults.facts[1]
    (tmp_path / "mine.yaml").write_text("names: [dog]\n")
    assert read_annotations(tmp_path / "mine.yaml").names == {1: "dog"}
    (tmp_path / "labels").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no labels next to .*mine.yaml"):
        read_annotations(tmp_path / "mine.yaml")


def test_a_folder_of_data_sets_names_one(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    coco(tmp_path / "train", {}, {})
    with pytest.raises(InputError, match=r"give one of its folders, such as .*train"):
        read_annotations(tmp_path)


POLYGON = '<polygon frame="{}" outside="0" points="{}"/>'


@pytest.mark.parametrize(
    ("write", "text", "said"),
    [
        (yolo, "0 -0.5 0.2 0.6 0.2 0.6 0.6", r"a.txt, line 1, has -0.5"),
        (yolo, "-1 0.2 0.2 0.6 0.2 0.6 0.6", "a.txt, line 1, is not a class and x y"),
        (yolo, "0 nan 0.2 0.6 0.2 0.6 0.6", "a.txt, line 1, is not a class and x y"),
        (yolo, "0,0.2,0.2,0.6,0.2,0.6,0.6", "a.txt, line 1, is not a class and x y"),
        (yolo, "0 0.2 0.2 0.6 0.2 0.6 0.6 0.93", "has 7 numbers, .* if the last is a confidence, leave it out"),
        (cvat, POLYGON.format(-1, "1,1;9,1;9,9"), r"its frame is -1"),
        (cvat, POLYGON.format(0, "1,1;9"), r"its points are not x,y;x,y"),
        (cvat, '<mask frame="0" rle="9" left="1e999" top="0" width="3" height="3"/>', "has a <mask> that cannot be"),
    ],
)
def test_mistakes_in_lines_and_elements_are_named(tmp_path: Path, write: Any, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_annotations(write(tmp_path, text))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_among_photographs_is_not_waited_for(tmp_path: Path) -> None:
    coco(tmp_path, {}, {})
    (tmp_path / "instances.json").rename(tmp_path / "all.json")
    os.mkfifo(tmp_path / "instances.json")
    assert check_dataset(tmp_path).path == tmp_path / "all.json"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_mask_from_a_pipe_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """As the shell passes it for `--mask <(command)`."""
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        Image.fromarray(LABELS).save(file, format="PNG")
    with os.fdopen(read, "rb"), pytest.raises(InputError, match=r"is a pipe, .*; save it as a file first"):
        read_mask(f"/dev/fd/{read}")


def test_label_studio_without_outlines_is_called_so(tmp_path: Path) -> None:
    region = {"type": "choices", "value": {"choices": ["x"]}}
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    with pytest.raises(InputError, match="without a brush or polygon"):
        read_annotations(tmp_path / "a.json")


# Masks --------------------------------------------------------------------------------------------------------------

LABELS = np.zeros((HEIGHT, WIDTH), np.uint8)
LABELS[20:50, 30:70], LABELS[60:80, 80:110] = 1, 2


def test_a_transparent_grey_of_16_bits_is_background(tmp_path: Path) -> None:
    rows = np.where(LABELS == 0, 700, LABELS.astype(np.uint16)).astype(">u2")
    transparent = (b"tRNS", struct.pack(">H", 700))
    packed = grey_png((b"\0" + row.tobytes() for row in rows), (WIDTH, HEIGHT), bits=16, before=transparent)
    (tmp_path / "a.png").write_bytes(packed)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").labels, LABELS)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_an_animation_as_a_mask_is_told(tmp_path: Path, ending: str) -> None:
    first, second = Image.fromarray(LABELS * 100), Image.fromarray(LABELS[::-1] * 100)
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second], lossless=True)
    mask = read_mask(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(mask.labels > 0, LABELS > 0)
    assert f"a.{ending} holds 2 pictures; only the first is read" in mask.notes


def test_arrays_of_another_layout_say_which_is_read(tmp_path: Path) -> None:
    for axis, kind in ((0, np.uint8), (2, bool)):
        np.save(tmp_path / "a.npy", np.stack([LABELS == 1, LABELS == 2], axis).astype(kind))
        with pytest.raises(InputError, match=r"or \(objects, height, width\) of booleans"):
            read_mask(tmp_path / "a.npy", size=LABELS.shape)


@pytest.mark.parametrize("read", [read_mask, read_picture])
def test_an_empty_picture_is_called_empty(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(HodorError, match=r"a\.png is empty \(0 bytes\)"):
        read(tmp_path / "a.png")
