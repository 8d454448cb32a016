"""CVAT's XML, version 1.1: for images (`<image>` with shapes) and for video (`<track>` with a shape per frame).

docs.cvat.ai describes the format. The run lengths of a mask go along the rows of its box, background first. CVAT's COCO
and mask exports are read as COCO and as Pascal VOC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_find import ImageFinder
from hodor_cli.datasets.rle import MOST_PIXELS, RunLengths, Segmentation
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, checked_shape
from hodor_cli.formats.drawing import ellipse, positioned, run_lengths, turned
from hodor_cli.formats.outlines import one_outline
from hodor_cli.formats.parsing import xml_elements
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.extent import box_of
from hodor_cli.images.paths import plural

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_WHAT = "CVAT's XML"
_AREAS = ("polygon", "mask", "box", "ellipse")
_LINES = ("polyline", "points", "cuboid", "skeleton")


@dataclass
class _Reading:
    """The state of reading one file."""

    path: Path
    size: tuple[int, int] = (0, 0)
    video: str = ""
    pictures: list[Picture] = field(default_factory=list)
    frames: dict[int, list[tuple[int, Shape]]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def read(path: Path) -> Annotations:
    """Read annotations.xml of images or of a video. Raises InputError."""
    reading = _Reading(path)
    above: list[str] = []
    current: list[tuple[int, Shape]] = []
    track: Mapping[str, str] = {}
    for event, element in xml_elements(path, _WHAT):
        if event == "start":
            above.append(element.tag)
            if element.tag == "image":
                current = []
                reading.size = _size(element.get("height"), element.get("width"), path)
            if element.tag == "track":
                track = dict(element.attrib)
            continue
        above.pop()
        inside = above[-1] if above else ""
        if element.tag in _AREAS + _LINES and inside in ("image", "track"):
            _take(reading, element, track if inside == "track" else None, current)
        elif element.tag == "image" and inside == "annotations":
            reading.pictures.append(Picture(element.get("name") or "", reading.size, _ordered(current)))
        elif element.tag == "original_size":
            reading.size = _size(element.findtext("height"), element.findtext("width"), path)
        elif element.tag in ("task", "job", "project") and inside == "meta":
            reading.video = element.findtext("name") or ""
        if inside in ("annotations", "track", "image"):
            element.clear()
    return _result(reading)


def _result(reading: _Reading) -> Annotations:
    path = reading.path
    pictures = reading.pictures or [
        Picture(f"frame_{frame:06d}", reading.size, _ordered(shapes), frame)
        for frame, shapes in sorted(reading.frames.items())
    ]
    if not pictures:
        raise InputError(f"{path} is CVAT's XML without an annotated image or track; give another file")
    notes = [f"{path}: {plural(count, what)} left out, which cover no area" for what, count in reading.left_out.items()]
    video = "" if reading.pictures else reading.video or path.stem
    finder = ImageFinder(path.parent)
    endings = ("",) if reading.pictures else (".png", ".PNG", ".jpg")
    files = [next(filter(None, (finder.find(one.name + ending) for ending in endings)), None) for one in pictures]
    found = [replace(picture, file=file) for picture, file in zip(pictures, files, strict=True)]
    return Annotations("CVAT", path, found, notes=tuple(notes), video=video)


def _take(
    reading: _Reading, element: Element, track: Mapping[str, str] | None, current: list[tuple[int, Shape]]
) -> None:
    """Add one shape to its image or frame."""
    if element.tag in _LINES:
        reading.left_out[element.tag] = reading.left_out.get(element.tag, 0) + 1
        return
    if element.get("outside") == "1":
        return
    if not reading.size[0]:
        raise InputError(f"{reading.path} has no original_size, so the size of its frames is unknown; export it again")
    key: int | str | None
    try:
        segmentation = _segmentation(element, reading.size)
        order = int(element.get("z_order") or 0)
        if track is not None:
            key, label, frame = int(track["id"]) + 1, track.get("label", ""), int(element.attrib["frame"])
        else:
            key, label, frame = int(element.get("group_id") or 0) or None, element.get("label") or "", 0
    except (KeyError, ValueError) as error:
        raise InputError(f"{reading.path} has a <{element.tag}> that cannot be read ({error})") from error
    shape = checked_shape(Shape(label, segmentation, key), f"frame {frame}", reading.size, reading.path)
    if shape is not None:
        (current if track is None else reading.frames.setdefault(frame, [])).append((order, shape))


def _ordered(shapes: list[tuple[int, Shape]]) -> tuple[Shape, ...]:
    return tuple(shape for _, shape in sorted(shapes, key=lambda pair: pair[0]))


def _size(height: str | None, width: str | None, path: Path) -> tuple[int, int]:
    size = int(height or 0) if (height or "").isdecimal() else 0, int(width or 0) if (width or "").isdecimal() else 0
    if not 0 < size[0] * size[1] <= MOST_PIXELS:
        raise InputError(f"{path} gives a picture of {width}x{height} pixels, which is impossible; export it again")
    return size


def _segmentation(element: Element, size: tuple[int, int]) -> Segmentation:
    if element.tag == "mask":
        return _mask(element, size)
    if element.tag == "polygon":
        return [[float(side) for point in element.attrib["points"].split(";") for side in _pair(point)]]
    if element.tag == "box":
        left, top, right, bottom = (float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    else:
        x, y, across, down = (float(element.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
        corners = ellipse((across, down), (x, y))
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return [(turned(corners - middle, float(element.get("rotation") or 0)) + middle).ravel().tolist()]


def _pair(text: str) -> tuple[str, str]:
    x, y = text.split(",")
    return x, y


def _mask(element: Element, size: tuple[int, int]) -> RunLengths:
    left, top, width, height = (int(float(element.attrib[key])) for key in ("left", "top", "width", "height"))
    if not (0 < width * height <= MOST_PIXELS and width > 0 and left >= 0 and top >= 0):
        raise ValueError("its box is impossible")
    runs = np.array([int(count) for count in element.attrib["rle"].split(",")], dtype=np.int64)
    if runs.min(initial=0) < 0 or runs.max(initial=0) > width * height or runs.sum() != width * height:
        raise ValueError(f"its run lengths do not fill a box of {width}x{height}")
    return run_lengths(
        positioned(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width), left, top, size)
    )


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write annotations.xml: tracks of polygons for a video (CVAT tracks cannot hold masks), masks for photographs."""
    if annotations.video:
        _write_tracks(annotations, out)
        return
    lines, classes, count = [], dict[str, None](), 0
    for count, picture in enumerate(annotations.pictures, start=1):
        height, width = picture.size
        name = quoteattr(out.picture(picture, "images"))
        lines.append(f'  <image id="{count - 1}" name={name} width="{width}" height="{height}">')
        for shape in picture.shapes:
            if (box := box_of(mask := shape.mask(picture.size))) is not None:
                label = annotations.class_of(shape)
                classes[label] = None
                left, top, wide, high = box
                runs = ", ".join(map(str, _runs(mask[top : top + high, left : left + wide])))
                lines.append(
                    f'    <mask label={quoteattr(label)} source="file" occluded="0" rle="{runs}" left="{left}" '
                    f'top="{top}" width="{wide}" height="{high}" z_order="0" group_id="{shape.object_id}"></mask>'
                )
        lines.append("  </image>")
    out.text("annotations.xml", _document("annotation", annotations, list(classes), count, None, lines))


