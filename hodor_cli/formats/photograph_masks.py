"""Photographs in images/ whose objects are label pictures of the same names in masks/."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_find import has_annotations
from hodor_cli.datasets.folders import masks_in, masks_of_frames, pictures_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_values import ids_in
from hodor_cli.datasets.report import Faults
from hodor_cli.errors import DataError, as_data_error
from hodor_cli.formats.annotations import Annotations, Picture, shapes_of
from hodor_cli.images.paths import plural, summarise_files, visible_files, visible_folders

#: Names of the folders of plain pictures and of their masks.
IMAGES = ("images", "image", "imgs", "img", "frames")
MASKS = ("masks", "mask", "labels", "gt", "groundtruth", "ground_truth")
_FEW = 5  # values of a mask whose pieces are counted; with more, each is an object


def find_masks(folder: Path) -> tuple[Path, Path] | None:
    """The folders of photographs and of their masks: images/ and masks/, or what they hold of the split train."""
    for root in (folder, folder / "train"):
        named = {sub.name.casefold(): sub for sub in visible_folders(root)}
        images = next((named[name] for name in IMAGES if name in named), None)
        masks = next((named[name] for name in MASKS if name in named), None)
        if images is None or masks is None or has_annotations(root):
            continue
        for pair in ((images, masks), (images / "train", masks / "train")):
            if pictures_in(pair[0]) and (masks_in(pair[1]) or pictures_in(pair[1])):
                return pair
    return None


def read_masks(folder: Path, images: Path, masks: Path) -> tuple[Annotations, Faults]:
    """The photographs of a set that have a label picture of the same name, and what is wrong with others.

    folder: of the set. images, masks: as `find_masks` gives them. Raises DataError where names cannot be matched.
    """
    photographs, faults, pictures, scattered = pictures_in(images), Faults(folder), [], 0
    if not (files := masks_in(masks)):
        held = summarise_files(visible_files(masks))
        raise DataError(f"{masks} holds {held}, which change the values of masks; export the masks as PNG")
    with as_data_error():
        labelled, notes = masks_of_frames(masks, list(photographs))
    if len(labelled) < len(files) and not set(labelled) <= set(files):
        detail = f"only {len(labelled)} of {len(files)} belong to a photograph by a likely reading of their names"
        faults.add("names of masks", masks.name, f"{detail}; give each the name of its photograph")
    for name, file in labelled.items():
        with faults.noting("broken mask", file.name), as_data_error():
            labels = LabelReader(file.name).read(file).ids  # a reader for each: colours and ids begin anew
            size = labels.shape[0], labels.shape[1]
            pictures.append(Picture(file.name, size, shapes_of(labels), file=photographs[name]))
            scattered += _has_scattered_object(labels)
    bare = len(photographs) - len(labelled)
    faults.facts += [f"{folder} holds photographs and their masks: each colour or value is an object", *notes]
    faults.facts += [f"{plural(bare, 'photograph')} without a mask left out"] if bare else []
    if scattered > len(pictures) / 2:
        faults.facts.append(
            f"in {scattered} of {len(pictures)} masks a value has separate pieces: if each piece is an object, give "
            "each a value of its own, as skimage.measure.label does"
        )
    return Annotations("label pictures", folder, pictures), faults


def _has_scattered_object(labels: NDArray[np.integer]) -> bool:
    """Whether one of the few values of a label map has three pieces of similar size, as where it means a class."""
    if len(ids := ids_in(labels)) > _FEW:
        return False
    areas = [cv2.connectedComponentsWithStats((labels == one).astype(np.uint8))[2][1:, 4] for one in ids]
    return any(np.count_nonzero(pieces >= pieces.max() / 10) >= 3 for pieces in areas)
