"""The contents of a folder (sub-folders, pictures, masks), and what to suggest for a wrong one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from hodor_cli.datasets.labels.numbers import MASK_SUFFIXES
from hodor_cli.errors import DataError
from hodor_cli.images.listing import files_by_frame
from hodor_cli.images.paths import listed, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES


def folders_by_name(parent: Path) -> dict[str, Path]:
    """Name in the composed Unicode form -> sub-folder, in natural order, without hidden ones."""
    return {unicodedata.normalize("NFC", folder.name): folder for folder in visible_folders(parent)}


def pictures_in(folder: Path) -> dict[str, Path]:
    """Frame name -> image file, in natural order."""
    return _files(folder, PICTURE_SUFFIXES)


def masks_in(folder: Path) -> dict[str, Path]:
    """Frame name -> mask file, in natural order."""
    return _files(folder, MASK_SUFFIXES)


def depth(folder: Path) -> int:
    """Number of levels between `folder` and its pictures: 0, 1 (SEQ) or 2 (RES/SEQ); 0 also without pictures."""
    if pictures_in(folder):
        return 0
    inside = visible_folders(folder)
    if any(pictures_in(sub) for sub in inside):
        return 1
    return 2 if any(pictures_in(deep) for sub in inside for deep in visible_folders(sub)) else 0


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: "; did you mean ...?" or the known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; it has {listed(known, 8)}"


def first_folders(root: Path) -> str:
    """The end of a sentence about a folder that is no data set: the data set below it, or what it holds."""
    for sub in visible_folders(root):
        for place in (sub, *visible_folders(sub)):
            if (place / "Annotations").is_dir() or (place / "JPEGImages").is_dir():
                return f"; did you mean {place}?"
    names = [folder.name for folder in visible_folders(root)]
    if not names:
        return "; it has no folders"
    return f"; it holds {listed(names)}"


def _files(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Frame name -> file. Raises DataError if two files have the name of one frame."""
    if not folder.is_dir():
        return {}
    names = [name for name in visible_files(folder) if Path(name).suffix.lower() in suffixes]
    return files_by_frame((folder / name for name in names), DataError)
