"""Other tools' formats: what is written comes back, by our reader and by the tool's own, and examples of each tool."""

from __future__ import annotations

import base64
import errno
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import one_sentence, write_video
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.datasets.rle import decode_segmentation
from hodor_cli.errors import DataError, InputError, OutputError, UsageError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, shapes_of
from hodor_cli.formats.check import check_dataset
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.formats.numbering import number_together
from hodor_cli.formats.opening import mask_folder, open_benchmark, open_set
from hodor_cli.formats.outlines import one_outline, outlines
from hodor_cli.formats.recognise import WRITERS, read_annotations, writer_of
from hodor_cli.formats.writing import new_folder, remove_export, write_picture
from hodor_cli.video.source import open_source

SIZE = (90, 120)
NAMES = {1: "mug", 3: "dog"}
COCO_FILE = "annotations/instances_default.json"


def labels_at(frame: int) -> NDArray[np.uint16]:
    """A disk with a hole (1) and, but for frame 2, a rectangle in two parts (3)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = (y - 40) ** 2 + (x - 40 - frame) ** 2
    labels = np.where((distance < 15**2) & (distance > 5**2), 1, 0).astype(np.uint16)
    if frame != 2:
        labels[(abs(y - 60) < 9) & (abs(x - 80) < 12) & (abs(x - 80 + frame) > 2)] = 3
    return labels


def clip() -> Annotations:
    pictures = [
        Picture(f"{frame:05d}", SIZE, shapes_of(labels_at(frame), NAMES), frame,
                image=np.full((*SIZE, 3), 9, np.uint8)) for frame in range(4)
    ]  # fmt: skip
    return Annotations("hodor", Path("clip"), pictures, names=NAMES, video="clip", fps=25.0)


def first(annotations: Annotations) -> Picture:
    return next(iter(annotations.pictures))


def written(name: str, folder: Path, annotations: Annotations | None = None, **options: object) -> Path:
    with new_folder(folder / name, **options) as out:  # type: ignore[arg-type]
        writer_of(name).write(annotations or clip(), out)
    return folder / name


@pytest.mark.parametrize("name", ["coco", "yolo", "labelme", "cvat", "png", "ctc"])
def test_what_is_written_comes_back_pixel_by_pixel(tmp_path: Path, name: str) -> None:
    found = read_annotations(written(name, tmp_path), SIZE)
    assert found.tracked and len(found.pictures) == 4
    for frame, picture in enumerate(found.pictures):
        truth = labels_at(frame)
        if name == "yolo":  # it has no numbers for objects, so classes count from 1 in their order
            truth[truth == 3] = 2
        if name == "ctc" and frame == 3:  # back after it was away: a new track
            truth[truth == 3] = 4
        np.testing.assert_array_equal(picture.labels, truth)
    if name in ("coco", "labelme", "cvat"):
        assert found.names == NAMES


def test_parts_of_an_object_are_one_object_everywhere(tmp_path: Path) -> None:
    """LabelMe's groups have a polygon for each part; a track or a table has the object once in each frame."""
    parts = [shape("cat", square(5, 5, 10), 7), shape("cat", square(40, 5, 20), 7)]
    found = read_annotations(labelme_file(tmp_path / "a.json", parts))
    lines = (written("csv", tmp_path, found) / "tracks.csv").read_text().splitlines()
    assert len(lines) == 2 and ",7,cat,5,5,55,20,500," in lines[1]
    content = json.loads((written("coco", tmp_path, found) / COCO_FILE).read_text())
    assert [entry["area"] for entry in content["annotations"]] == [500]
    track = (written("cvat", tmp_path, replace(found, video="clip")) / "annotations.xml").read_text()
    assert track.count("<polygon") == 1


