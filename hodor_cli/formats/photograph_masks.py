"""Reads photographs in images/ with masks of their names in masks/, photographs with NAME_mask next to NAME, and sets
with a folder for each photograph and its masks. A photograph has one mask, or one for each object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_find import annotation_files
from hodor_cli.datasets.faults import DataSizeError, Faults
from hodor_cli.datasets.folders import IMAGES, MASKS, first_named, masks_in, pictures_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_file import covers_edge
from hodor_cli.datasets.labels.mask_values import CELLPOSE
from hodor_cli.datasets.matching import match_names
from hodor_cli.errors import DataError, as_data_error
from hodor_cli.formats.annotations import Annotations, Picture, picture_of, shapes_of
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.listing import may_be_mask
from hodor_cli.images.paths import plural, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

_FEW = 5  # up to this many values in a mask, each is examined for separate pieces that may be objects
_WORD = r"(?:(?:cp_)?masks?|labels?|annotations?|segmentations?|segs?|gts?)(?:_?\d+)?"
#: The name of a mask next to photograph [1]; _1 and so on are masks of further objects (BUSI, Cellpose).
_BESIDE = re.compile(rf"(?:(.+?)[ _.-]+)?{_WORD}", re.IGNORECASE)
#: The name of one of several masks of photograph [1], where only masks are expected.
_NUMBERED = re.compile(rf"(?:(.+?)[ _.-]+)?(?:{_WORD}|\d+)", re.IGNORECASE)
#: The end of a photograph's name, such as _image, where the names of its masks have a word for masks instead.
_PHOTOGRAPH = re.compile(rf"(?:^|[ _.-]+)(?:{'|'.join(IMAGES)})$", re.IGNORECASE)
_SHARED = "photographs and their masks: each colour or value is an object"
_OWN = "a folder for each photograph, with its masks"


def read_labelled(folder: Path) -> tuple[Annotations, Faults] | None:
    """The photographs of such a set, and the faults of those that cannot be used; None for any other folder. Raises
    DataError if names cannot be matched."""
    faults, kind, unread = Faults(folder), _SHARED, ""
    if (places := find_masks(folder)) is not None:
        pairs, bare = _match(faults, *places)
    elif pairs := find_beside(folder):
        used = {*pairs, *chain.from_iterable(pairs.values())}
        rest = [file for file in pictures_in(folder).values() if file not in used]
        lost = [file.name for file in rest if _BESIDE.fullmatch(file.stem)]
        for name in lost:
            faults.add("mask without a photograph", name, serious=False)
        bare = len(rest) - len(lost)
        unread = f"; there is {CELLPOSE}" * any(file.with_name(f"{file.stem}_seg.npy").is_file() for file in rest)
    elif folders := _find_folders(folder):
        kind, pairs = _OWN, dict(chain.from_iterable(own.items() for own in folders.values()))
        bare = sum(1 for sub in visible_folders(folder) if sub not in folders and pictures_in(sub))
    else:
        return None
    faults.facts = [f"{folder} holds {kind}", *faults.facts]
    faults.facts += [f"{plural(bare, 'photograph')} without a mask left out{unread}"] if bare else []
    return _read_pairs(faults, pairs, kind), faults


def is_labelled(folder: Path) -> bool:
    """Whether `read_labelled` reads this folder."""
    return bool(find_masks(folder) or find_beside(folder) or _find_folders(folder))


def find_masks(folder: Path) -> tuple[Path, Path] | None:
    """The folders of photographs and of their masks: images/ and masks/, or the split `train` in or above them."""
    for root in (folder, folder / "train"):
        images, masks = first_named(root, IMAGES), first_named(root, MASKS)
        if images is None or masks is None or annotation_files(root):
            continue
        for pair in ((images, masks), (images / "train", masks / "train")):
            photographs = pictures_in(pair[0])
            if photographs and (masks_in(pair[1]) or pictures_in(pair[1]) or _in_folders(pair[1], photographs)):
                return pair
    return None


def _match(faults: Faults, images: Path, masks: Path) -> tuple[dict[Path, list[Path]], int]:
    """Photograph -> its masks in the folders that `find_masks` found, and the number of photographs without one."""
    photographs, files = pictures_in(images), masks_in(masks) or pictures_in(masks)
    pairs = {} if files.keys() & photographs.keys() else _masks_of(photographs, files, _NUMBERED)
    how = ""
    if not files:
        pairs = _in_folders(masks, photographs)
    elif all(len(several) == 1 for several in pairs.values()):
        with as_data_error():
            match = match_names(list(files), list(photographs))
        pairs, how = {photographs[frame]: [files[name]] for name, frame in match.frames.items()}, match.how
    used = {*chain.from_iterable(pairs.values())}
    unused = [file.name for file in files.values() if file not in used]
    doubtful = bool(how or not pairs) and len(unused) > len(used)
    for name in unused:
        detail = "give each the name of its photograph" if doubtful else ""
        faults.add("mask without a photograph", name, detail, serious=doubtful)
    faults.facts += [f"{masks}: {how}"] if how else []
    return pairs, len(photographs) - len(pairs)


def _in_folders(masks: Path, photographs: Mapping[str, Path]) -> dict[Path, list[Path]]:
    """Photograph -> its masks in the sub-folder of `masks` that has its name."""
    named = {sub.name: list(masks_in(sub).values()) for sub in visible_folders(masks) if sub.name in photographs}
    return {photographs[name]: files for name, files in named.items() if files}


def _masks_of(
    photographs: Mapping[str, Path], files: Mapping[str, Path], pattern: re.Pattern[str]
) -> dict[Path, list[Path]]:
    """Photograph -> its masks, for those whose names have it as `pattern`'s first group."""
    known = {_PHOTOGRAPH.sub("", name): file for name, file in photographs.items()} | dict(photographs)
    found: dict[Path, list[Path]] = {}
    for name, file in files.items():
        if (called := pattern.fullmatch(name)) and (photograph := known.get(called[1] or "")):
            found.setdefault(photograph, []).append(file)
    return found


