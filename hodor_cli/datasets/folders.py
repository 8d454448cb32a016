"""The contents of a data set's folder: sub-folders, pictures and masks, the sequences listed in ImageSets and in
YouTube-VOS's meta.json, and suggestions for a wrong folder or name."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from hodor_cli.datasets.labels.mask_values import MASK_SUFFIXES
from hodor_cli.datasets.matching import NameMatch, match_names
from hodor_cli.datasets.parsing import parse_json
from hodor_cli.errors import DataError, InputError, closest
from hodor_cli.images.listing import frame_files
from hodor_cli.images.paths import listed, plural, read_utf8, size_text, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header
from hodor_cli.images.spacing import evenly_spaced
from hodor_cli.records import is_report

#: Usual names of folders of images and of masks, in lower case.
IMAGES = ("images", "image", "frames", "imgs", "img", "rgb", "input", "video")
MASKS = ("masks", "mask", "labels", "label", "gt", "groundtruth", "ground_truth", "truth", "annotation")
_LOOKED_AT = 100  # pictures of a folder whose sizes are compared


def images_and_masks(root: Path) -> tuple[Path | None, Path | None]:
    """The sub-folders of images and of masks, found by name. If there are only two, one known name is enough, except in
    a result of `segment`, which has masks alone."""
    images, masks = first_named(root, ("jpegimages", *IMAGES)), first_named(root, ("annotations", *MASKS))
    inside = visible_folders(root)
    if len(inside) == 2 and (masks is None) != (images is None) and not is_report(root / "report.json"):
        other = next(folder for folder in inside if folder not in (images, masks))
        return images or other, masks or other
    return images, masks


def folders_by_name(parent: Path) -> dict[str, Path]:
    """Name in composed Unicode form -> sub-folder, in natural order, without hidden ones."""
    return {unicodedata.normalize("NFC", folder.name): folder for folder in visible_folders(parent)}


def first_named(parent: Path, names: Iterable[str]) -> Path | None:
    """The sub-folder with the first of `names` (lower case) that one has, ignoring case; None if there is none."""
    there = {folder.name.casefold(): folder for folder in visible_folders(parent)}
    return next((there[name] for name in names if name in there), None)


def pictures_in(folder: Path) -> dict[str, Path]:
    """Frame name -> image file, in natural order."""
    return frame_files(folder, PICTURE_SUFFIXES, DataError)


def require_one_size(folder: Path) -> None:
    """Raise DataError if pictures of a folder differ in size, so that they are not the frames of a clip. Of many, some
    are looked at."""
    files = list(pictures_in(folder).values())
    sizes: dict[tuple[int, int], Path] = {}
    for index in evenly_spaced(len(files), _LOOKED_AT):
        with suppress(InputError):  # a damaged picture is reported where it is read
            sizes.setdefault(read_header(files[index]).size, files[index])
    if len(sizes) > 1:
        seen = listed((f"{file.name} is {size_text(size)}" for size, file in sizes.items()), 2)
        raise DataError(
            f"{folder} holds pictures of several sizes ({seen}), not the frames of a clip; a folder of clips has "
            f"{folder.name}/NAME for each"
        )


def masks_in(folder: Path) -> dict[str, Path]:
    """Frame name -> mask file, in natural order."""
    return frame_files(folder, MASK_SUFFIXES, DataError)


def masks_of_frames(folder: Path, frames: Sequence[str]) -> tuple[dict[str, Path], NameMatch]:
    """Frame name -> mask file of a folder, and how the files were matched. Raises InputError if it is ambiguous which
    frames they belong to."""
    files = masks_in(folder)
    match = match_names(list(files), list(frames))
    return {frame: files[name] for name, frame in match.frames.items()}, match


def depth(folder: Path) -> int:
    """Number of folders between `folder` and its pictures: 0, 1 (SEQ) or 2 (RES/SEQ); also 0 without pictures."""
    if pictures_in(folder):
        return 0
    inside = visible_folders(folder)
    if any(pictures_in(sub) for sub in inside):
        return 1
    return 2 if any(pictures_in(deep) for sub in inside for deep in visible_folders(sub)) else 0


def suggestion(name: str, known: Iterable[str], there: str = "it has") -> str:
    """The end of a sentence about an unknown name: "; did you mean ...?" or `there` followed by the known names."""
    known = list(known)
    return closest(name, known) or f"; {there} {listed(known, 15)}"


def first_folders(root: Path) -> str:
    """The end of a sentence about a folder that is not a data set: the data set inside it, or the folders it has."""
    for sub in visible_folders(root):
        for place in (sub, *visible_folders(sub)):
            if (place / "Annotations").is_dir() or (place / "JPEGImages").is_dir():
                return f"; did you mean {place}?"
    names = [folder.name for folder in visible_folders(root)]
    return f"; it holds {listed(names)}" if names else "; it has no folders"


_SCORED = ("val", "test-dev", "test-challenge", "train")
_TRAINED = ("2017/train", "train", "480p/train", "2016/train")


def read_lists(root: Path) -> dict[str, tuple[str, ...]]:
    """Name of each list below ImageSets, such as "2017/train" or "train" -> the names of its sequences."""
    sets = root / "ImageSets"
    files = sorted(sets.glob("*.txt")) if sets.is_dir() else []
    files += [file for year in visible_folders(sets) for file in sorted(year.glob("*.txt"))]
    return {file.relative_to(sets).with_suffix("").as_posix(): _names(file) for file in files}


def scored_splits(
    root: Path, year: str, available: Container[str]
) -> tuple[dict[str, tuple[str, ...]], str | None, list[str]]:
    """The lists of `year`, or of the first year if that has none, without sequences that are not on disk; the name of
    the list that is scored by default (None: all sequences); and notes for the user."""
    lists = read_lists(root)
    years = [name.partition("/")[0] for name in lists if "/" in name]
    prefix = f"{year if year in years or not years else years[0]}/"
    of_year = {name.removeprefix(prefix): named for name, named in lists.items() if name.startswith(prefix)}
    present = {split: tuple(name for name in named if name in available) for split, named in of_year.items()}
    members = {split: names for split, names in present.items() if names}
    chosen = next((split for split in (*_SCORED, *members) if split in members), None)
    notes = []
    if chosen is not None and len(members[chosen]) < len(of_year[chosen]):
        file, missing = root / "ImageSets" / f"{prefix}{chosen}.txt", f"of which {len(members[chosen])} are on disk"
        notes = [f"{file} lists {plural(len(of_year[chosen]), 'sequence')}, {missing}"]
    elif chosen is None and any(of_year.values()):
        notes = [f"no sequence listed in {root / 'ImageSets' / prefix} is on disk, so all sequences are used"]
    return members, chosen, notes


def training_split(root: Path, available: Mapping[str, object]) -> tuple[str, ...]:
    """The sequences to train on: those in the training list, or all if there is none."""
    lists = read_lists(root)
    chosen = next((name for name in _TRAINED if name in lists), None)
    return tuple(available) if chosen is None else lists[chosen]


def _names(file: Path) -> tuple[str, ...]:
    """The sequences in a list. DAVIS 2016 lists each frame's files instead, /JPEGImages/480p/SEQ/00000.jpg and its
    mask."""
    names: dict[str, None] = {}
    for line in read_utf8(file, DataError).decode("utf-8", "replace").splitlines():
        parts = line.strip().strip("/").split("/")
        if parts[0]:
            names[parts[-2] if len(parts) > 1 else parts[0]] = None
    return tuple(names)


#: The categories in YouTube-VOS's training set. Seen and unseen categories are scored separately.
SEEN_CATEGORIES = frozenset({
    "airplane", "ape", "bear", "bike", "bird", "boat", "bucket", "bus", "camel", "cat", "cow", "crocodile", "deer",
    "dog", "dolphin", "duck", "eagle", "earless_seal", "elephant", "fish", "fox", "frisbee", "frog", "giant_panda",
    "giraffe", "hand", "hat", "hedgehog", "horse", "knife", "leopard", "lion", "lizard", "monkey", "motorbike",
    "mouse", "others", "owl", "paddle", "parachute", "parrot", "penguin", "person", "plant", "rabbit", "raccoon",
    "sedan", "shark", "sheep", "sign", "skateboard", "snail", "snake", "snowboard", "squirrel", "surfboard",
    "tennis_racket", "tiger", "toilet", "train", "truck", "turtle", "umbrella", "whale", "zebra",
})  # fmt: skip


class _Thing(msgspec.Struct):
    frames: list[str] | None = None
    category: str | None = None


class _Video(msgspec.Struct):
    objects: dict[Annotated[int, msgspec.Meta(ge=0)], _Thing]


class _Meta(msgspec.Struct):
    videos: dict[str, _Video]


VideoMeta = tuple[Mapping[int, frozenset[str]], Mapping[int, str]]


def read_meta(root: Path) -> dict[str, VideoMeta] | None:
    """Read meta.json: video name -> its objects (id -> names of the frames in which it is labelled) and their groups
    (id -> "seen" or "unseen").

    None without a meta.json, or if it belongs to another data set (LVOS's lists ranges of frames). Raises DataError if
    it is damaged.
    """
    path = root / "meta.json"
    if not path.is_file():
        return None
    content = parse_json(path, _Meta, "YouTube-VOS's list of videos and objects", "download it again", DataError)
    things = [thing for video in content.videos.values() for thing in video.objects.values()]
    if things and all(thing.frames is None for thing in things):
        return None
    return {name: _objects_of(video) for name, video in content.videos.items()}


def _objects_of(video: _Video) -> VideoMeta:
    named = {key: thing.category.strip().lower() for key, thing in video.objects.items() if thing.category is not None}
    groups = {key: "seen" if name.replace(" ", "_") in SEEN_CATEGORIES else "unseen" for key, name in named.items()}
    return {key: frozenset(thing.frames or ()) for key, thing in video.objects.items()}, groups
