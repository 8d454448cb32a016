"""Parses COCO annotations: entries become typed structs, and entries that cannot be used become named faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli.datasets.faults import CROWDS, Faults
from hodor_cli.datasets.parsing import decode_json, reason_of
from hodor_cli.errors import DataError
from hodor_cli.images.paths import plural, read_utf8
from hodor_cli.images.pillow import MOST_PIXELS

Id = int | str
_Null = msgspec.Raw(b"null")


class ImageEntry(msgspec.Struct, frozen=True):
    """One image of a COCO file. `source` and `coverage` group images for sampling."""

    id: Id
    file_name: str
    height: int | float = 0
    width: int | float = 0
    source: Id | None = None
    coverage: Id | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels; (0, 0) if the entry has no valid size."""
        height, width = self.height, self.width
        if not (0 < height * width <= MOST_PIXELS and height > 0 and height == int(height) and width == int(width)):
            return 0, 0
        return int(height), int(width)


class Annotation(msgspec.Struct, frozen=True):
    """One object in a COCO file. track_id, object_id: the object's number in a video. Only CVAT writes `attributes`."""

    image_id: Id
    id: Id | None = None
    category_id: Id | None = None
    segmentation: msgspec.Raw = _Null
    iscrowd: bool | float | None = None
    area: float | None = None
    bbox: list[float] | None = None
    attributes: msgspec.Raw = _Null
    track_id: Id | None = None
    object_id: Id | None = None


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw] | None = None


class _AuthorsMeta(msgspec.Struct):
    category_labels: dict[str, str] | None = None


class _AuthorsImage(msgspec.Struct):
    height: int
    width: int
    image_path: str
    segmentations: list[str | list[int]]
    categories: list[int]
    id: Id | None = None
    iscrowd: list[float] | None = None
    areas: list[float | None] | None = None
    bboxes: list[list[float] | None] | None = None


class _AuthorsFile(msgspec.Struct):
    """The annotation format of the paper's authors, in which each image has parallel lists of its objects' fields."""

    meta: _AuthorsMeta
    images: list[_AuthorsImage]


@dataclass
class CocoFile:
    """A parsed file: images by id, annotations by image id (without crowds), and category names by id."""

    faults: Faults
    images: dict[Id, ImageEntry] = field(default_factory=dict)
    annotations: dict[Id, list[Annotation]] = field(default_factory=dict)
    categories: dict[Id, str] = field(default_factory=dict)


def read_coco(path: Path) -> CocoFile:
    """Parse a COCO file, or a file in the authors' format.

    `faults` lists the entries that cannot be used. Raises DataError if the file is missing or in neither format.
    """
    data = read_utf8(path, DataError)
    try:
        content = decode_json(data, _File)
    except msgspec.ValidationError as error:
        content = _from_authors(data, path, error)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the annotations {path} are not valid JSON: {reason_of(error)}") from error
    coco = CocoFile(Faults(path))
    refused = _take_images(coco, content.images)
    for place, raw in enumerate(content.categories or []):
        number, name = _member(raw, "id"), _member(raw, "name")
        if number is None:
            coco.faults.add("category without id", f"categories[{place}]", serious=False)
        else:
            coco.categories[number] = str(number if name is None else name)
    _take_annotations(coco, content.annotations, refused)
    return coco


def _from_authors(data: bytes, path: Path, first: msgspec.ValidationError) -> _File:
    """Convert a file in the authors' format to COCO's lists. Raises DataError if it is not in that format either."""
    try:
        content = decode_json(data, _AuthorsFile)
    except (ValueError, RecursionError) as error:
        reason = error if b'"meta"' in data[:4096] and b'"annotations"' not in data[: 1 << 20] else first
        raise DataError(f"{path} is not in COCO format ('images', 'annotations'): {reason_of(reason)}") from error
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for place, entry in enumerate(content.images):
        image_id = place if entry.id is None else entry.id
        images.append({"id": image_id, "file_name": entry.image_path, "height": entry.height, "width": entry.width})
        given = (entry.segmentations, entry.categories, entry.iscrowd, entry.areas, entry.bboxes)
        columns: list[Sequence[Any]] = [
            [None] * len(entry.segmentations) if column is None else column for column in given
        ]
        if len({len(column) for column in columns}) > 1:
            raise DataError(f"{path} has lists of different lengths for {entry.image_path}; write the file again")
        size = [entry.height, entry.width]
        for counts, category, crowd, area, box in zip(*columns, strict=True):
            one = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category, "iscrowd": crowd}
            annotations.append({**one, "segmentation": {"size": size, "counts": counts}, "area": area, "bbox": box})
    labels = content.meta.category_labels or {}
    categories = [
        {"id": int(number) if number.isdecimal() else number, "name": name} for number, name in labels.items()
    ]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return decode_json(msgspec.json.encode(lists), _File)


