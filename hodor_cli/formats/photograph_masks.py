"""Reads photographs in images/ with label pictures of the same names in masks/, and sets with a folder for each
photograph and a mask for each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_find import annotation_files
from hodor_cli.datasets.faults import Faults
from hodor_cli.datasets.folders import IMAGES, MASKS, first_named, masks_in, pictures_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_file import covers_edge
from hodor_cli.datasets.matching import match_names
from hodor_cli.errors import as_data_error
from hodor_cli.formats.annotations import Annotations, Picture, Shape, picture_of
from hodor_cli.formats.outlines import run_lengths
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.paths import plural, visible_folders
from hodor_cli.images.picture import read_header

_FEW = 5  # up to this many values in a mask, each is examined for separate pieces that may be objects


def read_labelled(folder: Path) -> tuple[Annotations, Faults] | None:
    """The photographs of such a set, and the faults of those that cannot be used; None for any other folder. Raises
    DataError if names cannot be matched."""
    if (places := find_masks(folder)) is not None:
        return _read_masks(folder, *places)
    folders = _find_folders(folder)
    return _read_folders(folder, folders) if folders else None


def find_masks(folder: Path) -> tuple[Path, Path] | None:
    """The folders of photographs and of their masks: images/ and masks/, or the split `train` in or above them."""
    for root in (folder, folder / "train"):
        images, masks = first_named(root, IMAGES), first_named(root, MASKS)
        if images is None or masks is None or annotation_files(root):
            continue
        for pair in ((images, masks), (images / "train", masks / "train")):
            if pictures_in(pair[0]) and (masks_in(pair[1]) or pictures_in(pair[1])):
                return pair
    return None


def _read_masks(folder: Path, images: Path, masks: Path) -> tuple[Annotations, Faults]:
    """Read the photographs that have a label picture of the same name. images, masks: the result of `find_masks`."""
    photographs, files = pictures_in(images), masks_in(masks) or pictures_in(masks)
    faults, pictures, doubts = Faults(folder), [], Counter[str]()
    with as_data_error():
        match = match_names(list(files), list(photographs))
    for name in match.unused:
        doubtful = bool(match.how or not match.frames) and len(match.unused) > len(match.frames)
        detail = "give each the name of its photograph" if doubtful else ""
        faults.add("mask without a photograph", files[name].name, detail, serious=doubtful)
    for name, frame in match.frames.items():
        file = files[name]
        with faults.noting("broken mask", file.name), as_data_error():
            labels = LabelReader(file.name).read(file).ids  # a new reader, because ids start over in each mask
            pictures.append(picture_of(name, labels, photographs[frame]))
            doubts.update(_doubts(labels))
            doubts["only the first page is used: draw all objects into one"] += read_header(file).pages > 1
    bare = len(photographs) - len(match.frames)
    kind = "photographs and their masks: each colour or value is an object"
    faults.facts.append(f"{folder} holds {kind}")
    faults.facts += [f"{masks}: {match.how}"] if match.how else []
    faults.facts += [f"{plural(bare, 'photograph')} without a mask left out"] if bare else []
    counts = ((doubt, count) for doubt, count in doubts.items() if count > len(pictures) / 2)
    faults.doubts += [f"in {count} of {len(pictures)} masks of {folder} {doubt}" for doubt, count in counts]
    return Annotations(kind, folder, pictures), faults


def _find_folders(folder: Path) -> list[Path]:
    """The sub-folders NAME with one photograph in NAME/images/ and a mask for each object in NAME/masks/ (Data Science
    Bowl 2018); empty for any other folder."""
    found = [sub for sub in visible_folders(folder) if (sub / "images").is_dir() and (sub / "masks").is_dir()]
    return found if all(len(pictures_in(sub / "images")) == 1 for sub in found) else []


def _read_folders(folder: Path, folders: list[Path]) -> tuple[Annotations, Faults]:
    """Read the photographs of `_find_folders`."""
    faults, pictures = Faults(folder), []
    kind = "a folder for each photograph, with a mask for each object"
    faults.facts.append(f"{folder} holds {kind}")
    for sub in folders:
        with faults.noting("broken mask", sub.name), as_data_error():
            (photograph,) = pictures_in(sub / "images").values()
            masks = [LabelReader(file.name).read(file).ids > 0 for file in masks_in(sub / "masks").values()]
            shapes = tuple(Shape("", run_lengths(mask)) for mask in masks if mask.any())
            if shapes:
                height, width = masks[0].shape
                pictures.append(Picture(photograph.name, (height, width), shapes, file=photograph))
    return Annotations(kind, folder, pictures), faults


def _doubts(labels: NDArray[np.integer]) -> Iterator[str]:
    """What in a label map may be unintended, as the end of a sentence."""
    if covers_edge(labels):
        yield "objects cover the whole edge of the picture: if that is the background, give it the value 0"
    if len(ids := ids_in(labels)) > _FEW:
        return
    areas = [cv2.connectedComponentsWithStats((labels == one).astype(np.uint8))[2][1:, 4] for one in ids]
    if any(np.count_nonzero(pieces >= pieces.max() / 10) > 1 for pieces in areas):
        yield "a value has separate pieces: if each is an object, give each its own value (skimage.measure.label does)"