def test_pictures_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    names = ("day/a.png", "night/a.png", "A.jpg")
    pictures = [replace(picture, name=name) for picture, name in zip(clip().pictures, names, strict=False)]
    for kind in ("coco", "labelme", "yolo", "png"):
        files = {path.stem for path in written(kind, tmp_path, replace(clip(), pictures=pictures)).rglob("*")}
        content = (tmp_path / kind / COCO_FILE).read_text() if kind == "coco" else str(files)
        assert all(name in content for name in ("a", "night_a", "A_2")), kind
    images = json.loads((tmp_path / "coco" / COCO_FILE).read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.png", "night_a.png", "A_2.jpg"]


@pytest.mark.parametrize("name", ["coco", "coco-video", "labelme", "cvat", "yolo"])
def test_names_that_no_text_can_hold_are_written_as_readable_ones(tmp_path: Path, name: str) -> None:
    pictures = [replace(one, name=f"\udce9{one.frame}.jpg") for one in clip().pictures]  # the byte E9, Latin-1's \xe9
    called = replace(clip(), pictures=pictures, names={1: "m\x01g", 3: "d\udce9g"})
    found = read_annotations(written(name, tmp_path, called), SIZE)
    assert found.names[1] == r"m\x01g" and r"d\udce9g" in found.names.values()
    assert first(found).name.startswith("frame" if name == "cvat" else "\xe90")


@pytest.mark.parametrize("name", ["png", "coco", "coco-video", "labelme", "cvat"])
def test_an_exported_folder_of_pictures_and_annotations_is_read(tmp_path: Path, name: str) -> None:
    pictures = [replace(one, name=f"{3 * (one.frame or 0)}.JPG") for one in clip().pictures]
    found = read_annotations(written(name, tmp_path, replace(clip(), pictures=pictures), frames=True))
    np.testing.assert_array_equal(list(found.pictures)[3].labels, labels_at(3))
    assert all(picture.file is not None for picture in found.pictures)


def photographs(folder: Path) -> Annotations:
    """Two photographs of different sizes, with objects 1 and 3; the files are in `folder`."""
    pictures = []
    for name, cut in (("a.png", 0), ("b.webp", 8)):
        labels = labels_at(0)[cut:]
        Image.new("RGB", labels.shape[::-1]).save(folder / name)
        pictures.append(Picture(name, (SIZE[0] - cut, SIZE[1]), shapes_of(labels), file=folder / name))
    return Annotations("hodor", folder, pictures, tracked=False)


def test_photographs_of_several_sizes_are_converted_to_masks_and_back(tmp_path: Path) -> None:
    folder = written("png", tmp_path, photographs(tmp_path), frames=True)
    assert isinstance(opened := open_set(folder, limits=ObjectLimits(1, 1)), StillImages) and len(opened) == 2
    found = read_annotations(folder)
    assert (found.tracked, found.names) == (False, {}) and "separate pieces" in found.notes[0]
    for picture, cut in zip(found.pictures, (0, 8), strict=True):
        np.testing.assert_array_equal(picture.labels, labels_at(0)[cut:])
        assert picture.file is not None
    (folder / "images" / "a.png").unlink()
    assert "mask without a photograph: 1, such as a.png" in read_annotations(folder).notes
    (folder / "images" / "b.webp").rename(folder / "images" / "other.webp")
    with pytest.raises(InputError, match="give each the name of its photograph"):
        read_annotations(folder)


def test_tracks_of_the_cell_tracking_challenge_name_the_track_before(tmp_path: Path) -> None:
    folder = written("ctc", tmp_path)
    assert (folder / "res_track.txt").read_text().split("\n")[:3] == ["1 0 3 0", "3 0 1 0", "4 3 3 3"]
    highest = [replace(one, shapes=shapes_of((one.labels == 3) * np.uint16(65535))) for one in clip().pictures]
    folder = written("ctc", tmp_path / "highest", replace(clip(), pictures=highest))
    assert (folder / "res_track.txt").read_text().split("\n")[:2] == ["65535 0 1 0", "1 3 3 65535"]


def test_a_disk_that_is_full_during_ctc_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="the disk is full"):
        written("ctc", tmp_path)


def test_frames_that_a_video_of_cvat_does_not_list_are_empty_in_ctc(tmp_path: Path) -> None:
    (tmp_path / "video.xml").write_text(CVAT_VIDEO)  # its object is in frames 0 and 6
    folder = written("ctc", tmp_path, read_annotations(tmp_path / "video.xml"))
    shown = [np.asarray(Image.open(path)).any() for path in sorted(folder.glob("mask*.tif"))]
    assert shown == [True, *[False] * 5, True]
    assert (folder / "res_track.txt").read_text().split("\n")[:2] == ["1 0 0 0", "2 6 6 1"]


@pytest.mark.parametrize("name", ["coco-video", "ctc"])
def test_photographs_are_not_written_as_a_video(tmp_path: Path, name: str) -> None:
    for tracked in (False, True):  # True: each object has its own name, but the photographs differ in size
        with pytest.raises(UsageError, match=f"{name} is for the objects of a video"):
            written(name, tmp_path, replace(photographs(tmp_path), tracked=tracked))


