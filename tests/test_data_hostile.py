"""Annotations that are wrong, broken or meant to do harm: one sentence that names them, and nothing outside is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fakes import make_coco, save_coco
from PIL import Image

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import ImageFinder
from hodor_cli.datasets.folders import read_meta
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.datasets.rle import decode_segmentation
from hodor_cli.errors import DataError, InputError
from hodor_cli.formats.check import check_dataset
from hodor_cli.formats.opening import open_set
from hodor_cli.formats.recognise import read_annotations

LIMITS = ObjectLimits(min_area=100, min_side=5, at_area=None)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = make_coco(folder, 3)
    change(content)
    save_coco(folder, content)
    return folder


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [96, 128], "counts": [2**62] * 4 + [96 * 128]},  # a sum that wraps around to the right number
        {"size": [96, 128], "counts": [2**64, 96 * 128]},
        {"size": [96, 128], "counts": [96 * 128 + 5, -5]},
        {"size": [96, 128], "counts": "o" * 40 + "0"},
        {"size": [96, 128], "counts": "\u20ac"},
        {"size": [96, 128], "counts": "PP\\" + "P" * 12 + "0"},  # 12288 with zeros past 64 bits
        {"size": [96, 128], "counts": [1.5]},
        [[0, 0, 1e9, 0, 1e9, 1e9]],
        [[-1e300, 0, 1e300, 0, 5, 5]],
        [[5, 5, 900, 5, 900, 90] * 500],
    ],
)
def test_masks_that_would_write_past_memory_are_broken_masks(tmp_path: Path, segmentation: Any) -> None:
    changed(tmp_path, lambda content: content["annotations"][0].update(segmentation=segmentation))
    report = check_dataset(tmp_path, limits=LIMITS)
    assert [fault.kind for fault in report.found] == ["broken mask"] and "001.png" in report.found[0].where
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        decode_segmentation(segmentation, 96, 128)
    with pytest.raises(DataError, match="broken mask"):
        open_set(tmp_path, limits=LIMITS)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda c: c["annotations"][0].update(image_id=[1]), "annotation without image_id"),
        (lambda c: c["annotations"][0].update(category_id=[1]), "broken annotation"),
        (lambda c: c["annotations"][0].update(id={}), "broken annotation"),
        (lambda c: c["annotations"][0].update(area="large"), "broken annotation"),
        (lambda c: c["annotations"][0].update(segmentation="text"), "broken mask"),
        (lambda c: c["images"][0].update(id=None), "image entry without id or file_name"),
        (lambda c: c["images"][0].update(file_name=5), "image entry without id or file_name"),
        (lambda c: c["images"][0].update(width=10**40), "image entry without height or width"),
        (lambda c: c["images"][0].update(width=-128), "image entry without height or width"),
        (lambda c: c["images"][0].update(height=95.5), "image entry without height or width"),
        (lambda c: c["images"][0].update(file_name="../001.png"), "image outside the folder"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "image outside the folder"),
        (lambda c: c["images"][0].update(file_name="C:\\photos\\1.png"), "image outside the folder"),
        (lambda c: c["images"][0].update(file_name="x" * 5000), "missing image"),
        (lambda c: c["images"][0].update(file_name="a\0b.png"), "image outside the folder"),
    ],
)
def test_a_field_of_a_wrong_type_is_a_named_fault(tmp_path: Path, change: Any, kind: str) -> None:
    report = check_dataset(changed(tmp_path, change), limits=LIMITS)
    assert kind in {fault.kind for fault in report.found if fault.serious or kind == "missing image"}
    assert all(len(line) < 1000 for line in report.lines())


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"images": ' + "[" * 100_000, "[]", "null", '{"images": 5}', "{", "\xff"]
)
def test_json_that_is_no_coco_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    make_coco(tmp_path, 1)
    (tmp_path / "instances.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"instances\.json"):
        check_dataset(tmp_path)


def test_a_mask_without_a_pixel_is_left_out(tmp_path: Path) -> None:
    def thin(content: dict[str, Any]) -> None:
        content["annotations"][0]["segmentation"] = [[10.0, 10.0, 50.0, 10.0, 30.0, 10.0]]
        content["annotations"][1]["segmentation"] = {"size": [96, 128], "counts": [96 * 128]}

    report = check_dataset(changed(tmp_path, thin), limits=LIMITS)
    assert [fault.kind for fault in report.found] == ["empty mask"] * 2
    assert report.ok and report.samples == 2


def test_an_outline_that_is_not_in_its_picture_is_told_why(tmp_path: Path) -> None:
    shares, beyond = [0.1, 0.1, 0.4, 0.1, 0.4, 0.4], [500.0, 10.0, 560.0, 10.0, 560.0, 60.0]

    def misplaced(content: dict[str, Any]) -> None:
        content["annotations"][0]["segmentation"] = [shares]
        content["annotations"][1]["segmentation"] = [beyond]

    report = check_dataset(changed(tmp_path / "some", misplaced), limits=LIMITS)
    assert [(fault.kind, fault.detail) for fault in report.found] == [
        ("outline without a pixel", "its coordinates are all from 0 to 1, like fractions of the picture's size; "
                                        "COCO's are pixels"),
        ("outline without a pixel", "it is outside the 128x96 picture; was it drawn at another size?"),
    ]  # fmt: skip
    assert report.ok and report.samples == 2
    read = read_annotations(tmp_path / "some" / "instances.json")
    assert read.notes[-1].startswith("outline without a pixel: 2, such as annotation 1 of 001.png: its coordinates")

    def all_misplaced(content: dict[str, Any]) -> None:
        content["annotations"] = [one | {"segmentation": [shares]} for one in content["annotations"]]

    file = changed(tmp_path / "all", all_misplaced) / "instances.json"
    with pytest.raises(InputError, match=r"has no outline that covers a pixel, such as annotation 1 .* 0 to 1"):
        read_annotations(file)
    with pytest.raises(DataError, match=r"outline without a pixel: annotation 1 .* from 0 to 1"):
        open_set(tmp_path / "all", limits=LIMITS)


def test_outlines_that_are_cut_at_the_edge_are_told_once_by_the_check_too(tmp_path: Path) -> None:
    def far(content: dict[str, Any]) -> None:
        content["annotations"][2]["segmentation"] = [[20.0, 20.0, 400.0, 20.0, 400.0, 90.0, 20.0, 90.0]]

    told = "1 outline far outside the picture, cut at its edge, the first in 002.png; was it drawn at another size?"
    root = changed(tmp_path / "coco", far)
    report = check_dataset(root, limits=LIMITS)
    assert report.ok and report.facts.count(told) == 1
    assert told in read_annotations(root / "instances.json").notes
    other = tmp_path / "labelme"
    other.mkdir()
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(other / "002.png")
    outline = {"label": "cat", "points": [[20, 20], [400, 20], [400, 90]], "shape_type": "polygon"}
    drawn = {"version": "5.4.1", "imagePath": "002.png", "imageHeight": 96, "imageWidth": 128, "shapes": [outline]}
    (other / "002.json").write_text(json.dumps(drawn))
    assert [fact for fact in check_dataset(other, limits=LIMITS).facts if "far outside" in fact] == [told]
    part = {"label": "cat", "points": [[20, 60], [60, 60], [60, 90]], "shape_type": "polygon", "group_id": 1}
    (other / "002.json").write_text(json.dumps(drawn | {"shapes": [outline | {"group_id": 1}, part]}))
    grouped = check_dataset(other, limits=LIMITS)
    assert told in grouped.facts and grouped.objects == 1


def test_what_other_programs_write_is_read(tmp_path: Path) -> None:
    content = make_coco(tmp_path, 2)
    content["categories"] = None
    for number, item in enumerate(content["annotations"]):
        item["id"] = f"word-{number}"
    content["images"][0].update(height=96.0, width=128.0)
    (tmp_path / "instances.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert check_dataset(tmp_path, limits=LIMITS, full=True).ok
    stills = StillImages(tmp_path, limits=LIMITS)
    ids = [item.annotation_id for index in range(2) for item in stills.load(index).objects]
    assert ids == [1, 2, 3, 4], "words are replaced by places"
    (tmp_path / "instances.json").write_text(json.dumps(content), encoding="utf-16")
    assert len(StillImages(tmp_path, limits=LIMITS)) == 2
    content["annotations"][0]["segmentation"] = [10, 20, 50, 20, 50, 56, 10, 56]  # a polygon outside a list
    save_coco(tmp_path, content)
    assert StillImages(tmp_path, limits=LIMITS).load(0).masks[0].sum() == 40 * 36


def test_images_are_found_as_they_are_meant_and_never_outside(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    (root / "images" / "caf\u00e9.png").write_bytes(b"")
    finder = ImageFinder(root)
    found = root / "images" / "caf\u00e9.png"
    for name in ("caf\u00e9.png", "cafe\u0301.png", "images/caf\u00e9.png", "images\\caf\u00e9.png"):
        assert finder.find(name) == found
    for name in ("../secret.png", "images/../../secret.png", "..\\secret.png", str(tmp_path / "secret.png"), "\\a.png"):
        assert finder.find(name) is None and finder.refusal(name)


def test_crowds_that_brushes_made_are_told_or_used(tmp_path: Path) -> None:
    def all_crowds(content: dict[str, Any]) -> None:
        for item in content["annotations"]:
            item["iscrowd"] = 1

    report = check_dataset(changed(tmp_path / "a", all_crowds), limits=LIMITS)
    assert not report.ok and "iscrowd" in report.sentence()

    def of_cvat(content: dict[str, Any]) -> None:
        for item in content["annotations"]:
            item.update(iscrowd=1, attributes={"occluded": False})

    report = check_dataset(changed(tmp_path / "b", of_cvat), limits=LIMITS)
    assert report.ok and report.objects == 6 and any("CVAT" in fact for fact in report.facts)


def test_exports_of_other_tools_are_found_or_explained(tmp_path: Path) -> None:
    content = make_coco(tmp_path / "roboflow" / "train", 2)
    (tmp_path / "roboflow" / "train" / "instances.json").rename(
        tmp_path / "roboflow" / "train" / "_annotations.coco.json"
    )
    assert len(open_set(tmp_path / "roboflow", limits=LIMITS)) == 2
    labelme = tmp_path / "labelme_export"
    make_coco(labelme, 2)
    (labelme / "images").rename(labelme / "JPEGImages")
    (labelme / "instances.json").rename(labelme / "annotations.json")
    assert check_dataset(labelme, limits=LIMITS, full=True).ok
    (tmp_path / "valid_only").mkdir()
    (tmp_path / "roboflow" / "train").rename(tmp_path / "valid_only" / "valid")
    with pytest.raises(DataError, match=r"valid/ has _annotations\.coco\.json"):
        open_set(tmp_path / "valid_only")
    native = tmp_path / "native"
    native.mkdir()
    for index in range(3):
        (native / f"{index}.json").write_text('{"version": "5", "shapes": [], "imagePath": "0.jpg"}')
    assert "unreadable annotations (3, such as LabelMe's" in check_dataset(native).sentence()
    with pytest.raises(DataError, match="LabelMe"):
        open_set(native)
    yolo = tmp_path / "yolo"
    (yolo / "labels").mkdir(parents=True)
    (yolo / "labels" / "0.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match="YOLO"):
        open_set(yolo)
    assert content


def test_photographs_turned_by_exif_are_upright(tmp_path: Path) -> None:
    make_coco(tmp_path, 1)
    upright = np.asarray(Image.open(tmp_path / "images" / "001.png"))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(upright[::-1, ::-1])).save(tmp_path / "images" / "001.png", exif=exif)
    assert np.array_equal(StillImages(tmp_path, limits=LIMITS).load(0).image, upright)
    exif[0x0112] = 6
    Image.fromarray(upright).save(tmp_path / "images" / "001.png", exif=exif)
    report = check_dataset(tmp_path, limits=LIMITS, full=True)
    assert report.found[0].kind == "size mismatch"
    assert "EXIF orientation" in report.found[0].detail


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", '{"version": "5", "shapes": []}', "LabelMe"),
        ("a.json", '{"images": [], "annotations": []}', "COCO"),
        ("a.xml", "<annotation/>", "XML file"),
        ("a.zip", "PK", "unpack archives first"),
        ("a.npz", "PK", r"\.npy"),
    ],
)
def test_other_tools_files_given_as_a_mask_name_the_way_out(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_mask(tmp_path / name)


def test_an_array_that_promises_more_than_its_file_holds_takes_no_memory(tmp_path: Path) -> None:
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match="declares more bytes"):
        read_mask(path)
    for header in (b"{'descr': '<i8', 'fortran_order': False, 'shape': (-4, 4), }\n", b"{'descr': (((((((", b"\0" * 9):
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        with pytest.raises(InputError, match=r"a\.npy"):
            read_mask(path)


def test_meta_json_of_wrong_types_is_one_sentence_and_that_of_lvos_no_fault(tmp_path: Path) -> None:
    for text in ('{"videos": []}', '{"videos": {"a": {"objects": {"x": {"frames": []}}}}}', "[" * 100_000):
        (tmp_path / "meta.json").write_text(text)
        with pytest.raises(DataError, match=r"meta\.json is not YouTube-VOS"):
            read_meta(tmp_path)
    (tmp_path / "meta.json").write_text('{"videos": {"a": {"objects": {"1": {"frame_range": {}}}}}}')
    assert read_meta(tmp_path) is None


def test_the_place_of_version_0_1_still_imports() -> None:
    with pytest.warns(DeprecationWarning, match=r"hodor_cli\.datasets"):
        from hodor_cli.data.coco import StillImages as Old
    assert Old is StillImages
