"""Label pictures, whose values are object ids: a folder with one for each frame, as in DAVIS, or a single mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hodor_cli.datasets.folders import masks_in, pictures_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.matching import match_names
from hodor_cli.formats.annotations import Annotations, Size, picture_of
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
    reader = LabelReader(path.name)
    shown = shown_pictures(path, files)
    pictures = [
        picture_of(name, reader.read(file).ids, shown.get(name), frame=place)
        for place, (name, file) in enumerate(files.items())
    ]
    return Annotations("label pictures", path, pictures, notes=tuple(reader.notes), video=path.name)


def shown_pictures(folder: Path, masks: Iterable[str]) -> dict[str, Path]:
    """Name of a mask -> the picture that it belongs to, in one of the usual sub-folders; without those missing."""
    images = next(filter(None, (pictures_in(folder / name) for name in _PICTURES)), {})
    match = match_names(list(masks), list(images)).frames if images else {}
    return {name: images[frame] for name, frame in match.items()}


def write(annotations: Annotations, out: FolderWriter, sequence: str = "") -> None:
    """Write NAME.png for each picture, whose values are object ids, in DAVIS's colours. With `out.frames`, the pictures
    of a video are written to JPEGImages/[sequence/] and the PNGs to Annotations/[sequence/], photographs to images/ and
    their PNGs to masks/."""
    below = f"/{sequence}" if sequence else ""
    of_video = annotations.video or (annotations.tracked and len({one.size for one in annotations.pictures}) == 1)
    images, masks = ("JPEGImages", "Annotations") if of_video else ("images", "masks")
    for picture in annotations.pictures:
        name = out.picture(picture, images + below)
        folder = f"{masks}{below}/" if out.frames else ""
        write_label_png(out.place(f"{folder}{Path(name).stem}.png"), picture.labels)
