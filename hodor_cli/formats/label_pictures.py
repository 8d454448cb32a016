"""Label pictures: folders of PNGs as in DAVIS, Pascal VOC and CVAT's mask export, and label TIFFs of many pages. Also
writes the files of the Cell Tracking Challenge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hodor_cli.datasets.folders import masks_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.labels.mask_values import ids_in, mask_from_values
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, shapes_of
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.label_png import voc_palette, write_label_png
from hodor_cli.images.paths import read_utf8
from hodor_cli.images.picture import read_header, read_stored

_PICTURES = ("JPEGImages", "images", "frames")


def voc_folder(folder: Path) -> Path | None:
    """The folder of a Pascal VOC set with one colour per object, or else one per class; None without either."""
    return next(
        (folder / name for name in ("SegmentationObject", "SegmentationClass") if masks_in(folder / name)), None
    )


def read_voc(folder: Path) -> Annotations:
    """Read a Pascal VOC set, whose SegmentationClass and labelmap.txt give the classes. Raises InputError."""
    masks = voc_folder(folder) or folder
    colours = _labelmap(folder / "labelmap.txt")
    of_classes = masks_in(folder / "SegmentationClass") if colours else {}
    reader = LabelReader(folder.name, check_edges=False)
    pictures = []
    for name, path in masks_in(masks).items():
        labels = reader.read(path).ids
        names = _names(labels, of_classes[name], colours) if name in of_classes else {}
        picture = _picture(name, labels, folder, names)
        pictures.append(replace(picture, shapes=tuple(replace(shape, key=None) for shape in picture.shapes)))
    return Annotations("Pascal VOC", folder, pictures, notes=tuple(reader.notes))


def read_folder(masks: Path, folder: Path) -> Annotations:
    """Read the label pictures in `masks`, one for each frame, whose values are the ids of objects; the frames may be
    in JPEGImages, images or frames of `folder`. Raises InputError."""
    reader = LabelReader(folder.name, check_edges=False)
    pictures = [
        replace(_picture(name, reader.read(path).ids, folder, {}), frame=place)
        for place, (name, path) in enumerate(masks_in(masks).items())
    ]
    return Annotations("label pictures", folder, pictures, notes=tuple(reader.notes), video=folder.name)


def read_stack(path: Path) -> Annotations:
    """Read a TIFF whose pages, one whole number per pixel, are the frames' label maps. Raises InputError."""
    pictures: list[Picture] = []
    for page in range(read_header(path).pages):
        values = read_stored(path, "a label TIFF", page=page).values
        if pictures and values.shape != pictures[0].size:
            raise InputError(f"page {page} of {path} has another size than the first; a sequence has one size")
        labels = mask_from_values(values, path).labels
        pictures.append(Picture(f"{page:05d}", (labels.shape[0], labels.shape[1]), shapes_of(labels), page))
    return Annotations("a label TIFF", path, pictures, video=path.stem)


def _picture(name: str, labels: NDArray[np.integer], folder: Path, names: dict[int, str]) -> Picture:
    beside = (folder / place / f"{name}{ending}" for place in _PICTURES for ending in (".jpg", ".png", ".jpeg", ".JPG"))
    file = next(filter(Path.is_file, beside), None)
    size = (labels.shape[0], labels.shape[1])
    return Picture(file.name if file else name, size, shapes_of(labels, names), file=file)


def _labelmap(path: Path) -> dict[tuple[int, ...], str]:
    """Colour -> class, from the lines `label:r,g,b:parts:actions`; {} without the file. The class of a line without a
    colour has the one that Pascal VOC gives to the line's number."""
    text = read_utf8(path).decode("utf-8", "replace") if path.is_file() else ""
    lines = [line.split(":") for line in text.splitlines() if ":" in line and not line.startswith("#")]
    found: dict[tuple[int, ...], str] = {}
    for fields, usual in zip(lines, voc_palette().tolist(), strict=False):
        numbers = fields[1].split(",") if fields[1] else usual
        if len(numbers) == 3 and all(str(number).strip().isdecimal() for number in numbers):
            found[tuple(map(int, numbers))] = fields[0]
    return found


def _names(labels: NDArray[np.integer], path: Path, colours: dict[tuple[int, ...], str]) -> dict[int, str]:
    """The class of each object: the one that most of its pixels have in the picture of classes."""
    stored = read_stored(path, "a picture of classes")
    rgb = stored.palette[stored.values] if stored.palette is not None else stored.values
    if rgb.ndim != 3 or rgb.shape[:2] != labels.shape:
        return {}
    names = {}
    for object_id in np.unique(labels[labels > 0]).tolist():
        inside, counts = np.unique(rgb[labels == object_id][:, :3], axis=0, return_counts=True)
        names[object_id] = colours.get(tuple(inside[counts.argmax()].tolist()), "")
    return names


def write_png(annotations: Annotations, out: FolderWriter, sequence: str = "") -> None:
    """Write NAME.png for each picture: pixel values are object ids, in DAVIS's colours. With `out.frames`, the pictures
    are in JPEGImages/[sequence/] and the PNGs in Annotations/[sequence/]."""
    below = f"/{sequence}" if sequence else ""
    for picture in annotations.pictures:
        name = out.picture(picture, f"JPEGImages{below}")
        folder = f"Annotations{below}/" if out.frames else ""
        write_label_png(out.place(f"{folder}{Path(name).stem}.png"), picture.labels)


def write_ctc(annotations: Annotations, out: FolderWriter) -> None:
    """Write the Cell Tracking Challenge's mask000.tif ... (16-bit ids) and res_track.txt (id, first and last frame,
    parent). An object that returns after an absence begins a new track, whose parent is its earlier track; the parent
    of a first track is 0."""
    tracks: list[list[int]] = []
    running: dict[int, int] = {}  # object id -> place of its track
    numbers: set[int] = set()
    digits = max(3, len(str(max(0, len(annotations.pictures) - 1))))
    free = 1 + max((shape.object_id for picture in annotations.pictures for shape in picture.shapes), default=0)
    for frame, picture in enumerate(annotations.pictures):
        labels = picture.labels.copy()
        for object_id in ids_in(labels):
            place = running.get(object_id)
            if place is None or tracks[place][2] < frame - 1:
                label = object_id if object_id not in numbers else free
                free += label == free
                numbers.add(label)
                parent = 0 if place is None else tracks[place][0]
                tracks.append([label, frame, frame, parent])
                running[object_id] = len(tracks) - 1
            tracks[running[object_id]][2] = frame
            if (label := tracks[running[object_id]][0]) != object_id:
                labels[picture.labels == object_id] = label
        PIL.Image.fromarray(labels).save(out.place(f"mask{frame:0{digits}d}.tif"), compression="tiff_deflate")
    out.text("res_track.txt", "\n".join(" ".join(map(str, track)) for track in tracks))


def read_one(path: Path) -> Annotations:
    """Read one mask, as `hodor segment` reads it. Raises InputError."""
    mask = read_mask(path)
    size = (mask.labels.shape[0], mask.labels.shape[1])
    return Annotations("a mask", path, [Picture(path.stem, size, shapes_of(mask.labels))], notes=tuple(mask.notes))
