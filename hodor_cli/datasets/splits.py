"""Lists of sequences: ImageSets/YEAR/SPLIT.txt in DAVIS, ImageSets/SPLIT.txt elsewhere."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from hodor_cli.errors import DataError
from hodor_cli.images.paths import visible_folders

_SCORED = ("val", "test-dev", "test-challenge", "train")
_TRAINED = ("2017/train", "train", "480p/train", "2016/train")


@dataclass(frozen=True)
class Splits:
    """The splits of one year, the one that is scored by default (None: all sequences), and notes for the user."""

    members: dict[str, tuple[str, ...]]
    chosen: str | None
    notes: list[str]


def read_lists(root: Path) -> dict[str, tuple[str, ...]]:
    """Every list below ImageSets: its name, such as "2017/train" or "train", -> the names of its sequences."""
    sets = root / "ImageSets"
    files = sorted(sets.glob("*.txt")) if sets.is_dir() else []
    files += [file for year in visible_folders(sets) for file in sorted(year.glob("*.txt"))]
    return {file.relative_to(sets).with_suffix("").as_posix(): _names(file) for file in files}


def scored_splits(root: Path, year: str, available: Container[str]) -> Splits:
    """The lists of `year`, or of the first year if it has none. Sequences that are not on disk are left out."""
    lists = read_lists(root)
    years = [name.partition("/")[0] for name in lists if "/" in name]
    prefix = f"{year if year in years or not years else years[0]}/"
    members: dict[str, tuple[str, ...]] = {}
    short = {}
    for name, listed in lists.items():
        if name.startswith(prefix):
            present = tuple(member for member in listed if member in available)
            split = name.removeprefix(prefix)
            if present:
                members[split] = present
            if present and len(present) < len(listed):
                file = root / "ImageSets" / f"{name}.txt"
                short[split] = f"{file} lists {len(listed)} sequences, of which {len(present)} are on disk"
    chosen = next((name for name in (*_SCORED, *members) if name in members), None)
    return Splits(members, chosen, [short[chosen]] if chosen in short else [])


def training_split(root: Path, split: str | None, available: Mapping[str, object]) -> tuple[str, ...]:
    """The sequences to train on: those of the list `split` ("train", "2017/train"), by default of the training list, or
    all if there is none. Raises DataError if the list `split` is missing."""
    lists = read_lists(root)
    if split is not None and split not in lists:
        there = f"; there are {', '.join(lists)}" if lists else ""
        raise DataError(f"there is no list {root / 'ImageSets' / f'{split}.txt'}{there}")
    chosen = split or next((name for name in _TRAINED if name in lists), None)
    return tuple(available) if chosen is None else lists[chosen]


def _names(file: Path) -> tuple[str, ...]:
    """Sequence names; DAVIS 2016 lists every frame's files instead, /JPEGImages/480p/SEQ/00000.jpg and its mask."""
    names: dict[str, None] = {}
    # Editors on Windows start a file with a byte-order mark.
    for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        parts = (line.split() or [""])[0].strip("/").split("/")
        if parts[0]:
            names[parts[-2] if len(parts) > 1 else parts[0]] = None
    return tuple(names)
