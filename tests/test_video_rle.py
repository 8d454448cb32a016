"""COCO run lengths: the same text as pycocotools, and videos that its readers take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hodor_cli.datasets.video_rle import encode_rle, write_video_annotations


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


@pytest.mark.parametrize("name", list(masks()))
def test_masks_come_back(name: str) -> None:
    from hodor_cli.datasets.rle import decode_segmentation

    mask = masks()[name]
    assert np.array_equal(decode_segmentation(encode_rle(mask), *mask.shape), mask)


def test_video_annotations_have_one_entry_per_object_and_a_list_over_frames(tmp_path: Path) -> None:
    from hodor_cli.datasets.rle import decode_segmentation

    mask = masks()["disk"]
    entry = {"counts": encode_rle(mask)["counts"], "area": int(mask.sum()), "box": [27, 7, 66, 66]}
    frames: dict[int, list[Any]] = {5: [None, entry, None], 300: [entry, entry, entry]}
    write_video_annotations(
        tmp_path / "a.json",
        name="clip",
        size=mask.shape,
        file_names=(f"{index:05d}.png" for index in range(3)),
        length=3,
        object_ids=[5, 300],
        frames_of=lambda object_id: iter(frames[object_id]),
        names={300: "cat"},
    )
    found = json.loads((tmp_path / "a.json").read_text())
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
    assert first["segmentations"][0] is None and first["bboxes"] == [None, [27, 7, 66, 66], None]
    assert np.array_equal(decode_segmentation(first["segmentations"][1], 81, 121), mask)
    assert second["areas"] == [int(mask.sum())] * 3 and second["id"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