def test_masks_of_a_part_of_a_video_belong_to_their_frames(tmp_path: Path) -> None:
    path = written("coco-video", tmp_path, replace(clip(), pictures=list(clip().pictures)[2:]))
    write_video(tmp_path / "clip.mp4", [np.full((*SIZE, 3), 9, np.uint8)] * 4)
    with open_source(tmp_path / "clip.mp4") as source:
        given = read_given([str(path)], source)
        assert list(given.masks) == [2, 3]
        np.testing.assert_array_equal(given.masks[3].labels, labels_at(3))
        content = json.loads((path / "annotations.json").read_text())
        file = tmp_path / "one.json"  # the objects are in one frame of a whole video, whose names count from 1
        content["videos"][0] |= {"length": 4, "file_names": [f"{number:05d}.jpg" for number in range(1, 5)]}
        for track in content["annotations"]:
            track |= {key: [None] * 4 for key in ("bboxes", "areas") if key in track}
            track["segmentations"] = [None, track["segmentations"][0], None, None]
        file.write_text(json.dumps(content))
        assert list(read_given([str(file)], source).masks) == [1]
        with (
            pytest.raises(InputError, match=r"no object in .* is in a frame that is read"),
            open_source(tmp_path / "clip.mp4", start=2) as rest,
        ):
            read_given([str(file)], rest)


def test_photographs_in_cvat_are_exact_masks(tmp_path: Path) -> None:
    found = read_annotations(written("cvat", tmp_path, replace(clip(), video="")))
    assert [picture.object_ids for picture in found.pictures] == [[1, 3], [1, 3], [1], [1, 3]]
    np.testing.assert_array_equal(first(found).labels, labels_at(0))


def test_the_table_of_tracks(tmp_path: Path) -> None:
    known = {(0, 1): 0.5}
    lines = (written("csv", tmp_path, replace(clip(), confidence=known)) / "tracks.csv").read_text().splitlines()
    assert lines[0] == "frame,name,time,id,class,x,y,width,height,area,centre_x,centre_y,confidence"
    area = int((labels_at(0) == 1).sum())
    assert lines[1] == f"0,00000,0.0,1,mug,26,26,29,29,{area},40.5,40.5,0.5" and len(lines) == 8


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_outlines_give_back_the_mask(tolerance: float) -> None:
    blobs = cv2.GaussianBlur(np.random.default_rng(0).random(SIZE), (0, 0), 4) > 0.5
    for mask in (labels_at(0) == 1, labels_at(0) == 3, blobs, np.eye(90, 120, dtype=bool), np.ones(SIZE, bool)):
        for parts in (outlines(mask, tolerance), [one_outline(mask, tolerance)]):
            back = decode_segmentation([part.ravel().tolist() for part in parts], *SIZE)
            shared = (back & mask).sum() / (back | mask).sum()
            assert shared == 1 if tolerance == 0 else shared > 0.85
    assert sum(map(len, outlines(blobs, 1.0))) < sum(map(len, outlines(blobs))) / 2


