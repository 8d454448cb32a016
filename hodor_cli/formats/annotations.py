"""The common form of all formats: pictures with objects.

A reader returns `Annotations` without ids, `number_together` assigns the ids, and a writer takes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.rle import Segmentation, check_segmentation, decode_segmentation
from hodor_cli.errors import InputError, UsageError
from hodor_cli.files import harmless
from hodor_cli.formats.outlines import run_lengths
from hodor_cli.images.label_png import Box, box_of, ids_in
from hodor_cli.images.paths import size_text
from hodor_cli.images.pillow import MOST_PIXELS
from hodor_cli.video.frames import FrameSource

Key = int | str
#: (height, width) in pixels.
Size = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """One object in one picture, or a part of it.

    name: the class, "" if there is none. segmentation: polygons in pixels (pixel i extends from i to i + 1), or run
    lengths. key: the tool's own id of the object (a group, a track), if any; the parts of an object share it.
    object_id: 1 to 65535, or 0 before `number_together`.
    """

    name: str
    segmentation: Segmentation
    key: Key | None = None
    object_id: int = 0

    def mask(self, size: Size) -> NDArray[np.bool_]:
        """(H, W) bool. Raises ValueError, with the reason, if the shape cannot be drawn at that size."""
        return decode_segmentation(self.segmentation, *size)


@dataclass(frozen=True)
class Picture:
    """One annotated picture.

    name: the file name relative to the folder of pictures, or the frame's name. size: (height, width) of the upright
    picture. shapes: later ones are on top. frame: the index in the video; None if only the name identifies it. time: in
    seconds from the video's first frame. duration: in seconds, if the video has it. file: the picture's path, and
    image: (H, W, 3) uint8 RGB; either is for writers that also write the pictures.
    """

    name: str
    size: Size
    shapes: tuple[Shape, ...]
    frame: int | None = None
    time: float | None = None
    file: Path | None = None
    image: NDArray[np.uint8] | None = None
    duration: float | None = None

    @cached_property
    def labels(self) -> NDArray[np.uint16]:
        """(H, W) object ids, 0 background; a pixel covered by several shapes belongs to the last one."""
        labels = np.zeros(self.size, np.uint16)
        for shape in self.shapes:
            labels[shape.mask(self.size)] = shape.object_id
        return labels

    @property
    def object_ids(self) -> list[int]:
        return sorted({shape.object_id for shape in self.shapes})


class Item(NamedTuple):
    """An object in a picture, for writers. name: the class, "" if there is none. mask: (H, W) bool. box: around it."""

    object_id: int
    name: str
    mask: NDArray[np.bool_]
    box: Box

    @property
    def label(self) -> str:
        """The class; "object" if there is none."""
        return self.name or "object"


@dataclass(frozen=True)
class Annotations:
    """The annotated pictures of a file or folder.

    tool: name of the format, for messages. path: the file or folder. pictures: all pictures with objects, and possibly
    others; a result's pictures are read again each time they are iterated over. tracked: whether an object has the same
    id in all pictures; otherwise each picture numbers its objects from 1. names: object id -> class, if `tracked`.
    notes: sentences for the user. video: name of the video whose frames the pictures are, "" for photographs. fps: its
    frame rate. confidence: (frame, object id) -> 0..1. source: the frames, for writers of videos. faults: sentences
    about files of a folder that cannot be read. classes: all classes, in the order of YOLO's numbers.
    """

    tool: str
    path: Path
    pictures: Collection[Picture]
    tracked: bool = True
    names: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    video: str = ""
    fps: float = 0.0
    confidence: Mapping[tuple[int, int], float] = field(default_factory=dict)
    source: FrameSource | None = None
    faults: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The end of a sentence about `path`: "is LabelMe's" or "holds label pictures", for example."""
        return f"is {self.tool}'s" if self.tool[0].isupper() else f"holds {self.tool}"

    def items(self, picture: Picture) -> Iterator[Item]:
        """The objects with at least one pixel, in order of first appearance; shapes with one id are one object."""
        parts: dict[int, list[Shape]] = {}
        for shape in picture.shapes:
            parts.setdefault(shape.object_id, []).append(shape)
        for object_id, shapes in parts.items():
            mask = np.logical_or.reduce([shape.mask(picture.size) for shape in shapes])
            if (box := box_of(mask)) is not None:
                name = self.names.get(object_id) or shapes[0].name
                yield Item(object_id, harmless(name), mask, box)  # XML, for example, has no control characters


def require_clip(annotations: Annotations, name: str) -> None:
    """Raise UsageError if the format `name`, which is for videos, cannot hold these pictures: their objects are not
    tracked, or they differ in size."""
    if not annotations.tracked or (not annotations.video and len({one.size for one in annotations.pictures}) > 1):
        raise UsageError(f"{name} is for the objects of a video; use `coco` for photographs")


def read_each(files: Iterable[Path], read: Callable[[Path], Picture | None]) -> tuple[list[Picture], tuple[str, ...]]:
    """The pictures that `read` returns for files, and the message of each InputError that it raises."""
    pictures, faults = [], []
    for file in files:
        try:
            pictures.append(read(file))
        except InputError as error:
            faults.append(str(error))
    return [picture for picture in pictures if picture is not None], tuple(faults)


def shapes_of(labels: NDArray[np.integer], names: Mapping[int, str] | None = None) -> tuple[Shape, ...]:
    """The objects in a label map as shapes with run lengths. names: object id -> class."""
    return tuple(
        Shape((names or {}).get(object_id, ""), run_lengths(labels == object_id), object_id, object_id)
        for object_id in ids_in(labels)
    )


def picture_of(name: str, labels: NDArray[np.integer], file: Path | None = None, frame: int | None = None) -> Picture:
    """An (H, W) label map as a `Picture`. file: the picture itself, whose name replaces `name`."""
    size = (labels.shape[0], labels.shape[1])
    return Picture(file.name if file else name, size, shapes_of(labels), frame, file=file)


def drawable(shapes: Iterable[Shape], picture: str, size: Size, path: Path) -> tuple[Shape, ...]:
    """Check that shapes can be drawn, and drop those that cover no pixel.

    picture: name of the picture in the file `path`. Raises InputError if a shape cannot be drawn at `size`, or if the
    iterator `shapes` raises ValueError.
    """
    found = []
    named = unnamed = "an object"
    if not 0 < size[0] * size[1] <= MOST_PIXELS or size[0] < 0:
        raise InputError(f"{path} has a picture with the impossible size {size_text(size)}; export it again")
    try:
        for shape in shapes:
            named = f"'{shape.name}'" if shape.name else unnamed
            segmentation = check_segmentation(shape.segmentation, *size)
            if segmentation is not None:
                found.append(replace(shape, segmentation=segmentation))
            named = unnamed
    except ValueError as error:
        where = f"{path}" if picture in ("", path.name) else f"{path}: {picture}"
        raise InputError(f"the outline of {named} in {where} cannot be drawn: {error}") from error
    return tuple(found)
