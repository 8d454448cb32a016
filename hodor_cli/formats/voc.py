"""Pascal VOC's label pictures, also CVAT's mask export: one picture of the objects, and one of their classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.folders import masks_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.formats.annotations import Annotations, Size, picture_of
from hodor_cli.formats.label_png import shown_pictures
from hodor_cli.images.label_png import ids_in, voc_palette
from hodor_cli.images.paths import read_utf8
from hodor_cli.images.picture import read_stored

_OBJECTS, _CLASSES = "SegmentationObject", "SegmentationClass"


def find(path: Path) -> Path | None:
    return path if masks_in(path / _OBJECTS) or masks_in(path / _CLASSES) else None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read a set. The classes are read from SegmentationClass and labelmap.txt. Raises InputError."""
    colours = _labelmap(path / "labelmap.txt")
    of_classes = masks_in(path / _CLASSES)
    pictures, notes = [], dict[str, None]()
    of_objects = masks_in(path / _OBJECTS)
    shown = shown_pictures(path, files := of_objects or of_classes)
    for name, file in files.items():
        reader = LabelReader(path.name, check_edges=False)  # a new one, because sizes may differ and numbers start over
        labels = reader.read(file).ids
        notes.update(dict.fromkeys(reader.notes[len(reader.colour_notes) :]))
        names = _names(labels, of_classes[name], colours) if colours and name in of_classes else {}
        picture = picture_of(name, labels, shown.get(name))
        shapes = (replace(shape, name=names.get(shape.object_id, ""), key=None) for shape in picture.shapes)
        pictures.append(replace(picture, shapes=tuple(shapes)))
    bare = () if of_objects else (f"{path} has no {_OBJECTS}, so each class in a picture is read as one object",)
    return Annotations("Pascal VOC", path, pictures, notes=(*notes, *bare))


def _labelmap(path: Path) -> dict[tuple[int, ...], str]:
    """Colour -> class, from the lines `label:r,g,b:parts:actions`; empty without the file. A line without a colour gets
    the colour that Pascal VOC gives to the line's number."""
    text = read_utf8(path).decode("utf-8", "replace") if path.is_file() else ""
    lines = [line.split(":") for line in text.splitlines() if ":" in line and not line.startswith("#")]
    found: dict[tuple[int, ...], str] = {}
    for fields, usual in zip(lines, voc_palette().tolist(), strict=False):
        numbers = fields[1].split(",") if fields[1] else usual
        if len(numbers) == 3 and all(str(number).strip().isdecimal() for number in numbers):
            found[tuple(map(int, numbers))] = fields[0]
    return found


def _names(labels: NDArray[np.integer], path: Path, colours: dict[tuple[int, ...], str]) -> dict[int, str]:
    """Object id -> class: the class of most of the object's pixels in the picture of classes."""
    stored = read_stored(path, "a picture of classes")
    rgb = stored.palette[stored.values] if stored.palette is not None else stored.values
    if rgb.ndim != 3 or rgb.shape[:2] != labels.shape:
        return {}
    names = {}
    for object_id in ids_in(labels):
        inside, counts = np.unique(rgb[labels == object_id][:, :3], axis=0, return_counts=True)
        names[object_id] = colours.get(tuple(inside[counts.argmax()].tolist()), "")
    return names