def test_outlines_with_many_points_are_joined_in_little_memory() -> None:
    comb = np.zeros((9, 4000), bool)
    comb[:3, ::2] = comb[6:, ::2] = comb[0] = comb[8] = True  # two combs with 8000 corners each
    tracemalloc.start()
    joined = one_outline(comb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100 * 2**20
    np.testing.assert_array_equal(decode_segmentation([joined.ravel().tolist()], *comb.shape), comb)


# The tools' own readers ---------------------------------------------------------------------------------------------


def test_labelme_reads_it(tmp_path: Path) -> None:
    label_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed", exc_type=ImportError)
    shape_tools = pytest.importorskip("labelme.utils.shape", exc_type=ImportError)
    folder = written("labelme", tmp_path, frames=True)
    data = label_file.read_label_file(str(folder / "00000.json"))
    classes, instances = shape_tools.shapes_to_label(SIZE, data.shapes, {"mug": 1, "dog": 2})
    assert {shape["group_id"] for shape in data.shapes} == {1, 3}
    np.testing.assert_array_equal(classes == 2, labels_at(0) == 3)
    assert len(np.unique(instances)) == 3 and data.image_path == "00000.jpg"


def test_pycocotools_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(str(written("coco", tmp_path) / COCO_FILE))
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    np.testing.assert_array_equal(coco.annToMask(first[1]) > 0, labels_at(0) == 3)
    assert coco.cats[first[1]["category_id"]]["name"] == "dog" and first[1]["bbox"] == [69, 52, 23, 17]


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_supervision_reads_it(tmp_path: Path, name: str) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    folder = written(name, tmp_path, frames=True)
    images = str(folder / ("images" if name == "coco" else "images/train"))
    if name == "coco":
        found = supervision.DetectionDataset.from_coco(images, str(folder / COCO_FILE), force_masks=True)
    else:
        yaml = str(folder / "data.yaml")
        # Ultralytics starts at the folder of data.yaml unless it has a path.
        assert "path:" not in (folder / "data.yaml").read_text()
        found = supervision.DetectionDataset.from_yolo(images, str(folder / "labels/train"), yaml, force_masks=True)
    assert found.classes == ["mug", "dog"]
    detections = found.annotations[next(path for path in found.annotations if path.endswith("00000.jpg"))]
    for index, object_id in enumerate((1, 3)):
        truth = (labels_at(0) == object_id).astype(np.uint8)
        mask = detections.mask[list(detections.class_id).index(index)]
        # It rounds a polygon's points to whole pixels and draws the edge as well.
        around = np.ones((3, 3), np.uint8)
        assert mask[cv2.erode(truth, around) > 0].all()
        bridge = mask & (cv2.dilate(truth, around) == 0)  # the line that joins two parts, in YOLO's one polygon
        assert bridge.sum() <= (5 if name == "yolo" else 0)


def test_datumaro_reads_coco(tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    found = datumaro.Dataset.import_from(str(written("coco", tmp_path, frames=True)), "coco")
    item = found.get("00000", "default")
    assert len(found) == 4 and item.media.size == SIZE
    masks = {found.attributes["track_id"]: found.image > 0 for found in item.annotations if hasattr(found, "image")}
    assert masks.keys() == {1, 3}  # there is a box of each as well
    for object_id, mask in masks.items():
        np.testing.assert_array_equal(mask, labels_at(0) == object_id)


def test_ultralytics_reads_yolo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the pictures from data.yaml, and the labels from the pictures' paths."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(written("yolo", tmp_path, frames=True) / "data.yaml"), autodownload=False)
    found = YOLODataset(img_path=data["train"], data=data, task="segment", augment=False)
    assert data["names"] == {0: "mug", 1: "dog"} and data["val"] == data["train"] and len(found.labels) == 4
    label = next(label for label in found.labels if Path(label["im_file"]).stem == "00000")
    assert label["cls"].ravel().tolist() == [0, 1] and label["shape"] == SIZE
    around = [np.ptp(segment * (SIZE[1], SIZE[0]), axis=0).round().tolist() for segment in label["segments"]]
    assert around == [[29, 29], [23, 17]]


@pytest.mark.parametrize("video", ["clip", ""])
def test_datumaro_reads_cvat(tmp_path: Path, video: str) -> None:
    base = pytest.importorskip("datumaro.plugins.data_formats.cvat.base", reason="datumaro is not installed")
    tools = pytest.importorskip("datumaro.util.mask_tools")
    folder = written("cvat", tmp_path, replace(clip(), video=video), frames=True)
    items = list(base.CvatBase(str(folder / "annotations.xml")))
    shapes = [shape for shape in items[0].annotations if not shape.attributes.get("outside")]
    assert len(items) == 4 and len(shapes) == 2
    if video:
        assert sorted(shape.attributes["track_id"] for shape in shapes) == [0, 2]
        runs = tools.mask_to_rle  # its polygons are drawn by pycocotools, as ours are
        assert runs is not None and shapes[0].get_area() == pytest.approx((labels_at(0) == 1).sum(), rel=0.1)
    else:
        np.testing.assert_array_equal(shapes[1].image > 0, labels_at(0) == 3)


# What tools write ---------------------------------------------------------------------------------------------------


def square(left: int, top: int, side: int) -> list[list[float]]:
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]


def labelme_file(path: Path, shapes: list[dict[str, object]], **more: object) -> Path:
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{path.stem}.png", "imageData": None}
    path.write_text(json.dumps(content | {"imageHeight": 90, "imageWidth": 120} | more))
    return path


def shape(label: str, points: list[list[float]], group: int | None = None, kind: str = "polygon") -> dict[str, object]:
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}


def test_labelme_groups_are_objects_and_lines_are_none(tmp_path: Path) -> None:
    parts = [shape("cat", square(5, 5, 10), 7), shape("cat", square(40, 5, 10), 7), shape("cat", square(5, 60, 20), 2)]
    path = labelme_file(tmp_path / "a.json", [*parts, shape("edge", [[0, 0], [9, 9]], kind="line")])
    found = read_annotations(path)
    assert first(found).object_ids == [2, 7] and found.names == {2: "cat", 7: "cat"}
    assert (first(found).labels == 7).sum() == 200
    assert found.notes == (f"{path}: 1 shape of type line left out, which have no area",)


