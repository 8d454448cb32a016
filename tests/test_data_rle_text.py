"""COCO run lengths: the same text as pycocotools, and videos that its readers take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hodor_cli.datasets.rle import decode_segmentation, encode_rle
from hodor_cli.formats.annotations import Annotations, Picture, Shape
from hodor_cli.formats.coco_video import write as write_video
from hodor_cli.formats.outlines import run_lengths
from hodor_cli.formats.writing import FolderWriter


def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    disk = np.hypot(*np.mgrid[-40:41, -60:61]) < 33
    return {
        "empty": np.zeros((7, 9), bool),
        "full": np.ones((7, 9), bool),
        "one pixel": np.eye(1, 63, 62, dtype=bool).reshape(7, 9),
        "first pixel": np.eye(1, 63, 0, dtype=bool).reshape(7, 9),
        "noise": rng.random((53, 47)) < 0.5,
        "sparse": rng.random((480, 854)) < 0.001,
        "disk": disk,
        "large": np.kron(disk, np.ones((20, 20), bool)),
    }


@pytest.mark.parametrize("name", list(masks()))
def test_text_is_that_of_pycocotools(name: str) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = masks()[name]
    wanted = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode_rle(mask) == {"size": list(mask.shape), "counts": wanted["counts"].decode()}


@pytest.mark.filterwarnings("error")  # such as that of pycocotools with NumPy 2
@pytest.mark.parametrize("name", list(masks()))
def test_masks_come_back(name: str) -> None:
    mask = masks()[name]
    assert np.array_equal(decode_segmentation(encode_rle(mask), *mask.shape), mask)


def test_video_annotations_have_one_entry_per_object_and_a_list_over_frames(tmp_path: Path) -> None:
    mask = masks()["disk"]
    seen: list[list[int]] = [[300], [5, 300], [300]]
    names = {300: "cat"}
    pictures = [
        Picture(f"{index:05d}.png", (81, 121), tuple(Shape("", run_lengths(mask), key, key) for key in ids))
        for index, ids in enumerate(seen)
    ]
    write_video(Annotations("test", tmp_path, pictures, names=names, video="clip"), FolderWriter(tmp_path))
    found = json.loads((tmp_path / "annotations.json").read_text())
    assert found["videos"] == [
        {
            "id": 1,
            "name": "clip",
            "width": 121,
            "height": 81,
            "length": 3,
            "file_names": ["00000.png", "00001.png", "00002.png"],
        }
    ]
    first, second = found["annotations"]
    assert first["object_id"] == 5 and first["category_id"] == found["categories"][0]["id"]
    assert second["category_id"] == 2 and [category["name"] for category in found["categories"]] == ["object", "cat"]
    assert first["segmentations"][0] is None and first["bboxes"] == [None, [28, 8, 65, 65], None]
    assert np.array_equal(decode_segmentation(first["segmentations"][1], 81, 121), mask)
    assert second["areas"] == [int(mask.sum())] * 3 and second["id"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["annotations.json"]
