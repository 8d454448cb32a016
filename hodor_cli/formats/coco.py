"""COCO's JSON for pictures, which CVAT, Roboflow, Label Studio and supervision read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli.datasets.coco import MISPLACED, photographs_of
from hodor_cli.datasets.coco_file import Annotation, Id, read_coco
from hodor_cli.datasets.coco_find import ImageFinder, json_annotations
from hodor_cli.datasets.parsing import decode_json
from hodor_cli.datasets.rle import encode_rle
from hodor_cli.errors import HodorError, InputError
from hodor_cli.formats.annotations import Annotations, Key, Picture, Shape, Size
from hodor_cli.formats.writing import FolderWriter


class _Attributes(msgspec.Struct):
    """Where CVAT stores track ids."""

    track_id: Id | None = None


def find(path: Path) -> Path | None:
    file, keys = json_annotations(path)
    return file if "images" in keys and keys & {"annotations", "meta"} else None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read a COCO file. Its pictures are searched for in its folder, or in the parent of `annotations/`. Raises
    InputError."""
    try:
        content = read_coco(path)
    except HodorError as error:
        raise InputError(str(error)) from error
    if wrong := content.faults.sentence(use="read"):
        raise InputError(wrong)
    finder = ImageFinder(path.parent.parent if path.parent.name == "annotations" else path.parent)
    pictures = []
    for entry, objects in photographs_of(content):
        shapes = tuple(Shape(one.name, one.segmentation, _track(one.annotation)) for one in objects)
        pictures.append(Picture(entry.file_name, entry.size, shapes, file=finder.find(entry.file_name)))
    if (broken := next((fault for fault in content.faults.found if fault.serious), None)) is not None:
        raise InputError(f"{broken.where} in {path} is invalid: {broken.detail}")
    if content.annotations and not any(picture.shapes for picture in pictures):
        if (fault := next((one for one in content.faults.found if one.kind == MISPLACED), None)) is not None:
            raise InputError(f"{path} has no outline that covers a pixel, such as {fault}")
        raise InputError(f"{path} has annotations without polygons or run lengths; export instance segmentation")
    return Annotations("COCO", path, pictures, notes=tuple(content.faults.notes()))


def _track(item: Annotation) -> Key | None:
    """The id that the annotations of one object share across frames."""
    if item.track_id is not None or item.object_id is not None:
        return item.object_id if item.track_id is None else item.track_id
    try:
        return decode_json(item.attributes, _Attributes).track_id
    except ValueError:
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
    # CVAT and datumaro look only here; in the other tools the user chooses the file.
    out.text("annotations/instances_default.json", json.dumps(content))
