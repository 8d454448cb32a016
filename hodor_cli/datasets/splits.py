"""DAVIS's lists of sequences: ImageSets/YEAR/SPLIT.txt."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from hodor_cli.datasets.folders import folders

_PREFERRED = ("val", "test-dev", "test-challenge", "train")


@dataclass(frozen=True)
class Splits:
    """The splits of one year, the one that is measured by default (None: all sequences), and remarks."""

    members: dict[str, tuple[str, ...]]
    chosen: str | None
    notes: list[str]


def read_splits(root: Path, year: str, available: Container[str]) -> Splits:
    """Read the lists of `year`, or of the first other year there is. Sequences that are not on disk are left out.

    The default is the first of val, test-dev, test-challenge, train of which something is on disk.
    """
    years = {folder.name: folder for folder in folders(root / "ImageSets")}
    folder = years.get(year) or next(iter(years.values()), None)
    members: dict[str, tuple[str, ...]] = {}
    notes = []
    for file in sorted(folder.glob("*.txt")) if folder is not None else []:
        listed = _names(file)
        present = tuple(name for name in listed if name in available)
        if present:
            members[file.stem] = present
        if present and len(present) < len(listed):
            notes.append(f"{file} lists {len(listed)} sequences, of which {len(present)} are on disk")
    chosen = next((name for name in (*_PREFERRED, *members) if name in members), None)
    return Splits(members, chosen, [note for note in notes if chosen is not None and f"{chosen}.txt " in note])


def _names(file: Path) -> list[str]:
    """Sequence names; DAVIS 2016 lists every frame's files instead, /JPEGImages/480p/SEQ/00000.jpg and its mask."""
    names: dict[str, None] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if words:
            names[words[0].split("/")[-2] if "/" in words[0] else words[0]] = None
    return list(names)
