"""COCO for pictures, and YouTube-VIS JSON for videos (`annotations.json`).

CVAT, Roboflow, Label Studio and supervision read and write the former; CVAT stores track ids in `attributes`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli.datasets.coco_file import Annotation, Id, read_coco, segmentation_of
from hodor_cli.datasets.coco_find import ImageFinder
from hodor_cli.datasets.rle import RunLengths, encode_rle
from hodor_cli.errors import HodorError, InputError, UsageError
from hodor_cli.formats.annotations import Annotations, Key, Picture, Shape, drawable, parse_json
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import listed


class _Attributes(msgspec.Struct):
    track_id: Id | None = None


class _Video(msgspec.Struct):
    id: Id
    width: int
    height: int
    file_names: list[str]
    name: str = ""


class _Track(msgspec.Struct):
    video_id: Id
    segmentations: list[RunLengths | list[list[float]] | None]
    id: Id | None = None
    category_id: Id | None = None
    object_id: Id | None = None


class _Category(msgspec.Struct):
    id: Id
    name: str = ""


class _VideoFile(msgspec.Struct):
    videos: list[_Video]
    annotations: list[_Track]
    categories: list[_Category] = []


def read(path: Path, images: Path | None = None) -> Annotations:
    """Read a file of photographs or frames. images: their folder, by default the file's, or the one above if that is
    called `annotations`. Raises InputError."""
    try:
        content = read_coco(path)
    except HodorError as error:
        raise InputError(str(error)) from error
    if wrong := content.faults.sentence(use="read"):
        raise InputError(wrong)
    finder = ImageFinder(images or (path.parent.parent if path.parent.name == "annotations" else path.parent))
    pictures = []
    for entry in content.images.values():
        shapes = []
        for item in content.annotations.get(entry.id, ()):
            try:
                segmentation = segmentation_of(item, entry)
            except ValueError as error:
                raise InputError(f"annotation {item.id} of {entry.file_name} in {path} is wrong: {error}") from error
            if segmentation is not None:
                name = "" if item.category_id is None else content.categories.get(item.category_id, "")
                shapes.append(Shape(name, segmentation, _track(item)))
        file = finder.find(entry.file_name)
        pictures.append(Picture(entry.file_name, entry.size, tuple(shapes), file=file))
    if content.annotations and not any(picture.shapes for picture in pictures):
        raise InputError(
            f"{path} has annotations but no polygons or run lengths, as files of boxes and panoptic files have none; "
            "export instance segmentation"
        )
    counts, kinds = content.faults.counts, content.faults.kinds()
    left_out = [f"{kind}: {counts[kind]}, such as {found[0]}" for kind, found in kinds.items()]
    return Annotations("COCO", path, pictures, notes=(*content.faults.facts, *left_out))


def read_video(path: Path, video: str = "") -> Annotations:
    """Read YouTube-VIS JSON: its only video, or the one called `video`. Raises InputError."""
    content = parse_json(path, _VideoFile, "COCO's JSON for videos")
    chosen = [one for one in content.videos if one.name == video] or content.videos
    if len(chosen) != 1:
        held = listed([one.name or one.id for one in chosen])
        raise InputError(f"{path} holds {len(chosen)} videos ({held}); name one as FILE#NAME")
    size = chosen[0].height, chosen[0].width
    names: dict[Id | None, str] = {category.id: category.name for category in content.categories}
    frames: list[list[Shape]] = [[] for _ in chosen[0].file_names]
    for place, track in enumerate(content.annotations, start=1):
        if track.video_id != chosen[0].id:
            continue
        if len(track.segmentations) != len(frames):
            raise InputError(f"{path}: annotation {track.id} has another number of masks than the video has frames")
        key = next((key for key in (track.object_id, track.id) if key is not None), place)
        for frame, segmentation in zip(frames, track.segmentations, strict=True):
            if segmentation:
                frame.append(Shape(names.get(track.category_id, ""), segmentation, key))
    named = zip(chosen[0].file_names, frames, strict=True)
    pictures = [
        Picture(name, size, drawable(shapes, name, size, path), frame) for frame, (name, shapes) in enumerate(named)
    ]
    return Annotations("COCO", path, pictures, video=chosen[0].name or path.stem)


def _track(item: Annotation) -> Key | None:
    """The id that annotations of one object share in several frames."""
    if item.track_id is not None or item.object_id is not None:
        return item.object_id if item.track_id is None else item.track_id
    try:
        return msgspec.json.decode(item.attributes, type=_Attributes | None).track_id  # type: ignore[union-attr]
    except (msgspec.MsgspecError, AttributeError):
        return None


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write annotations/instances_default.json with run lengths and `track_id`, and images/ if `out.frames`."""
    classes: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for number, picture in enumerate(annotations.pictures, start=1):
        height, width = picture.size
        name = out.picture(picture, "images")
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for item in annotations.items(picture):
            category = classes.setdefault(item.label, len(classes) + 1)
            entry: dict[str, Any] = {"id": len(entries) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
            entry |= {"segmentation": encode_rle(item.mask), "area": int(item.mask.sum()), "bbox": item.box}
            if annotations.tracked:
                entry |= {"track_id": item.object_id, "attributes": {"track_id": item.object_id}}
            entries.append(entry)
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in classes.items()]
    content = {"info": {"description": "hodor"}, "licenses": [], "images": images}
    content |= {"annotations": entries, "categories": categories}
    # CVAT and datumaro read no other place; the other tools are told the file.
    out.text("annotations/instances_default.json", json.dumps(content))


def write_video(annotations: Annotations, out: FolderWriter) -> None:
    """Write annotations.json (YouTube-VIS): one video, and the run lengths of each object in all frames. Raises
    UsageError for photographs, whose objects are not tracks."""
    if not annotations.tracked:
        raise UsageError("coco-video holds the objects of a video; these are photographs, which `coco` holds")
    length, (height, width) = len(annotations.pictures), (1, 1)
    found: dict[int, dict[str, Any]] = {}
    files: list[str] = []
    for place, picture in enumerate(annotations.pictures):
        height, width = picture.size
        files.append(out.picture(picture, "images"))
        for item in annotations.items(picture):
            if item.object_id not in found:
                rows = {key: [None] * length for key in ("segmentations", "areas", "bboxes")}
                found[item.object_id] = {"class": item.label, **rows}
            entry = found[item.object_id]
            entry["segmentations"][place], entry["areas"][place] = encode_rle(item.mask), int(item.mask.sum())
            entry["bboxes"][place] = item.box
    classes = list(dict.fromkeys(entry["class"] for _, entry in sorted(found.items())))
    of_video = {"width": width, "height": height, "length": length}
    entries = []
    for number, (object_id, entry) in enumerate(sorted(found.items()), start=1):
        category = classes.index(entry.pop("class")) + 1
        of_object = {"id": number, "video_id": 1, "category_id": category, "object_id": object_id, "iscrowd": 0}
        entries.append(of_object | of_video | entry)
    name = annotations.video or annotations.path.stem
    categories = [{"id": number, "name": one, "supercategory": "object"} for number, one in enumerate(classes, 1)]
    videos = [{"id": 1, "name": name} | of_video | {"file_names": files}]
    content = {"info": {"description": "hodor"}, "licenses": [], "categories": categories, "videos": videos}
    out.text("annotations.json", json.dumps(content | {"annotations": entries}))