def test_parts_of_an_object_are_trained_on_as_one_object(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "a.png")
    parts = [shape("cat", square(5, 5, 10), 7), shape("cat", square(40, 5, 10), 7), shape("cat", square(5, 60, 20))]
    labelme_file(tmp_path / "a.json", [*parts, shape("cat", square(60, 60, 10))])
    stills = open_set(tmp_path, limits=ObjectLimits(min_area=1, min_side=1))
    assert isinstance(stills, StillImages)
    assert [int(mask.sum()) for mask in stills.load(0).masks] == [200, 400, 100]


def test_a_removed_export_leaves_no_empty_folders_and_other_files(tmp_path: Path) -> None:
    for name in ("gone", "kept"):
        with new_folder(tmp_path / name) as folder:
            folder.text("labels/train/a.txt", "1")
    (tmp_path / "kept" / "notes.txt").touch()
    for name in ("gone", "kept"):
        remove_export(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "notes.txt"]


def test_labelme_with_its_picture_inside(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(data, "PNG")
    inside = base64.b64encode(data.getvalue()).decode()
    mask = io.BytesIO()
    Image.fromarray(np.ones((10, 8), bool)).save(mask, "PNG")
    drawn = shape("cat", [[3, 4], [10, 13]], kind="mask") | {"mask": base64.b64encode(mask.getvalue()).decode()}
    path = labelme_file(tmp_path / "a.json", [drawn], imageData=inside, imageHeight=None, imageWidth=None)
    labels = first(read_annotations(path)).labels
    assert labels.shape == SIZE and labels[4:14, 3:11].all() and labels.sum() == 80


def test_names_that_differ_between_files_are_told(tmp_path: Path) -> None:
    labelme_file(tmp_path / "a.json", [shape("mug", square(5, 5, 10), 1), shape("dog", square(40, 5, 10), 2)])
    labelme_file(tmp_path / "b.json", [shape("cup", square(5, 5, 10), 1), shape("dog", square(40, 5, 10), 2)])
    found = read_annotations(tmp_path)
    assert "object 1 has the names 'mug' (a.png), 'cup' (b.png) and is read as 2 objects" in found.notes[-1]
    assert "which is right if the pictures do not belong together; in a video, give it one name" in found.notes[-1]
    assert found.names == {1: "mug", 2: "dog", 3: "cup"}
    labelme_file(tmp_path / "a.json", [shape("Mug", square(5, 5, 10)), shape("dog", square(40, 5, 10))])
    labelme_file(tmp_path / "b.json", [shape("mug", square(5, 5, 10)), shape("dog", square(40, 5, 10))])
    assert (
        "there are the names 'Mug' (a.png), 'mug' (b.png); if they mean the same, spell"
        in read_annotations(tmp_path).notes[-1]
    )
    labelme_file(tmp_path / "b.json", [shape("Mug ", square(5, 5, 10)), shape("dog", square(40, 5, 10))])
    assert "there are the names 'Mug' (a.png), 'Mug ' (b.png)" in read_annotations(tmp_path).notes[-1]
    labelme_file(tmp_path / "b.json", [shape("mug", square(5, 5, 10)), shape("Mug", square(40, 5, 10))])
    assert read_annotations(tmp_path).notes == ()  # both in one picture: two objects


CVAT_VIDEO = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>5</id><name>street</name><size>20</size><mode>interpolation</mode>
<labels><label><name>car</name><attributes></attributes></label></labels>
<original_size><width>640</width><height>480</height></original_size></task></meta>
  <track id="0" label="car">
    <polygon frame="0" points="324.79,213.16;323.74,227.90;347.42,237.37;371.11,217.37;350.05,190.00;318.47,191.58"
      outside="0" occluded="0" keyframe="1"></polygon>
    <polygon frame="1" points="324.79,213.16;323.74,227.90;347.42,237.37;371.11,217.37;350.05,190.00;318.47,191.58"
      outside="1" occluded="0" keyframe="1"></polygon>
    <polygon frame="6" points="305.32,237.90;312.16,207.90;352.69,206.32;355.32,233.16;331.11,254.74" outside="0"
      occluded="0" keyframe="1"></polygon>
  </track>
</annotations>
"""

CVAT_IMAGES = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>t</name><mode>annotation</mode></task></meta>
  <image id="0" name="a.png" width="120" height="90">
    <polygon label="car" points="10,10;30,10;30,30;10,30" occluded="0" z_order="1"></polygon>
    <mask label="dog" source="manual" occluded="0" rle="2, 2, 2, 6" left="20" top="20" width="4" height="3" z_order="0">
    </mask>
    <polyline label="line" points="0,0;9,9" occluded="0" z_order="3"></polyline>
  </image>
</annotations>
"""


def test_cvat_for_video_and_for_images(tmp_path: Path) -> None:
    (tmp_path / "video.xml").write_text(CVAT_VIDEO)
    found = read_annotations(tmp_path / "video.xml")
    assert [(picture.frame, picture.object_ids) for picture in found.pictures] == [(0, [1]), (6, [1])]
    assert found.names == {1: "car"} and found.video == "street"
    facts = check_dataset(tmp_path / "video.xml").facts
    assert any("annotates a video: save its frames next to it, frame 0 as frame_000000.png" in fact for fact in facts)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "default.xml").write_text(CVAT_IMAGES)  # the name that datumaro gives it
    found = read_annotations(tmp_path / "set")
    (picture,) = found.pictures
    assert {name: int((picture.labels == key).sum()) for key, name in found.names.items()} == {"dog": 0, "car": 400}
    assert sum(int(part.mask(SIZE).sum()) for part in picture.shapes if part.name == "dog") == 8
    assert "1 polyline left out" in found.notes[0]


