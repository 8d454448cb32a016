"""COCO's JSON for videos, the format of YouTube-VIS: one entry for each object, with a mask for each frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli.datasets.coco_file import Id
from hodor_cli.datasets.coco_find import ImageFinder, json_annotations
from hodor_cli.datasets.parsing import parse_json
from hodor_cli.datasets.rle import Segmentation, encode_rle
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, Size, drawable, require_clip
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import listed


class _Video(msgspec.Struct):
    id: Id
    width: int
    height: int
    file_names: list[str]
    name: str = ""


class _Track(msgspec.Struct):
    video_id: Id
    segmentations: list[Segmentation | None]
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


def find(path: Path) -> Path | None:
    file, keys = json_annotations(path)
    return file if {"videos", "annotations"} <= keys else None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read the only video of a file. Raises InputError."""
    content = parse_json(path, _VideoFile, "COCO's JSON for videos")
    if len(content.videos) != 1:
        held = listed([one.name or one.id for one in content.videos])
        raise InputError(f"{path} holds {len(content.videos)} videos ({held}); write a file with one of them")
    video = content.videos[0]
    size = video.height, video.width
    names: dict[Id | None, str] = {category.id: category.name for category in content.categories}
    frames: list[list[Shape]] = [[] for _ in video.file_names]
    for place, track in enumerate(content.annotations, start=1):
        if track.video_id != video.id:
            continue
        if len(track.segmentations) != len(frames):
            masks, count = len(track.segmentations), len(frames)
            raise InputError(f"{path}: annotation {track.id} has {masks} masks, but the video has {count} frames")
        key = next((key for key in (track.object_id, track.id) if key is not None), place)
        for frame, segmentation in zip(frames, track.segmentations, strict=True):
            if segmentation:
                frame.append(Shape(names.get(track.category_id, ""), segmentation, key))
    finder = ImageFinder(path.parent)
    pictures = [  # without `frame`: the list may be a part of the video, or every fifth frame of it
        Picture(name, size, drawable(shapes, name, size, path), file=finder.find(name))
        for name, shapes in zip(video.file_names, frames, strict=True)
    ]
    return Annotations("COCO", path, pictures, video=video.name or path.stem)


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write annotations.json (YouTube-VIS): one video, and the run lengths of each object in all frames. Raises
    UsageError for photographs."""
    require_clip(annotations, "coco-video")
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