def _take_images(coco: CocoFile, entries: Sequence[msgspec.Raw]) -> set[Id]:
    """Fill `coco.images` and return the ids of entries that cannot be used."""
    refused: set[Id] = set()
    names: Counter[str] = Counter()
    for place, raw in enumerate(entries):
        try:
            image = decode_json(raw, ImageEntry)
        except (ValueError, RecursionError) as error:
            known, name = _member(raw, "id"), _member(raw, "file_name")
            if known is not None:
                refused.add(known)
            unnamed = known is None or not isinstance(name, str)
            kind = "image entry without id or file_name" if unnamed else "image entry without height or width"
            coco.faults.add(kind, name if isinstance(name, str) else f"images[{place}]", reason_of(error))
            continue
        if not image.file_name:
            coco.faults.add("image entry without id or file_name", f"images[{place}]")
        elif image.id in coco.images:
            first = coco.images[image.id].file_name
            coco.faults.add("duplicate image id", image.id, f"{first} and {image.file_name}")
            continue
        elif image.size == (0, 0):
            detail = f"{image.width:g}x{image.height:g} pixels" if image.width or image.height else ""
            coco.faults.add("image entry without height or width", image.file_name, detail)
        else:
            coco.images[image.id] = image
            names[image.file_name] += 1
            continue
        refused.add(image.id)
    for name, count in names.items():
        if count > 1:
            coco.faults.add("image listed more than once", name, f"{count} entries")
    return refused


def _take_annotations(coco: CocoFile, entries: Sequence[msgspec.Raw], refused: set[Id]) -> None:
    seen: set[Id] = set()
    crowds = brushed = 0
    for place, raw in enumerate(entries):
        try:
            item = decode_json(raw, Annotation)
        except (ValueError, RecursionError) as error:
            kind = "annotation without image_id" if _member(raw, "image_id") is None else "broken annotation"
            coco.faults.add(kind, f"annotations[{place}]", reason_of(error))
            continue
        if item.id is not None:
            if item.id in seen:
                coco.faults.add("duplicate annotation id", item.id)
            seen.add(item.id)
        if item.image_id in refused:
            continue  # its image's fault is already listed
        if item.image_id not in coco.images:
            coco.faults.add("annotation of an unknown image", f"annotation {item.id}", f"image {item.image_id!r}")
            continue
        if item.iscrowd:
            # CVAT marks every brushed mask as a crowd; only CVAT writes the attribute `occluded`.
            if b'"occluded"' not in bytes(item.attributes):
                crowds += 1
                continue
            brushed += 1
        coco.annotations.setdefault(item.image_id, []).append(item)
        if coco.categories and item.category_id not in coco.categories:
            where = f"annotation {item.id}"
            coco.faults.add("annotation of an unknown category", where, str(item.category_id), serious=False)
    if brushed:
        coco.faults.facts.append(f"{brushed} masks that CVAT marks as crowds (iscrowd) are read as one object each")
    if crowds:
        coco.faults.facts.append(f"{plural(crowds, 'crowd annotation')} left out")
    if crowds > 0.1 * len(entries) and crowds > 1:
        coco.faults.add(
            CROWDS, coco.faults.path.name,
            f"{crowds} of {len(entries)} annotations have iscrowd 1, which marks a mask of many objects; some tools "
            "also set it for brushed masks: write iscrowd 0 where a mask is one object",
            serious=crowds == len(entries),
        )  # fmt: skip


def _member(raw: msgspec.Raw, name: str) -> Id | None:
    """A field of an entry that is a number or a word; None if it is missing or anything else."""
    try:
        return msgspec.convert(decode_json(raw, dict[str, Any]).get(name), Id, strict=False)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        return None