def test_label_studio_finds_pictures_in_their_folder(tmp_path: Path) -> None:
    value = {"points": [[10, 10], [20, 10], [20, 30]], "polygonlabels": ["dog"]}
    region = {"original_width": 120, "original_height": 90, "value": value, "type": "polygonlabels"}
    task = {"data": {"image": "/data/upload/1/3f2a9c1d-a.png"}, "annotations": [{"result": [region]}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (120, 90)).save(tmp_path / "images" / "a.png")
    assert first(read_annotations(tmp_path)).file == tmp_path / "images" / "a.png"
    uploaded = (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "3f2a9c1d-a.png")
    assert first(read_annotations(tmp_path)).file == uploaded


def test_label_studio_brush_and_polygon(tmp_path: Path) -> None:
    brush = pytest.importorskip("label_studio_converter.brush", reason="label-studio-converter is not installed")
    pixels = np.zeros((*SIZE, 4), np.uint8)
    pixels[labels_at(0) == 1] = 255
    region = {"original_width": 120, "original_height": 90, "image_rotation": 0}
    painted = {"format": "rle", "rle": brush.encode_rle(pixels.ravel()), "brushlabels": ["mug"]}
    drawn = {"points": [[10, 10], [20, 10], [20, 30]], "closed": True, "polygonlabels": ["dog"]}
    results = [region | {"value": value, "type": kind, "id": kind}
               for kind, value in (("brushlabels", painted), ("polygonlabels", drawn))]  # fmt: skip
    task = {"id": 1, "data": {"image": "/data/upload/1/3f2a9c1d-a.png"}, "annotations": [{"result": results}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    found = read_annotations(tmp_path / "export.json")
    (picture,) = found.pictures
    assert picture.name == "a.png" and found.names == {1: "mug", 2: "dog"}
    assert ((picture.labels == 1) == (labels_at(0) == 1)).mean() > 0.99 and (picture.labels == 2).sum() > 90


def test_pascal_voc_as_cvat_exports_it(tmp_path: Path) -> None:
    for folder, colours in (("SegmentationObject", {1: (128, 0, 0), 3: (0, 128, 0)}),
                            ("SegmentationClass", {1: (250, 50, 83), 3: (51, 221, 255)})):  # fmt: skip
        rgb = np.zeros((*SIZE, 3), np.uint8)
        for object_id, colour in colours.items():
            rgb[labels_at(0) == object_id] = colour
        (tmp_path / folder).mkdir()
        Image.fromarray(rgb).save(tmp_path / folder / "a.png")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nmug:250,50,83::\ndog:51,221,255::\n"
    )
    found = read_annotations(tmp_path)
    assert found.names == {1: "mug", 2: "dog"}
    np.testing.assert_array_equal(first(found).labels == 2, labels_at(0) == 3)
    assert not any("SegmentationObject" in note for note in found.notes)
    # Without colours, as datumaro writes it, the classes have Pascal VOC's in order.
    (tmp_path / "SegmentationObject" / "a.png").replace(tmp_path / "SegmentationClass" / "a.png")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:::\nmug:::\ndog:::\n")
    found = read_annotations(tmp_path)
    assert set(found.names.values()) == {"mug", "dog"}
    assert "has no SegmentationObject, so each class in a picture is read as one object" in found.notes[-1]


def test_pascal_voc_of_photographs_of_several_sizes(tmp_path: Path) -> None:
    for picture in photographs(tmp_path).pictures:
        (tmp_path / "SegmentationObject").mkdir(exist_ok=True)
        Image.fromarray(picture.labels.astype(np.uint8)).save(
            tmp_path / "SegmentationObject" / f"{Path(picture.name).stem}.png"
        )
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "b.webp").rename(tmp_path / "JPEGImages" / "b.webp")
    assert [(one.size, one.file and one.file.name) for one in read_annotations(tmp_path).pictures] == [
        (SIZE, None), ((SIZE[0] - 8, SIZE[1]), "b.webp")
    ]  # fmt: skip


def test_label_tiff_of_many_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(labels_at(frame)) for frame in range(4)]
    pages[0].save(tmp_path / "labels.tif", save_all=True, append_images=pages[1:])
    found = read_annotations(tmp_path / "labels.tif")
    assert [picture.object_ids for picture in found.pictures] == [[1, 3], [1, 3], [1], [1, 3]]
    with pytest.raises(DataError, match="is a file without annotations: give the folder of the data set"):
        check_dataset(tmp_path / "labels.tif")  # which has no pictures to train on
    white = Image.fromarray(np.where(labels_at(0) == 3, 255, 0).astype(np.uint16))
    pages[0].save(tmp_path / "void.tif", save_all=True, append_images=[white])
    found = read_annotations(tmp_path / "void.tif")  # as in a folder of masks, 255 next to other ids is void
    assert [picture.object_ids for picture in found.pictures] == [[1, 3], []] and "void" in found.notes[0]


