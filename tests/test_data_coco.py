"""Photographs in COCO format: what is read, what is left out, and what is said when something is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_fakes import box_mask, make_coco, runs, save_coco

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import find_coco, workspace_stills
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.datasets.rle import decode_segmentation
from hodor_cli.errors import DataError

FILE_PIXELS = ObjectLimits(min_area=100, min_side=5, at_area=None)


def test_a_folder_is_read_with_its_masks(tmp_path):
    make_coco(tmp_path, 3)
    images = StillImages(tmp_path, limits=FILE_PIXELS)
    assert len(images) == 3
    assert [images.name(index) for index in range(3)] == ["001.png", "002.png", "003.png"]
    assert images.groups == ["odd", "even", "odd"]
    still = images.load(1)
    assert still.image.shape == (96, 128, 3) and still.image.dtype == np.uint8
    assert [item.category for item in still.objects] == ["box", "box"]
    assert np.array_equal(still.masks[0], box_mask(96, 128, (10, 26, 40, 36)))
    inside = still.image[still.masks[0]]
    assert (inside == inside[0]).all(), "the mask lies where the rectangle is"


def test_run_lengths_compressed_or_not_and_polygons_agree_with_pycocotools():
    masktools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(3)
    for _ in range(30):
        mask = rng.random((37, 53)) < rng.random()
        packed = masktools.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = {"size": [37, 53], "counts": packed["counts"].decode()}
        assert np.array_equal(decode_segmentation(text, 37, 53), mask)
        assert np.array_equal(decode_segmentation({"size": [37, 53], "counts": runs(mask)}, 37, 53), mask)
        points = (rng.random(2 * int(rng.integers(3, 12))) * 70 - 10).tolist()
        theirs = masktools.decode(masktools.frPyObjects([points], 37, 53))[..., 0].astype(bool)
        assert np.array_equal(decode_segmentation([points], 37, 53), theirs)


def test_polygons_of_one_annotation_are_joined(tmp_path):
    left, right = [5, 5, 25, 5, 25, 25, 5, 25], [60, 5, 90, 5, 90, 35, 60, 35]
    mask = decode_segmentation([left, right], 50, 100)
    assert mask[15, 15] and mask[20, 75] and not mask[15, 45]
    assert mask.sum() == 20 * 20 + 30 * 30


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [4, 4], "counts": [3, 2]},
        {"size": [5, 4], "counts": [16]},
        {"size": [4, 4], "counts": "\x7f\x7f"},
        {"size": [4, 4], "counts": [-2, 18]},
        {"size": [4, 4]},
        [[1, 2, 3]],
        [[1, 2, 3, 4, float("nan"), 6]],
        [],
        None,
        "text",
    ],
)
def test_broken_masks_are_refused_with_a_reason(broken):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        decode_segmentation(broken, 4, 4)


def test_crowds_are_left_out(tmp_path):
    content = make_coco(tmp_path, 2)
    content["annotations"][0]["iscrowd"] = 1
    save_coco(tmp_path, content)
    assert StillImages(tmp_path, limits=FILE_PIXELS).object_counts == [1, 2]


def test_limits_refer_to_the_scaled_image_unless_told_otherwise():
    # 40 x 36 pixels in a 128 x 96 file are a ninth of it; the same in an image of 300,000 pixels have 35,000.
    assert ObjectLimits().accepts(40 * 36, 40, 36, 96, 128)
    assert not ObjectLimits(at_area=None).accepts(40 * 36, 40, 36, 96, 128)
    assert not ObjectLimits().accepts(2200, 50, 44, 1000, 1200), "large files make an object relatively smaller"
    assert ObjectLimits(at_area=None).accepts(2200, 50, 44, 1000, 1200)
    assert not ObjectLimits(at_area=None).accepts(2200, 200, 11, 1000, 1200), "both sides count"


def test_nothing_left_after_the_limits_is_an_error(tmp_path):
    make_coco(tmp_path, 2)
    with pytest.raises(DataError, match="no object within the limits"):
        StillImages(tmp_path, limits=ObjectLimits(min_area=1e6))


def test_images_and_annotations_in_different_places(tmp_path):
    make_coco(tmp_path / "set", 2)
    (tmp_path / "labels.json").write_bytes((tmp_path / "set" / "instances.json").read_bytes())
    images = StillImages(tmp_path / "set" / "images", tmp_path / "labels.json", limits=FILE_PIXELS)
    assert images.load(0).image.shape == (96, 128, 3)


def test_annotations_folder_prefers_the_training_split(tmp_path):
    content = make_coco(tmp_path, 1)
    (tmp_path / "instances.json").unlink()
    (tmp_path / "annotations").mkdir()
    for name in ("instances_train2017.json", "instances_val2017.json"):
        (tmp_path / "annotations" / name).write_text(json.dumps(content))
    assert find_coco(tmp_path)[1].name == "instances_train2017.json"
    (tmp_path / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(DataError, match=r"has several annotation files .*give one of them"):
        find_coco(tmp_path)


def test_faults_name_the_file(tmp_path):
    content = make_coco(tmp_path, 2)
    (tmp_path / "images" / "002.png").write_bytes(b"no image")
    images = StillImages(tmp_path, limits=FILE_PIXELS)
    (tmp_path / "images" / "001.png").unlink()
    with pytest.raises(DataError, match=r"001\.png .*missing"):
        images.load(0)
    with pytest.raises(DataError, match=r"002\.png is not an image"):
        images.load(1)
    content["annotations"] = "none"
    save_coco(tmp_path, content)
    with pytest.raises(DataError, match="COCO format"):
        StillImages(tmp_path)
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        StillImages(tmp_path)


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path):
    content = make_coco(tmp_path, 1)
    content["images"][0]["height"] = 90
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[10, 10, 50, 10, 50, 50, 10, 50]]
    save_coco(tmp_path, content)
    with pytest.raises(DataError, match="128x96 but annotated as 128x90"):
        StillImages(tmp_path, limits=FILE_PIXELS).load(0)


def test_the_workspace_of_the_authors(tmp_path, monkeypatch):
    monkeypatch.delenv("HODOR_WORKSPACE_DIR", raising=False)
    with pytest.raises(DataError, match="give `data`"):
        workspace_stills()
    monkeypatch.setenv("HODOR_WORKSPACE_DIR", str(tmp_path))
    with pytest.raises(DataError, match="there is no folder"):
        workspace_stills()
    images = tmp_path / "dataset_images" / "coco_2017_train"
    make_coco(images, 1)
    masktools = pytest.importorskip("pycocotools.mask")
    mask = box_mask(96, 128, (10, 20, 50, 40))
    counts = masktools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    (images / "instances.json").rename(images / "annotations.off")
    with pytest.raises(DataError, match="has no annotations"):
        workspace_stills()
    entry = {"height": 96, "width": 128, "image_path": "images/001.png", "categories": [3], "segmentations": [counts]}
    authors = {"meta": {"category_labels": {"3": "car"}}, "images": [entry]}
    (tmp_path / "dataset_json_annotations").mkdir()
    (tmp_path / "dataset_json_annotations" / "coco_2017_train.json").write_text(json.dumps(authors))
    folder, annotations = workspace_stills()
    still = StillImages(folder, annotations).load(0)
    assert still.objects[0].category == "car"
    assert np.array_equal(still.masks[0], mask)


def test_the_development_stills_load(data_dir):
    if not (data_dir / "stills").is_dir():
        pytest.skip(f"no stills in {data_dir}")
    images = StillImages(data_dir / "stills")
    assert len(images) > 5000
    assert "coco/full" in images.groups and any(group.partition("/")[0] == "bsds" for group in images.groups)
    still = images.load(17)
    assert still.masks and all(mask.shape == still.image.shape[:2] and mask.any() for mask in still.masks)
