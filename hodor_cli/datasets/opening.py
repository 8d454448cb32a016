"""From a folder that a user names to the set to train on: photographs or clips, or a sentence on what it is instead."""

from __future__ import annotations

from pathlib import Path

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import annotations_in, find_coco, labelme_files
from hodor_cli.datasets.folders import depth, folders, pictures_in
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError
from hodor_cli.images.paths import exists, plural


def open_set(
    path: str | Path,
    annotations: str | Path | None = None,
    *,
    limits: ObjectLimits | None = None,
    resolution: str | None = None,
    split: str | None = None,
    allow_empty: bool = False,
) -> StillImages | ClipSet:
    """The photographs (COCO format) or clips (any layout of videos) of a folder, or the photographs of `annotations`,
    whose images lie in the folder.

    resolution, split: of clips, as `ClipSet` takes them. allow_empty: return a set even if nothing in it can be used.
    Raises DataError when the folder holds neither, saying what it holds and what to do, and for photographs whose
    annotations have serious faults.
    """
    found = _open(Path(path), annotations, limits, resolution, split, allow_empty)
    if isinstance(found, StillImages) and not allow_empty and (wrong := found.faults.sentence(found.annotations_file)):
        raise DataError(wrong)
    return found


def _open(
    folder: Path,
    annotations: str | Path | None,
    limits: ObjectLimits | None,
    resolution: str | None,
    split: str | None,
    allow_empty: bool,
) -> StillImages | ClipSet:
    if annotations is not None:
        return StillImages(images_dir=folder, annotations_file=annotations, limits=limits, allow_empty=allow_empty)
    if not exists(folder):
        raise DataError(f"there is no folder {folder}")
    if is_clips(folder):
        return ClipSet(folder, resolution=resolution, split=split, allow_empty=allow_empty)
    try:
        find_coco(folder)
    except DataError as error:
        raise DataError(explain_folder(folder) or str(error)) from error
    return StillImages(folder, limits=limits, allow_empty=allow_empty)


def is_clips(folder: Path) -> bool:
    """Whether a folder holds clips, and not photographs: it has folders of frames and of masks, and no COCO annotations
    lie beside them. LabelMe exports photographs as JPEGImages beside annotations.json."""
    for root in (folder, folder / "train"):
        images, masks = root / "JPEGImages", root / "Annotations"
        if depth(masks) > 0 or (depth(images) > 0 and masks.is_dir()):
            return True
        if images.is_dir() or masks.is_dir():
            return not _has_annotations(root)
    named = {sub.name.casefold() for sub in folders(folder)}
    plain = any(
        {frames, labels} <= named for frames in ("images", "frames", "imgs") for labels in ("masks", "labels", "gt")
    )
    return plain and not _has_annotations(folder) and not _has_text_labels(folder)


def explain_folder(folder: Path) -> str:
    """What a folder that is no data set holds instead, and what to do; "" when there is nothing to say."""
    if folder.is_file():
        return f"{folder} is a file: name the folder of the data set, or give its images and `annotations`"
    if labelme := labelme_files(folder):
        return (
            f"{folder} holds LabelMe's files, one for each photograph ({labelme[0].name} and so on); convert them to "
            "one COCO file (labelme2coco) and give that as `annotations`"
        )
    if any(folder.glob("*.json")) or any((folder / "annotations").glob("*.json")):
        return ""  # there are annotations: what is wrong with them is better said by whoever read them
    if _has_text_labels(folder):
        return (
            f"{folder} holds YOLO's labels (text files); export the set in COCO format, with an instances.json beside "
            "the images"
        )
    images = _names(folder)
    if not images:
        inside = [entry for entry in folders(folder) if _names(entry)]
        if not inside or any(annotations_in(entry) for entry in inside):
            return ""
        names = ", ".join(entry.name for entry in inside[:3])
        return (
            f"{folder} holds folders of images ({names}) but no annotations: photographs need an instances.json in "
            "COCO format beside them, clips the folders JPEGImages/SEQUENCE and Annotations/SEQUENCE"
        )
    endings = ", ".join(sorted({Path(name).suffix.lower() for name in images}))
    return (
        f"{folder} holds {plural(len(images), 'image')} ({endings}) but nothing that says where objects are: "
        "photographs need an instances.json in COCO format beside them; frames of a clip belong into "
        f"JPEGImages/{folder.name}/ with label PNGs of the same names in Annotations/{folder.name}/"
    )


def _has_annotations(folder: Path) -> bool:
    try:
        return annotations_in(folder) is not None
    except DataError:
        return True


def _has_text_labels(folder: Path) -> bool:
    places = [folder / "labels", folder / "train" / "labels", folder / "labels" / "train"]
    return any(place.is_dir() and any(place.glob("*.txt")) for place in places)


def _names(folder: Path) -> list[str]:
    return [file.name for file in pictures_in(folder).values()]