def test_a_folder_of_soft_masks_is_refused_as_one_such_mask_is(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(np.where(labels_at(0) == 1, 255, 0).astype(np.uint8), (7, 7), 0)
    Image.fromarray(soft).save(tmp_path / "0.png")
    for place in (tmp_path, tmp_path / "0.png"):
        with pytest.raises(InputError, match="soft edges"):
            read_annotations(place)


def test_classes_of_yolo_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("2 0.1 0.1 0.4 0.1 0.4 0.4\n0 0.6 0.6 0.9 0.6 0.9 0.9\n")
    (tmp_path / "data.yaml").write_text("names: [mug, unused, dog]\n")
    again = written("yolo", tmp_path / "out", read_annotations(tmp_path))
    assert [line[:2] for line in (again / "labels/train/a.txt").read_text().splitlines()] == ["2 ", "0 "]
    assert 'names:\n  0: "mug"\n  1: "unused"\n  2: "dog"' in (again / "data.yaml").read_text()


def test_yolo_labels_of_a_picture_called_train_are_read(tmp_path: Path) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    pictures = [Picture("train.jpg", SIZE, shapes_of(labels_at(0), NAMES), image=image)]
    place = written("yolo", tmp_path, Annotations("x", Path("x"), pictures), frames=True)
    assert [picture.name for picture in read_annotations(place).pictures] == ["train.jpg"]


def test_masks_to_score_need_objects_that_are_the_same_in_all_frames(tmp_path: Path) -> None:
    place = written("coco", tmp_path, replace(clip(), names=dict.fromkeys(NAMES, "cell"), tracked=False))
    for opened in (open_benchmark, mask_folder):
        with pytest.raises(InputError, match="does not say which object is which"), opened(place):
            pass


def test_annotations_of_a_folder_that_are_not_read_are_named(tmp_path: Path) -> None:
    folder = written("coco", tmp_path) / "annotations"
    assert "only" not in " ".join(read_annotations(folder.parent).notes)
    (folder / "instances_val.json").write_bytes((folder / "instances_default.json").read_bytes())
    (folder / "instances_default.json").rename(folder / "instances_train.json")
    assert "only instances_train.json is read, not instances_val.json" in " ".join(
        read_annotations(folder.parent).notes
    )
    assert "only" not in " ".join(read_annotations(folder / "instances_val.json").notes)


def test_an_impossible_size_without_an_outline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [], "imageHeight": -5, "imageWidth": 10}))
    with pytest.raises(InputError, match="impossible size"):
        read_annotations(tmp_path / "a.json")


# Ids ----------------------------------------------------------------------------------------------------------------


def test_objects_without_numbers_are_known_by_their_names_or_not_at_all() -> None:
    box = [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0]]
    once = [Picture(str(place), SIZE, tuple(Shape(name, box) for name in names))
            for place, names in enumerate(["ab", "ba", "b"])]  # fmt: skip
    found = number_together([Annotations("x", Path("x"), once)])[0]
    assert found.tracked and [[one.object_id for one in picture.shapes] for picture in found.pictures] == [
        [1, 2], [2, 1], [2]
    ]  # fmt: skip
    twice = [Picture("0", SIZE, (Shape("a", box), Shape("a", box))), Picture("1", SIZE, (Shape("a", box),))]
    assert not number_together([Annotations("x", Path("x"), twice)])[0].tracked


