"""CVAT's XML, version 1.1: for images (`<image>` with shapes) and for video (`<track>` with a shape per frame).

docs.cvat.ai describes the format. The run lengths of a mask go along the rows of its box, background first. The modules
coco and voc read CVAT's COCO and mask exports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from hodor_cli.datasets.coco_find import ImageFinder
from hodor_cli.datasets.parsing import xml_elements
from hodor_cli.datasets.rle import RunLengths, Segmentation
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, Size, drawable
from hodor_cli.formats.outlines import ellipse, one_outline, positioned, run_lengths, turned
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.label_png import window_of
from hodor_cli.images.paths import plural, read_start, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES
from hodor_cli.images.pillow import MOST_PIXELS

_WHAT = "CVAT's XML"
_AREAS = ("polygon", "mask", "box", "ellipse")
_LINES = ("polyline", "points", "cuboid", "skeleton")


def find(path: Path) -> Path | None:
    names = [name for name in visible_files(path) if name.lower().endswith(".xml")] if path.is_dir() else [""]
    if len(names) != 1:
        return None
    file = path / names[0]
    start = read_start(file, 1 << 16).replace(b"\0", b"")  # the zero bytes of UTF-16
    return file if b"<annotations" in start else None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read annotations.xml of images or of a video. Raises InputError."""
    pictures: list[Picture] = []
    frames: dict[int, list[tuple[int, Shape]]] = {}
    left_out: Counter[str] = Counter()
    frame_size, video = (0, 0), path.stem
    for element in xml_elements(path, _WHAT):
        if element.tag == "meta":
            if (original := element.find(".//original_size")) is not None:
                frame_size = _size(original.findtext("height"), original.findtext("width"), path)
            names = (element.findtext(f"{tag}/name") for tag in ("task", "job", "project"))
            video = next(filter(None, names), video)
        elif element.tag == "image":
            own = _size(element.get("height"), element.get("width"), path)
            shapes = [(order, shape) for _, order, shape in _shapes(element, own, path, left_out)]
            pictures.append(_picture(element.get("name") or "", own, shapes, path))
        elif element.tag == "track":
            for frame, order, shape in _shapes(element, frame_size, path, left_out):
                frames.setdefault(frame, []).append((order, shape))
        else:
            continue
        element.clear()
    if not pictures and not frames:
        raise InputError(f"{path} is CVAT's XML without an annotated image or track; give another file")
    of_images = bool(pictures)
    pictures = pictures or [
        _picture(f"frame_{frame:06d}", frame_size, frames[frame], path, frame) for frame in sorted(frames)
    ]
    forms = [form for suffix in sorted(PICTURE_SUFFIXES) for form in (suffix, suffix.upper())]
    finder, endings = ImageFinder(path.parent), [""] if of_images else forms
    files = [next(filter(None, (finder.find(one.name + ending) for ending in endings)), None) for one in pictures]
    found = [replace(picture, file=file) for picture, file in zip(pictures, files, strict=True)]
    notes = tuple(f"{path}: {plural(count, what)} left out, which have no area" for what, count in left_out.items())
    return Annotations("CVAT", path, found, notes=notes, video="" if of_images else video)


def _shapes(element: Element, size: Size, path: Path, left_out: Counter[str]) -> Iterator[tuple[int, int, Shape]]:
    """Yield (frame, z-order, shape) of each area in an image (then the frame is 0) or a track."""
    of_track = element.tag == "track"
    for child in element:
        left_out.update([child.tag] if child.tag in _LINES else [])
        if child.tag not in _AREAS or child.get("outside") == "1":
            continue
        if not size[0]:
            raise InputError(f"{path} has no original_size, so the size of its frames is unknown; export it again")
        try:
            key = int(element.attrib["id"]) + 1 if of_track else int(child.get("group_id") or 0) or None
            frame = int(child.attrib["frame"]) if of_track else 0
            if frame < 0:
                raise ValueError(f"its frame is {frame}")
            shape = Shape((element if of_track else child).get("label") or "", _segmentation(child, size), key)
            yield frame, int(child.get("z_order") or 0), shape
        except (KeyError, ValueError, OverflowError) as error:
            raise InputError(f"{path} has a <{child.tag}> that cannot be read ({error})") from error


