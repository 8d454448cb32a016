"""Opens the data set in a folder, photographs or clips, or explains what the folder contains instead. Evaluation reads
another tool's annotations through temporary folders of label PNGs."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count
from os.path import exists
from pathlib import Path

import numpy as np

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import Photographs, PhotoObject, StillImages
from hodor_cli.datasets.coco_file import ImageEntry
from hodor_cli.datasets.coco_find import annotation_files, find_coco
from hodor_cli.datasets.dataset import Dataset, recognise
from hodor_cli.datasets.faults import Faults
from hodor_cli.datasets.folders import depth, images_and_masks, pictures_in
from hodor_cli.datasets.labels.mask_values import CELLPOSE
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.datasets.rle import Segmentation
from hodor_cli.errors import DataError, InputError, as_data_error
from hodor_cli.formats import coco, label_png, label_tiff, yolo
from hodor_cli.formats.annotations import Annotations, Key, Picture, Shape
from hodor_cli.formats.outlines import run_lengths
from hodor_cli.formats.photograph_masks import find_masks, is_labelled, read_labelled
from hodor_cli.formats.recognise import find_tool, read_annotations
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import listed, plural, require_exists, visible_folders
from hodor_cli.records import is_report


def open_set(
    path: str | Path,
    annotations: str | Path | None = None,
    *,
    limits: ObjectLimits | None = None,
    resolution: str | None = None,
    allow_empty: bool = False,
    warn: Callable[[str], object] | None = None,
) -> StillImages | ClipSet:
    """Open a data set of photographs (annotated with any known tool) or of clips (in any known layout).

    path: the folder, or a file of annotations (a COCO file, data.yaml) next to its photographs. annotations: a file
    that annotates the photographs in `path`. resolution: for clips, as in `ClipSet`. allow_empty: return a set even if
    nothing in it can be used. warn: called with sentences about missing photographs and doubtful labels.
    Raises DataError if the folder has no data set (the message says what it contains and what to do) or if the
    annotations have serious faults; InputError if a path does not exist.
    """
    images = Path(path)
    require_exists(images, "data set")
    if annotations is not None:
        require_exists(Path(annotations), "file of annotations")
    content: str | Path | Photographs | None = annotations
    if (read := _photographs(images, annotations)) is not None:
        images = images if images.is_dir() else images.parent
        content = _with_objects(*read, images)
    elif annotations is None and images.is_file() and images.suffix.lower() == ".json":
        content, images = images, images.parent.parent if images.parent.name == "annotations" else images.parent
    elif annotations is None:
        if is_clips(images):
            return ClipSet(images, resolution=resolution, allow_empty=allow_empty)
        try:
            images, content = find_coco(images)
        except DataError as error:
            raise DataError(explain_folder(images) or str(error)) from error
    found = StillImages(images, content, limits=limits, allow_empty=allow_empty)
    if not allow_empty and (wrong := found.faults.sentence()):
        raise DataError(wrong)
    if warn is not None:
        for sentence in found.faults.warnings():
            warn(sentence)
    return found


def _photographs(images: Path, annotations: str | Path | None) -> tuple[Annotations, Faults] | None:
    """Photographs annotated in any format except COCO, and the faults of those that cannot be used; None for anything
    else. Raises DataError if they cannot be read."""
    place = images if annotations is None else Path(annotations)
    if (found := find_tool(place)) is None or found.reader in (coco, label_tiff):
        return read_labelled(images) if annotations is None else None
    with as_data_error():
        read = yolo.read(found.file, training=True) if found.reader is yolo else found.read(whole=False)
    faults = Faults(place, facts=[f"{place} {read.origin}", *read.notes])
    for sentence in read.faults:
        faults.add("unreadable annotations", sentence)
    first = next(iter(read.pictures), None)
    if first is not None and first.frame is not None and not any(picture.file for picture in read.pictures):
        name = f"{Path(first.name).stem}.png"
        faults.facts.append(f"{place} annotates a video: save its frames next to it, frame {first.frame} as {name}")
    return read, faults


def _with_objects(read: Annotations, faults: Faults, folder: Path) -> Photographs:
    """The pictures of any tool with their objects. folder: the folder of the pictures."""
    numbers, entries = count(1), list[tuple[ImageEntry, list[PhotoObject]]]()
    for picture in read.pictures:
        inside = picture.file is not None and picture.file.is_relative_to(folder)
        name = picture.file.relative_to(folder).as_posix() if picture.file and inside else picture.name
        objects = [PhotoObject(next(numbers), *one) for one in _joined(picture)]
        entries.append((ImageEntry(len(entries), name, *picture.size), objects))
    classes = [shape.name or "object" for picture in read.pictures for shape in picture.shapes]
    return Photographs(faults, classes, entries)


def _joined(picture: Picture) -> Iterator[tuple[str, Segmentation]]:
    """The picture's objects: shapes with the same name and key (a group, a track) are joined to one."""
    parts: dict[tuple[str, Key], list[Shape]] = {}
    for place, shape in enumerate(picture.shapes):
        parts.setdefault((shape.name, f"#{place}" if shape.key is None else shape.key), []).append(shape)
    for (name, _), shapes in parts.items():
        polygons = [shape.segmentation for shape in shapes if isinstance(shape.segmentation, list)]
        if len(polygons) == len(shapes):
            yield name, [*chain(*polygons)]
        elif len(shapes) == 1:
            yield name, shapes[0].segmentation
        else:
            yield name, run_lengths(np.logical_or.reduce([shape.mask(picture.size) for shape in shapes]))