def find_beside(folder: Path) -> dict[Path, list[Path]]:
    """Photograph -> its masks, for those with NAME_mask next to NAME, or with masks NAME_1 and so on of one value per
    pixel next to a photograph in colour; empty for any other folder."""
    names = visible_files(folder) if folder.is_dir() and not annotation_files(folder) else []
    files = {Path(name).stem: folder / name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES}
    if found := _masks_of(files, files, _BESIDE):
        return found
    found = _masks_of(files, files, _NUMBERED)
    masks = chain.from_iterable(found.values())
    return found if all(map(may_be_mask, masks)) and not any(map(may_be_mask, found)) else {}


def _find_folders(folder: Path) -> dict[Path, dict[Path, list[Path]]]:
    """Sub-folder -> its only photograph -> the masks of that: NAME/image.png and NAME/mask.png, or NAME/images/ and a
    mask for each object in NAME/masks/ (Data Science Bowl 2018); empty for any other folder."""
    found = {}
    for sub in [] if annotation_files(folder) else visible_folders(folder):
        masks = list(masks_in(sub / "masks").values())
        photographs = (pictures_in(sub / "images") or pictures_in(sub)).values() if masks else ()
        pairs = dict.fromkeys(photographs, masks) or find_beside(sub)
        if len(pairs) > 1:
            return {}
        if pairs:
            found[sub] = pairs
    return found


def _read_pairs(faults: Faults, pairs: dict[Path, list[Path]], kind: str) -> Annotations:
    """Read photographs with one or several masks each. Adds facts and doubts to `faults`, and masks that are broken."""
    pictures, doubts = list[Picture](), Counter[str]()
    for photograph, files in pairs.items():
        where = files[0].relative_to(faults.path).parts[0] if kind == _OWN else files[0].name
        with faults.noting("broken mask", where), as_data_error():
            # A new reader for each mask, because ids start over in it.
            masks = [LabelReader(file.name).read(file).ids for file in files]
            if any(mask.shape != masks[0].shape for mask in masks):
                raise DataSizeError(f"the other masks of {photograph.name} are of another size")
            pages = max(read_header(file).pages for file in files)
            if pages > 1 and read_header(photograph).pages > 1:
                how = "`hodor segment IMAGE --mask MASK -o R` and `hodor export R --to coco --frames`"
                raise DataError(f"{photograph.name} and its mask are stacks of pages; save each page as a file: {how}")
            picture = picture_of(photograph.name, masks[0], photograph)
            if len(masks) == 1:
                doubts.update(_doubts(masks[0]))
            else:  # objects may overlap
                shapes = enumerate((shape for mask in masks for shape in shapes_of(mask)), start=1)
                numbered = tuple(replace(shape, key=number, object_id=number) for number, shape in shapes)
                picture = replace(picture, shapes=numbered)
            if kind == _OWN:
                picture = replace(picture, name=photograph.relative_to(faults.path).as_posix())
            pictures.append(picture)
            doubts["only the first page is used: draw all objects into one"] += pages > 1
    counts = ((doubt, count) for doubt, count in doubts.items() if count > len(pictures) / 2)
    faults.doubts += [f"in {count} of {len(pictures)} masks of {faults.path} {doubt}" for doubt, count in counts]
    return Annotations(kind, faults.path, pictures)


def _doubts(labels: NDArray[np.integer]) -> Iterator[str]:
    """What in a label map may be unintended, as the end of a sentence."""
    if covers_edge(labels):
        yield "objects cover the whole edge of the picture: if that is the background, give it the value 0"
    if len(ids := ids_in(labels)) > _FEW:
        return
    areas = [cv2.connectedComponentsWithStats((labels == one).astype(np.uint8))[2][1:, 4] for one in ids]
    if any(np.count_nonzero(pieces >= pieces.max() / 10) > 1 for pieces in areas):
        yield "a value has separate pieces: if each is an object, give each its own value (skimage.measure.label does)"
