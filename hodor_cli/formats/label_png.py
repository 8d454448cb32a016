"""Label pictures, whose values are object ids: a folder with one for each frame, as in DAVIS, or a single mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.folders import masks_in, pictures_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.matching import match_names
from hodor_cli.formats.annotations import Annotations, Picture, Size, shapes_of
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.label_png import write_label_png

_PICTURES = ("JPEGImages", "images", "frames")
#: Where the masks in a folder are: in masks/ for a result, in Annotations/ for an export with pictures.
_MASKS = ("", "masks", "Annotations")


def find(path: Path) -> Path | None:
    return path if path.is_file() or any(masks_in(path / name) for name in _MASKS) else None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read a folder of label pictures, with their frames if these are in JPEGImages, images or frames; or read a single
    mask with `read_mask`. Raises InputError."""
    if path.is_file():
        mask = read_mask(path)
        return Annotations("a mask", path, [picture_of(path.stem, mask.labels)], notes=tuple(mask.notes))
    files = next(filter(None, (masks_in(path / name) for name in _MASKS)), {})
    reader = LabelReader(path.name, check_edges=False)
    images = next(filter(None, (pictures_in(path / name) for name in _PICTURES)), {})
    shown = match_names(list(files), list(images)).frames if images else {}
    pictures = []
    for place, (name, file) in enumerate(files.items()):
        picture = picture_of(name, reader.read(file).ids)
        image = images[shown[name]] if name in shown else None
        pictures.append(replace(picture, frame=place, file=image, name=image.name if image else name))
    return Annotations("label pictures", path, pictures, notes=tuple(reader.notes), video=path.name)


def picture_of(
    name: str, labels: NDArray[np.integer], folder: Path | None = None, names: dict[int, str] | None = None
) -> Picture:
    """An (H, W) label map as a `Picture`. folder: where the picture itself is looked for. names: object id -> class."""
    candidates = (
        folder / place / f"{name}{ending}"
        for place in _PICTURES for ending in (".jpg", ".png", ".jpeg", ".JPG") if folder is not None
    )  # fmt: skip
    file = next(filter(Path.is_file, candidates), None)
    size = (labels.shape[0], labels.shape[1])
    return Picture(file.name if file else name, size, shapes_of(labels, names), file=file)


def write(annotations: Annotations, out: FolderWriter, sequence: str = "") -> None:
    """Write NAME.png for each picture, whose values are object ids, in DAVIS's colours. With `out.frames`, the pictures
    are written to JPEGImages/[sequence/] and the PNGs to Annotations/[sequence/]."""
    below = f"/{sequence}" if sequence else ""
    for picture in annotations.pictures:
        name = out.picture(picture, f"JPEGImages{below}")
        folder = f"Annotations{below}/" if out.frames else ""
        write_label_png(out.place(f"{folder}{Path(name).stem}.png"), picture.labels)
