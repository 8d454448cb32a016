"""The one listing of a folder of pictures: natural order, known endings, and what it leaves out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hodor_cli.errors import InputError
from hodor_cli.images.paths import readable_name, summarise_files, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

#: Endings of files that nobody takes for a frame; leaving them out needs no word.
_SILENT_SUFFIXES = frozenset(
    {".txt", ".md", ".json", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".ini", ".log", ".db", ".npy", ".npz", ".html"}
)
_LABEL_MODES = ("1", "P", "L", "I", "I;16", "I;16B")
_MASK_WORD = re.compile(r"(?<![^\W\d_])(?:masks?|labels?|annotations?|segmentations?|gt)(?![^\W\d_])", re.IGNORECASE)


@dataclass(frozen=True)
class PictureListing:
    """files: the pictures in natural order. left_out: sentences about files that are not used though they may be meant
    (unknown endings, a mask among the frames), for the caller to pass on as warnings."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()


def list_pictures(folder: Path) -> PictureListing:
    """The pictures of a folder; endings count in any case, hidden files never.

    Two files of one frame (the same name with two endings, or in two Unicode forms) raise `InputError`, as does a
    folder that cannot be read. A folder without pictures gives an empty listing.
    """
    names = visible_files(folder)
    files = [folder / name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    left_out = []
    unknown = [name for name in names if Path(name).suffix.lower() not in PICTURE_SUFFIXES | _SILENT_SUFFIXES]
    if files and unknown:
        left_out.append(f"{folder}: {summarise_files(unknown)} left out, whose ending is not one of a picture")
    masks = _masks_among(files)
    for mask in masks:
        left_out.append(
            f"{mask} looks like a mask among the frames and is left out; rename it if it is a frame, or move it to a "
            f"folder of its own"
        )
    files = [file for file in files if file not in masks]
    _require_one_file_per_frame(folder, files)
    return PictureListing(tuple(files), tuple(left_out))


def frame_name(file: Path) -> str:
    """The name of the frame in a picture file: its stem, as text."""
    return readable_name(file.stem)


def _masks_among(files: Sequence[Path]) -> set[Path]:
    """Files that are masks by their name (00000_mask.png beside 00000.jpg, mask.png), or by one value per pixel among
    colour pictures, if few others have their ending or their name's pattern (first.png among 00000.png, 00001.png)."""
    stems = {frame_name(file) for file in files}
    named = {file for file in files if _MASK_WORD.search(file.stem)}
    masks = {file for file in named if _MASK_WORD.sub("", frame_name(file)).strip("_-. ") in stems - {frame_name(file)}}
    if 2 * len(named) < len(files):
        masks |= named
    kinds = [Counter(kind(file) for file in files) for kind in (_ending, _pattern)]
    usual = {counts.most_common(1)[0][0] for counts in kinds if counts}
    odd = [
        file
        for file in files
        if file not in masks
        and _ending(file) not in (".jpg", ".jpeg", ".jpe", ".jfif")  # no format for masks
        and any(4 * counts[kind(file)] <= len(files) for counts, kind in zip(kinds, (_ending, _pattern), strict=True))
    ]
    ordinary = next((file for file in files if {_ending(file), _pattern(file)} == usual), None)
    if odd and ordinary is not None and _mode(ordinary) not in _LABEL_MODES:
        masks |= {file for file in odd if _mode(file) in _LABEL_MODES}
    return masks


def _ending(file: Path) -> str:
    return file.suffix.lower()


def _pattern(file: Path) -> str:
    """What the names of a numbered sequence have in common."""
    return re.sub("[0-9]+", "#", file.stem.casefold())


def _mode(file: Path) -> str:
    """The pixel format of a still picture; empty for one of many pages, which is no mask, and for a damaged one, which
    is reported when it is read."""
    try:
        header = read_header(file)
    except InputError:
        return ""
    return header.mode if header.pages == 1 else ""


def _require_one_file_per_frame(folder: Path, files: Sequence[Path]) -> None:
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(frame_name(file), file)
        if other is not file:
            raise InputError(
                f"{folder} holds both {other.name} and {file.name}, which would be the same frame; keep one of the two "
                f"(masks belong in a folder of their own)"
            )
