"""LabelMe: one JSON file for each picture, with polygons; shapes with the same `group_id` are one object.

Reads files of github.com/wkentaro/labelme 4 to 6, including shapes of type `mask`, which store pixels.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from pathlib import Path, PureWindowsPath
from typing import Any

import msgspec
import numpy as np

from hodor_cli.datasets.parsing import json_keys, parse_json
from hodor_cli.datasets.rle import RunLengths, Segmentation
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, Size, drawable, read_each
from hodor_cli.formats.outlines import ellipse, outlines, positioned, run_lengths
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.listing import frame_name
from hodor_cli.images.paths import plural, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header
from hodor_cli.images.pillow import decoded_picture, open_picture

Point = tuple[float, float]


class _Shape(msgspec.Struct):
    label: str | int
    points: list[Point]
    shape_type: str | None = "polygon"
    group_id: int | str | None = None
    mask: str | None = None


class _File(msgspec.Struct):
    shapes: list[_Shape]
    imagePath: str | None = ""  # noqa: N815
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815
    imageData: str | None = None  # noqa: N815


def find(path: Path) -> Path | None:
    return path if any("shapes" in json_keys(file) for file in _files(path)[:50]) else None


def _files(path: Path) -> list[Path]:
    """The file itself, or all JSON files of a folder."""
    if not path.is_dir():
        return [path]
    return [path / name for name in visible_files(path) if name.lower().endswith(".json")]


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read one file, or a folder with one file for each picture."""
    left_out: Counter[str] = Counter()
    pictures, faults = read_each(_files(path), lambda file: _picture(file, left_out))
    kinds = ((kind, plural(count, "shape")) for kind, count in left_out.items())
    notes = tuple(f"{path}: {shapes} of type {kind} left out, which have no area" for kind, shapes in kinds)
    return Annotations("LabelMe", path, pictures, notes=notes, faults=faults)


def _picture(path: Path, left_out: Counter[str]) -> Picture:
    content = parse_json(path, _File, "LabelMe's JSON")
    named = PureWindowsPath(content.imagePath or "").name  # without its folder, which may be anywhere
    candidates = [path.with_name(named)] if named else []
    candidates += [path.with_suffix(suffix) for suffix in PICTURE_SUFFIXES]
    file = next(filter(Path.is_file, candidates), None)
    if file is None and content.imageData:
        file = path  # pictures inside JSON files can be read like any other
    size = _size(content, file, path)
    outlined = ((item, _segmentation(item, size, path, left_out)) for item in content.shapes)
    shapes = (Shape(str(item.label), outline, item.group_id) for item, outline in outlined if outline is not None)
    name = file.name if file and file != path else named or path.stem
    return Picture(name, size, drawable(shapes, path.name, size, path), file=file)


def _size(content: _File, file: Path | None, path: Path) -> Size:
    if content.imageHeight and content.imageWidth:
        return content.imageHeight, content.imageWidth
    if file is None:
        raise InputError(
            f"LabelMe's {path} has no size and {content.imagePath or 'its picture'} is not next to it; put it there"
        )
    return read_header(file).size


def _segmentation(item: _Shape, size: Size, path: Path, left_out: Counter[str]) -> Segmentation | None:
    kind, points = item.shape_type or "polygon", item.points
    if kind == "mask" and item.mask and points:
        return _mask(item.mask, points[0], size, path)
    if kind in ("polygon", "rectangle", "oriented_rectangle") and len(points) >= 3:  # X-AnyLabeling's have 4 corners
        return [[side for point in points for side in point]]
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        return [ellipse((radius, radius), (x, y)).ravel().tolist()]
    left_out[kind] += 1
    return None


def _mask(text: str, corner: Point, size: Size, path: Path) -> RunLengths:
    with open_picture(path, "a mask", io.BytesIO(decoded_picture(text, path))) as image:
        part = np.asarray(image.convert("L")) > 0
    left, top = (max(0, round(side)) for side in corner)
    return run_lengths(positioned(part, left, top, size))


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write NAME.json for each picture, and the picture next to it if `out.frames`. Each part of an object is a polygon
    whose `group_id` is the object's id."""
    for picture in annotations.pictures:
        image = out.picture(picture, "")
        shapes = [
            {
                "label": item.name or f"object {item.object_id}",
                "points": part.round(2).tolist(),
                "group_id": item.object_id,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
            }
            for item in annotations.items(picture)
            for part in outlines(item.mask, out.tolerance)
        ]
        height, width = picture.size
        content: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image}
        content |= {"imageData": None, "imageHeight": height, "imageWidth": width}
        out.text(f"{frame_name(Path(image))}.json", json.dumps(content, ensure_ascii=False, indent=1))