def _write_tracks(annotations: Annotations, out: FolderWriter) -> None:
    tracks: dict[int, list[str]] = {}
    labels: dict[int, str] = {}
    present: set[int] = set()
    points: dict[int, str] = {}
    size, frame = (0, 0), -1
    for place, picture in enumerate(annotations.pictures):
        out.picture(picture, "images")
        size, frame = picture.size, place if picture.frame is None else picture.frame
        now = set()
        for shape in picture.shapes:
            outline = one_outline(shape.mask(size), out.tolerance)
            if len(outline):
                now.add(shape.object_id)
                labels.setdefault(shape.object_id, annotations.class_of(shape))
                points[shape.object_id] = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline)
                tracks.setdefault(shape.object_id, []).append(_polygon(frame, points[shape.object_id], outside=False))
        for gone in present - now:
            tracks[gone].append(_polygon(frame, points[gone], outside=True))
        present = now
    lines = []
    for object_id, shapes in sorted(tracks.items()):
        label = quoteattr(labels[object_id])
        lines += [f'  <track id="{object_id - 1}" label={label} source="file">', *shapes, "  </track>"]
    classes = list(dict.fromkeys(labels.values()))
    out.text("annotations.xml", _document("interpolation", annotations, classes, frame + 1, size, lines))


def _polygon(frame: int, points: str, *, outside: bool) -> str:
    return (
        f'    <polygon frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="0" points="{points}" '
        'z_order="0"></polygon>'
    )


def _document(
    mode: str, annotations: Annotations, classes: list[str], count: int, size: tuple[int, int] | None, body: list[str]
) -> str:
    labels = "".join(f"<label><name>{escape(name)}</name><attributes></attributes></label>" for name in classes)
    original = f"<original_size><width>{size[1]}</width><height>{size[0]}</height></original_size>" if size else ""
    name = escape(annotations.video or annotations.path.stem)
    task = f"<name>{name}</name><size>{count}</size><mode>{mode}</mode><labels>{labels}</labels>{original}"
    head = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    return "\n".join([*head, f"  <meta><task>{task}</task></meta>", *body, "</annotations>"])


def _runs(part: NDArray[np.bool_]) -> list[int]:
    """Run lengths along the rows, background first."""
    flat = part.ravel()
    ends = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    runs: list[int] = np.diff(ends).tolist()
    return [0, *runs] if flat[0] else runs