def _picture(name: str, size: Size, shapes: list[tuple[int, Shape]], path: Path, frame: int | None = None) -> Picture:
    ordered = [shape for _, shape in sorted(shapes, key=lambda pair: pair[0])]
    return Picture(name, size, drawable(ordered, name, size, path), frame)


def _size(height: str | None, width: str | None, path: Path) -> Size:
    tall, wide = (int(side) if side and side.isdecimal() else 0 for side in (height, width))
    if not 0 < tall * wide <= MOST_PIXELS:
        raise InputError(f"{path} has a picture with the impossible size {width}x{height}; export it again")
    return tall, wide


def _segmentation(element: Element, size: Size) -> Segmentation:
    if element.tag == "mask":
        return _mask(element, size)
    if element.tag == "polygon":
        pairs = [pair.split(",") for pair in element.attrib["points"].split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("its points are not x,y;x,y;...")
        return [[float(side) for pair in pairs for side in pair]]
    if element.tag == "box":
        left, top, right, bottom = (float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    else:
        x, y, across, down = (float(element.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
        corners = ellipse((across, down), (x, y))
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return [(turned(corners - middle, float(element.get("rotation") or 0)) + middle).ravel().tolist()]


def _mask(element: Element, size: Size) -> RunLengths:
    left, top, width, height = (int(float(element.attrib[key])) for key in ("left", "top", "width", "height"))
    if not (0 < width * height <= MOST_PIXELS and width > 0 and left >= 0 and top >= 0):
        raise ValueError("its box is impossible")
    runs = np.array([int(count) for count in element.attrib["rle"].split(",")], dtype=np.int64)
    if runs.min(initial=0) < 0 or runs.max(initial=0) > width * height or runs.sum() != width * height:
        raise ValueError(f"its run lengths do not fill a box of {width}x{height}")
    part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return run_lengths(positioned(part, left, top, size))


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
        for item in annotations.items(picture):
            classes[item.label] = None
            left, top, wide, high = item.box
            flat = item.mask[window_of(item.box)].ravel()
            ends = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
            runs = ", ".join(map(str, [0] * bool(flat[0]) + np.diff(ends).tolist()))  # background first
            lines.append(
                f'    <mask label={quoteattr(item.label)} source="file" occluded="0" rle="{runs}" left="{left}" '
                f'top="{top}" width="{wide}" height="{high}" z_order="0" group_id="{item.object_id}"></mask>'
            )
        lines.append("  </image>")
    out.text("annotations.xml", _document("annotation", annotations, list(classes), count, None, lines))


def _write_tracks(annotations: Annotations, out: FolderWriter) -> None:
    tracks: dict[int, list[str]] = {}
    labels: dict[int, str] = {}
    points: dict[int, str] = {}  # of the objects in the previous frame
    size, frame = (0, 0), -1
    for place, picture in enumerate(annotations.pictures):
        size, frame = picture.size, place if picture.frame is None else picture.frame
        out.picture(picture, "images", stem=f"frame_{frame:06d}")  # as CVAT calls it: tracks have no file names
        before, points = points, {}
        for item in annotations.items(picture):
            labels.setdefault(item.object_id, item.label)
            points[item.object_id] = ";".join(f"{x:.2f},{y:.2f}" for x, y in one_outline(item.mask, out.tolerance))
            tracks.setdefault(item.object_id, []).append(_polygon(frame, points[item.object_id], outside=False))
        for gone in before.keys() - points.keys():
            tracks[gone].append(_polygon(frame, before[gone], outside=True))
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