def test_ids_that_are_too_large_are_replaced_with_a_note() -> None:
    box = [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0]]
    shapes = tuple(Shape("mug", box, key) for key in (70_000, 2, 65_535))
    found = number_together([Annotations("x", Path("x"), [Picture("0", SIZE, shapes)])])[0]
    assert [shape.object_id for shape in found.pictures[0].shapes] == [1, 2, 65_535]
    assert found.notes == ("ids above 65535 are replaced: 70000 is object 1",)


def test_files_that_call_one_object_differently_are_refused() -> None:
    box = [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0]]
    files = [Annotations("x", Path(name), [Picture("0", SIZE, (Shape(name, box, 1),))]) for name in ("mug", "cup")]
    with pytest.raises(InputError, match="object 1 is 'cup' in cup and 'mug' in mug"):
        number_together(files)


# Mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", '{"what": 1}', "is not a file of a tool that hodor knows"),
        ("a.json", '{"shapes": [{"label": 1.5}]}', "is not LabelMe's JSON"),
        ("a.json", '{"shapes": [', "is not JSON that can be read: input data was truncated"),
        ("a.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>", "is not CVAT's XML"),
        ("a.xml", "<annotations></annotations>", "without an annotated image or track"),
        ("a.txt", "0 0.1 0.1 0.5 0.5", "is a box, not an outline; export segmentation$"),
        ("a.txt", "0 10 10 50 10 50 50", "fractions from 0 to 1"),
        ("a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5", "a missing picture"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read_annotations(tmp_path / name, None if "missing" in said else SIZE)
    assert one_sentence(error)
    if "truncated" in said:
        with pytest.raises(InputError, match=said):
            read_mask(tmp_path / name)


def test_boxes_are_no_masks(tmp_path: Path) -> None:
    """Files for detection hold boxes alone; so nothing is written, instead of pictures without objects."""
    whole = (written("coco", tmp_path) / COCO_FILE).read_text()
    content = json.loads(whole)
    content["annotations"] = [item | {"segmentation": []} for item in content["annotations"]]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="has annotations without polygons or run lengths"):
        read_annotations(tmp_path / "boxes.json")
    content["annotations"] = [item | {"category_id": 7} for item in json.loads(whole)["annotations"]]
    (tmp_path / "strange.json").write_text(json.dumps(content))
    assert read_annotations(tmp_path / "strange.json").notes[0].startswith("annotation of an unknown category: 7")


def test_an_outline_far_outside_is_refused_and_one_over_the_edge_is_cut(tmp_path: Path) -> None:
    path = labelme_file(tmp_path / "a.json", [shape("cat", square(110, 80, 30))])
    found = read_annotations(path)
    assert (first(found).labels > 0).sum() == 100 and not found.notes
    path = labelme_file(tmp_path / "a.json", [shape("cat", square(20, 20, 400))])
    assert "1 outline far outside the picture, cut at its edge, the first in a.png" in read_annotations(path).notes[0]
    path = labelme_file(tmp_path / "a.json", [shape("cat", square(10**7, 0, 30))])
    with pytest.raises(InputError, match=r"the outline of 'cat' in .*a.json cannot be drawn: .*reaches far outside"):
        read_annotations(path)


def test_pictures_of_all_endings_of_jpeg_have_one_quality(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    for ending in (".jpg", ".jpe", ".jfif"):
        write_picture(tmp_path / f"a{ending}", image)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_current_folder_is_a_place_for_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with new_folder(Path()) as out:
        writer_of("coco").write(clip(), out)
    assert (tmp_path / COCO_FILE).is_file()


def test_nobody_elses_files_make_room(tmp_path: Path) -> None:
    (tmp_path / "yolo").write_text("x")
    with pytest.raises(OutputError, match="is a file, and an export is a folder; choose another place"):
        written("yolo", tmp_path, overwrite=True)
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="holds other files; choose another place"):
        written("coco", tmp_path, overwrite=True)
    written("labelme", tmp_path)
    (tmp_path / "labelme" / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="set `overwrite`"):
        written("labelme", tmp_path)
    shorter = replace(clip(), pictures=list(clip().pictures)[:1])
    written("labelme", tmp_path, shorter, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "labelme").iterdir()) == [".hodor-export", "00000.json", "mine.txt"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_format_that_is_mistyped() -> None:
    with pytest.raises(UsageError, match="there is no format 'cooc' to write; did you mean coco"):
        writer_of("cooc")
    assert {"prores", "webm", "matte"} <= set(WRITERS)