def is_clips(folder: Path) -> bool:
    """Whether a folder contains clips: folders of frames and of masks, and no annotations in JSON. (LabelMe exports
    photographs as JPEGImages with an annotations.json.)"""
    for root in (folder, folder / "train"):
        images, masks = root / "JPEGImages", root / "Annotations"
        if depth(masks) > 0 or (depth(images) > 0 and masks.is_dir()):
            return True
        if images.is_dir() or masks.is_dir():
            return not annotation_files(root)
    pictures, labels = images_and_masks(folder)
    if pictures is None or labels is None or not depth(pictures) or find_masks(folder) is not None:
        return False
    return not annotation_files(folder) and not _has_text_labels(folder)


def explain_folder(folder: Path) -> str:
    """A sentence that says what a folder without a data set contains and what to do; "" if unknown."""
    if folder.is_file():
        return f"{folder} is a file without annotations: give the folder of the data set, or the file that annotates it"
    if is_report(folder / "report.json"):
        way_out = f"`hodor export {shlex.quote(str(folder))} --to png --frames` writes a data set, {folder}/export/png"
        return f"{folder} is a result of `hodor segment`, without the frames; {way_out}"
    if annotation_files(folder):
        return ""  # the reader of these annotations reports what is wrong with them
    if _has_text_labels(folder):
        return f"{folder} has text files in labels/ without outlines (perhaps boxes); export segmentation"
    images, below = pictures_in(folder).values(), visible_folders(folder)
    if images:
        if annotation_files(folder.parent) or find_masks(folder.parent) is not None:
            return f"{folder} holds only images; give {folder.parent} if their annotations are there"
        if any(folder.glob("*_seg.npy")):
            return f"{folder} has {CELLPOSE}"
        endings = ", ".join(sorted({file.suffix.lower() for file in images}))
        what = f"holds {plural(len(images), 'image')} ({endings}) but nothing that says where objects are"
    elif any(annotation_files(entry) for entry in below):
        return ""
    elif inner := next((one for one in below if find_tool(one) or is_labelled(one)), None):
        return f"{folder} is not a data set itself; give one of its folders, such as {inner}"
    elif inside := [entry.name for entry in below if pictures_in(entry)]:
        what = f"holds folders of images ({listed(inside, 3)}) but no annotations"
    else:
        what = "holds no images" if any(folder.iterdir()) else "is empty"
    return (
        f"{folder} {what}: photographs need annotations such as COCO's instances.json, or images/ and masks/ with the "
        "same names, or NAME_mask.png next to NAME.jpg; clips need JPEGImages/SEQUENCE and Annotations/SEQUENCE with "
        "label PNGs named like the frames"
    )


def _has_text_labels(folder: Path) -> bool:
    places = [folder / "labels", folder / "train" / "labels", folder / "labels" / "train"]
    return any(place.is_dir() and any(place.glob("*.txt")) for place in places)


@contextmanager
def open_benchmark(path: Path) -> Iterator[Dataset]:
    """Yield the data set in a folder, or a temporary one made from another tool's file or folder.

    Raises DataError if it is not a data set, InputError if the frames of another tool's annotations are missing.
    """
    if not exists(path) or depth(path / "Annotations") > 0 or find_tool(path) is None:
        known = recognise(path)
        if not any(sequence.images for sequence in known.sequences.values()) and is_labelled(path):
            raise DataError(f"{path} holds labelled photographs, which have no score; give the frames of a video")
        yield known
        return
    found = _tracked(path)
    if (missing := next((picture for picture in found.pictures if picture.file is None), None)) is not None:
        raise InputError(f"the frame {missing.name} is not next to {path}; put the frames into images/ there")
    with tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        label_png.write(found, FolderWriter(Path(folder), frames=True), found.video or path.stem)
        yield replace(recognise(Path(folder)), root=path, layout=f"a video of {found.tool}", notes=found.notes)


@contextmanager
def mask_folder(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield a temporary folder of label PNGs with the masks of another tool's `path`, or `path` itself if it is not
    another tool's; and sentences for the user. Raises InputError if objects cannot be told apart from frame to frame.
    """
    if not exists(path) or find_tool(path) is None:
        yield path, ()
        return
    with tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        found = _tracked(path)
        label_png.write(found, FolderWriter(Path(folder)))
        yield Path(folder), found.notes


def _tracked(path: Path) -> Annotations:
    found = read_annotations(path)
    if not found.tracked:
        raise InputError(f"{path} does not say which object is which; give each a group, a track or its own name")
    return found
