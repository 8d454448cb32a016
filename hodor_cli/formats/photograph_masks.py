"""Reads photographs in images/ with label pictures of the same names in masks/, photographs with NAME_mask next to
NAME, and sets with a folder for each photograph and a mask for each object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_find import annotation_files
from hodor_cli.datasets.faults import DataSizeError, Faults
from hodor_cli.datasets.folders import IMAGES, MASKS, first_named, masks_in, pictures_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_file import covers_edge
from hodor_cli.datasets.matching import match_names
from hodor_cli.errors import as_data_error
from hodor_cli.formats.annotations import Annotations, Picture, Shape, picture_of
from hodor_cli.formats.outlines import run_lengths
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.paths import plural, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

_FEW = 5  # up to this many values in a mask, each is examined for separate pieces that may be objects
#: The name of a mask next to photograph [1]; _1 and so on are masks of further objects (BUSI).
_BESIDE = re.compile(r"(.+?)[ _.-]+(?:mask|label|annotation|segmentation|gt)s?(?:_\d+)?", re.IGNORECASE)


def read_labelled(folder: Path) -> tuple[Annotations, Faults] | None:
    """The photographs of such a set, and the faults of those that cannot be used; None for any other folder. Raises
    DataError if names cannot be matched."""
    if (places := find_masks(folder)) is not None:
        return _read_masks(folder, *places)
    if beside := find_beside(folder):
        return _read_beside(folder, beside)
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
    faults = Faults(folder)
    with as_data_error():
        match = match_names(list(files), list(photographs))
    for name in match.unused:
        doubtful = bool(match.how or not match.frames) and len(match.unused) > len(match.frames)
        detail = "give each the name of its photograph" if doubtful else ""
        faults.add("mask without a photograph", files[name].name, detail, serious=doubtful)
    found = _read_pairs(faults, {photographs[frame]: [files[name]] for name, frame in match.frames.items()})
    faults.facts += [f"{masks}: {match.how}"] if match.how else []
    bare = len(photographs) - len(match.frames)
    faults.facts += [f"{plural(bare, 'photograph')} without a mask left out"] if bare else []
    return found, faults


def find_beside(folder: Path) -> dict[Path, list[Path]]:
    """Photograph -> its masks, for those with a mask called NAME_mask next to NAME; empty for any other folder."""
    names = visible_files(folder) if folder.is_dir() and not annotation_files(folder) else []
    files = {Path(name).stem: folder / name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES}
    found: dict[Path, list[Path]] = {}
    for name, file in files.items():
        if (called := _BESIDE.fullmatch(name)) and called[1] in files:
            found.setdefault(files[called[1]], []).append(file)
    return found


def _read_beside(folder: Path, pairs: dict[Path, list[Path]]) -> tuple[Annotations, Faults]:
    """Read the photographs of `find_beside`."""
    faults, used = Faults(folder), {file for photograph, masks in pairs.items() for file in (photograph, *masks)}
    found = _read_pairs(faults, pairs)
    rest = [file for file in pictures_in(folder).values() if file not in used]
    lost = [file.name for file in rest if _BESIDE.fullmatch(file.stem)]
    for name in lost:
        faults.add("mask without a photograph", name, serious=False)
    bare = len(rest) - len(lost)
    faults.facts += [f"{plural(bare, 'photograph')} without a mask left out"] if bare else []
    return found, faults


def _read_pairs(faults: Faults, pairs: dict[Path, list[Path]]) -> Annotations:
    """Read photographs with one or several masks each. Adds facts and doubts to `faults`, and masks that are broken."""
    pictures, doubts = list[Picture](), Counter[str]()
    for photograph, files in pairs.items():
        with faults.noting("broken mask", files[0].name), as_data_error():
            # A new reader for each mask, because ids start over in it.
            labels, *more = masks = [LabelReader(file.name).read(file).ids for file in files]
            if any(mask.shape != labels.shape for mask in more):
                raise DataSizeError(f"the other masks of {photograph.name} are of another size")
            for mask in more:
                labels = np.where(mask > 0, mask.astype(np.int64) + labels.max(), labels)
            pictures.append(picture_of(photograph.name, labels, photograph))
            for file, mask in zip(files, masks, strict=True):
                doubts.update(_doubts(mask))
                doubts["only the first page is used: draw all objects into one"] += read_header(file).pages > 1
    kind = "photographs and their masks: each colour or value is an object"
    faults.facts.append(f"{faults.path} holds {kind}")
    counts = ((doubt, count) for doubt, count in doubts.items() if count > len(pictures) / 2)
    faults.doubts += [f"in {count} of {len(pictures)} masks of {faults.path} {doubt}" for doubt, count in counts]
    return Annotations(kind, faults.path, pictures)


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
