"""Label Studio: JSON exports with brushes (packed run lengths), polygons, rectangles and ellipses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_find import ImageFinder, json_annotations
from hodor_cli.datasets.parsing import parse_json
from hodor_cli.datasets.rle import Segmentation
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, Size, drawable
from hodor_cli.formats.outlines import ellipse, run_lengths, turned
from hodor_cli.images.paths import plural
from hodor_cli.images.pillow import MOST_PIXELS

_WHAT = "Label Studio's JSON"
#: The prefix that Label Studio gives to the name of an uploaded picture.
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")


class _Value(msgspec.Struct):
    """The outline of a region; no outline in choices and texts."""

    rle: list[int] | None = None
    points: list[tuple[float, float]] | None = None
    x: float | None = None
    y: float | None = None
    width: float = 0.0
    height: float = 0.0
    radiusX: float | None = None  # noqa: N815
    radiusY: float = 0.0  # noqa: N815
    rotation: float = 0.0
    brushlabels: list[str] | None = None
    polygonlabels: list[str] | None = None
    rectanglelabels: list[str] | None = None
    ellipselabels: list[str] | None = None
    labels: list[str] | None = None

    @property
    def drawn(self) -> bool:
        """Whether it has an outline."""
        return self.rle is not None or self.points is not None or (self.x is not None and self.y is not None)

    @property
    def label(self) -> str:
        lists = self.brushlabels, self.polygonlabels, self.rectanglelabels, self.ellipselabels, self.labels
        return next((names[0] for names in lists if names), "")


class _Region(msgspec.Struct):
    value: _Value = msgspec.field(default_factory=_Value)
    original_width: int = 0
    original_height: int = 0


class _Annotation(msgspec.Struct):
    result: list[_Region] = []
    was_cancelled: bool = False


class _Task(msgspec.Struct):
    data: dict[str, Any] = {}
    annotations: list[_Annotation] | None = None


def find(path: Path) -> Path | None:
    file, keys = json_annotations(path)
    return file if keys >= {"data", "annotations"} else None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read an export, one task or a list of tasks. Raises InputError."""
    tasks = parse_json(path, list[_Task] | _Task, _WHAT)  # type: ignore[arg-type]
    notes: list[str] = []
    pictures, finder = [], ImageFinder(path.parent)
    for number, task in enumerate([tasks] if isinstance(tasks, _Task) else tasks, start=1):
        done = [one for one in task.annotations or [] if not one.was_cancelled]
        if len(done) > 1:
            notes.append(f"{path}: a task has {plural(len(done), 'annotation')}; the first is used")
        if regions := [region for region in (done[0].result if done else []) if region.value.drawn]:
            pictures.append(_picture(_image_name(task.data) or f"task {number}", regions, path, finder))
    if not pictures:
        raise InputError(f"{path} is {_WHAT} without a brush or polygon; submit the task and export it again")
    return Annotations("Label Studio", path, pictures, notes=tuple(dict.fromkeys(notes)))


def _image_name(fields: dict[str, Any]) -> str:
    """The file name in the first field that looks like a picture's address; "" if there is none."""
    for address in fields.values():
        if isinstance(address, str):
            parts = urlsplit(address)
            inner = parse_qs(parts.query).get("d", [parts.path])[0]
            name = unquote(inner).replace("\\", "/").rsplit("/", 1)[-1]
            if "." in name:
                return name
    return ""


def _picture(name: str, regions: list[_Region], path: Path, finder: ImageFinder) -> Picture:
    file, name = finder.find(name), _UPLOAD.sub("", name)
    size = next(((one.original_height, one.original_width) for one in regions if one.original_width), (0, 0))
    if not 0 < size[0] * size[1] <= MOST_PIXELS or size[0] < 0:
        raise InputError(f"{path}: the regions of {name} have no valid size of the picture; export JSON again")
    shapes = (Shape(region.value.label, _segmentation(region.value, size)) for region in regions)
    return Picture(name, size, drawable(shapes, name, size, path), file=file or finder.find(name))


def _segmentation(value: _Value, size: Size) -> Segmentation:
    """The region's outline in pixels; in the file, coordinates are percentages of the picture's width and height."""
    height, width = size
    scale = np.array([width, height]) / 100
    if value.rle is not None:
        return run_lengths(unpack(value.rle, size))
    if value.points is not None:
        return [(np.array(value.points) * scale).ravel().tolist()]
    assert value.x is not None and value.y is not None  # `drawn`
    corner = np.array([value.x, value.y]) * scale
    if value.radiusX is not None:
        points = ellipse((value.radiusX, value.radiusY)) * scale
    else:
        points = np.array([[0, 0], [value.width, 0], [value.width, value.height], [0, value.height]]) * scale
    # A rectangle is rotated around its corner, an ellipse around its centre.
    return [(turned(points, value.rotation) + corner).ravel().tolist()]


def unpack(packed: list[int], size: Size) -> NDArray[np.bool_]:
    """Decode a brush's bytes to (H, W) bool. They are RGBA pixels in the bit stream of the JavaScript package rle-pack.

    Header: the number of values (32 bits), bits per value - 1 (5 bits), and for each of four length kinds its number of
    bits - 1 (4 bits each). Each run: 1 bit (1: one repeated value, 0: separate values), the length kind (2 bits), the
    length - 1, and the value or values. Raises ValueError if the runs do not fill the picture.
    """
    data = np.asarray(packed)
    if data.size and (data.min() < 0 or data.max() > 255):
        raise ValueError("its run lengths are not bytes")
    bits = np.unpackbits(data.astype(np.uint8))
    text = (bits + ord("0")).tobytes().decode("ascii")
    at = 0

    def take(count: int) -> str:
        nonlocal at
        at += count
        if at > len(text):
            raise ValueError("its run lengths are cut off")
        return text[at - count : at]

    height, width = size
    total = height * width * 4
    if int(take(32), 2) != total:
        raise ValueError(f"its run lengths do not fit a picture of {width}x{height}")
    word = int(take(5), 2) + 1
    kinds = [int(take(4), 2) + 1 for _ in range(4)]
    weights = 1 << np.arange(word - 1, -1, -1, dtype=np.uint32)
    values = np.zeros(total, dtype=np.uint32)
    done = 0
    while done < total:
        repeated = take(1) == "1"
        length = min(int(take(kinds[int(take(2), 2)]), 2) + 1, total - done)
        take(word if repeated else length * word)
        begin = at - (word if repeated else length * word)
        values[done : done + length] = (bits[begin:at].reshape(-1, word) * weights).sum(axis=1)
        done += length
    return np.asarray(values.reshape(height, width, 4)[..., 3] > 0)
