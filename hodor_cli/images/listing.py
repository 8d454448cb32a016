"""The one listing of a folder of pictures: natural order, known endings, and warnings about ignored files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from hodor_cli.errors import HodorError, InputError
from hodor_cli.images.paths import listed, readable_name, summarise_files, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

#: Endings of files that are certainly not frames; they are ignored without a warning.
_SILENT_SUFFIXES = frozenset(
    {".txt", ".md", ".json", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".ini", ".log", ".db", ".npy", ".npz", ".html"}
)
_WORDS = "(?:cp_)?masks?|labels?|annotations?|segmentations?|gt"  # cp_masks: Cellpose
_MASK_WORD, _BESIDE = (  # the latter also knows words that say enough only next to a picture of the same name
    re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])", re.IGNORECASE) for words in (_WORDS, f"{_WORDS}|segs?")
)


def list_pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures of a folder in natural order, and warnings about ignored files that the user may have meant: files
    with an unknown ending, and masks among the frames. Hidden files are ignored.

    Raises `InputError` if the folder cannot be read, or if two files have the same frame name (with two endings, or in
    two Unicode forms).
    """
    names = visible_files(folder)
    files = [folder / name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    left_out = []
    unknown = [name for name in names if Path(name).suffix.lower() not in PICTURE_SUFFIXES | _SILENT_SUFFIXES]
    if files and unknown:
        left_out.append(f"{folder}: {summarise_files(unknown)} left out, which do not have the ending of a picture")
    if masks := _masks_among(files):
        some = listed((file.name for file in files if file in masks), 3)
        left_out.append(
            f"{folder}: left out as masks among the frames: {some}; rename frames, and move masks elsewhere"
        )
    return list(files_by_frame(file for file in files if file not in masks).values()), left_out


def frame_files(folder: Path, suffixes: Collection[str], error: type[HodorError] = InputError) -> dict[str, Path]:
    """Frame name -> file with one of the endings, in natural order; empty if the folder is missing. Raises `error` if
    two files have the same frame name."""
    names = visible_files(folder) if folder.is_dir() else []
    return files_by_frame((folder / name for name in names if Path(name).suffix.lower() in suffixes), error)


def files_by_frame(files: Iterable[Path], error: type[HodorError] = InputError) -> dict[str, Path]:
    """Frame name -> file, in the given order. Raises `error` if two files have the same frame name."""
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(frame_name(file), file)
        if other is not file:
            raise error(f"{file.parent} holds {other.name} and {file.name} for the same frame; move one elsewhere")
    return found


def frame_name(file: Path) -> str:
    """The name of the frame that a picture file contains: the file name without its ending, as readable text."""
    return readable_name(file.stem)


def is_called_mask(name: str) -> bool:
    """Whether the name of a file or folder contains a word for masks, as Annotations and 00000_mask do."""
    return _MASK_WORD.search(name) is not None


def _masks_among(files: Sequence[Path]) -> set[Path]:
    """The files that are masks, judged by name (00000_mask.png next to 00000.jpg, mask.png) or by content: among colour
    pictures, a file with a rare ending or name pattern (first.png next to 00000.png) and one value per pixel."""
    stems = {frame_name(file) for file in files}
    named = {file for file in files if is_called_mask(file.stem)}
    beside = {name: _BESIDE.sub("", name).strip("_-. ") for name in stems if _BESIDE.search(name)}
    masks = {file for file in files if beside.get(name := frame_name(file)) in stems - {name}}
    if 2 * len(named) < len(files):
        masks |= named
    kinds = [(kind, Counter(map(kind, files))) for kind in (_ending, _pattern)]
    usual = {counts.most_common(1)[0][0] for _, counts in kinds if counts}
    odd = [
        file
        for file in files
        if file not in masks
        and _ending(file) not in (".jpg", ".jpeg", ".jpe", ".jfif")  # masks are not stored as JPEG
        and any(4 * counts[kind(file)] <= len(files) for kind, counts in kinds)
    ]
    ordinary = next((file for file in files if {_ending(file), _pattern(file)} == usual), None)
    if odd and ordinary is not None and not may_be_mask(ordinary):
        masks |= set(filter(may_be_mask, odd))
    return masks


def _ending(file: Path) -> str:
    return file.suffix.lower()


def _pattern(file: Path) -> str:
    """The name with # for each number: equal for all files of a numbered sequence."""
    return re.sub("[0-9]+", "#", file.stem.casefold())


def may_be_mask(file: Path) -> bool:
    """Whether a file is a still picture with one value per pixel. A damaged file is reported when it is read."""
    try:
        header = read_header(file)
    except InputError:
        return False
    return header.pages == 1 and header.one_valued
