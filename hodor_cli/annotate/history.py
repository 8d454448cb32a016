"""Undo and redo on disk: each change keeps hard links to the masks before and after it.

.annotate/history/000012/begun.json     the kind of the change, and the objects before it
.annotate/history/000012/before.jsonl   the records before it, a line for each frame that changed
.annotate/history/000012/before, after  the label PNGs of these frames
.annotate/history/000012/step.json      the whole change, written last; without it the change was cut off
.annotate/history/position              the number of changes that are made and not undone

A mask file is always replaced and never rewritten, so a link takes no space and keeps the old pixels.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from hodor_cli.files import put_in_place, write_whole
from hodor_cli.run.records import FrameRecord, ObjectId, read_record

#: The number of changes that can be undone.
MOST_STEPS = 200


class ChangeKind(Enum):
    """What makes a change. The values are stored, and messages name the changes by them."""

    CLICK = "click"
    BOX = "box"
    PAINT = "paint"
    ERASE = "erase"
    FILL = "fill holes"
    LARGEST = "keep the largest piece"
    CLEAR = "removal from this frame on"
    ADD = "new object"
    RENAME = "rename"
    DELETE = "delete object"
    MERGE = "merge"
    SWAP = "swap"
    MASKS = "masks"
    TRACK = "tracking"
    #: Changes only what an edit of a mask by hand changes.
    TRACK_AGAIN = "tracking after a correction"


class ObjectEntry(Struct, frozen=True):
    """An object as the list shows it."""

    id: ObjectId
    name: str = ""
    hidden: bool = False


class HistoryStep(Struct, frozen=True):
    """One change: its kind, the frames' records before and after it (None: no mask), and the objects.

    tracked_by: of tracking that reached the end of the whole video, what tracked it.
    """

    kind: ChangeKind = field(name="label")
    frames: tuple[tuple[int, FrameRecord | None, FrameRecord | None], ...]
    objects: tuple[tuple[ObjectEntry, ...], tuple[ObjectEntry, ...]]
    tracked_by: str = ""


class ChangeHistory:
    """The changes of a project, oldest first. unfinished: the folders of changes that were cut off by a kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._numbers: list[int] = []
        self.unfinished: list[Path] = []
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and entry.name.isdigit() and (entry / "step.json").is_file():
                self._numbers.append(int(entry.name))
            elif entry.is_dir() and entry.name.isdigit() and (entry / "begun.json").is_file():
                self.unfinished.append(entry)
            elif entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
        self._done = len(self._numbers)
        with suppress(OSError, ValueError):
            self._done = min(int((folder / "position").read_text()), self._done)

    def begin(self, kind: ChangeKind, objects: tuple[ObjectEntry, ...]) -> Path:
        """Create the folder of a new change. Changes that were undone can no longer be redone."""
        for number in self._numbers[self._done :]:
            shutil.rmtree(self._path(number), ignore_errors=True)
        del self._numbers[self._done :]
        while len(self._numbers) >= MOST_STEPS:
            shutil.rmtree(self._path(self._numbers.pop(0)), ignore_errors=True)
        self._done = len(self._numbers)
        path = self._path(self._numbers[-1] + 1 if self._numbers else 1)
        shutil.rmtree(path, ignore_errors=True)
        for part in ("before", "after"):
            (path / part).mkdir(parents=True)
        (path / "begun.json").write_bytes(msgspec.json.encode(HistoryStep(kind, (), (objects, objects))))
        return path

    def commit(self, path: Path, step: HistoryStep) -> None:
        write_whole(path / "step.json", msgspec.json.encode(step))
        self._numbers.append(int(path.name))
        self._done = len(self._numbers)
        self._save_position(self._done)

    def beside(self, way: Literal[-1, 1]) -> tuple[Path, HistoryStep] | None:
        """The change that undo (-1) takes back or redo (1) makes again, with its folder."""
        position = self._done - (way < 0)
        if not 0 <= position < len(self._numbers):
            return None
        path = self._path(self._numbers[position])
        return path, read_record(path / "step.json", HistoryStep)

    @property
    def complete(self) -> bool:
        """Whether no change was forgotten because there were too many."""
        return self._numbers[:1] in ([], [1])

    def newest_first(self) -> Iterator[tuple[Path, HistoryStep]]:
        """The changes that are made, with their folders."""
        for number in reversed(self._numbers[: self._done]):
            yield self._path(number), read_record(self._path(number) / "step.json", HistoryStep)

    def move(self, way: Literal[-1, 1]) -> None:
        """Note that the change beside was undone (-1) or redone (1)."""
        self._save_position(self._done + way)
        self._done += way

    def labels(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and to redo."""
        return self._done > 0, self._done < len(self._numbers)

    def _save_position(self, done: int) -> None:
        write_whole(self._folder / "position", str(done).encode())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}"


def keep(file: Path, folder: Path) -> None:
    """Keep a file's current content in a folder, if the file exists; content that was kept earlier stays."""
    target = folder / file.name
    if target.exists() or not file.exists():
        return
    _link(file, target)


def restore(file: Path, folder: Path) -> None:
    """Give a file the content that was kept in a folder; remove it if none was."""
    kept = folder / file.name
    if not kept.exists():
        file.unlink(missing_ok=True)
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    _link(kept, temporary)
    put_in_place(temporary, file)


def _link(file: Path, target: Path) -> None:
    """Link to a file, or copy it if the file system has no links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
