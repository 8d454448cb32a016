"""Undo and redo on disk: each change keeps hard links to the masks before and after it.

.annotate/history/000012/begun.json     the kind of change, and the objects before it
.annotate/history/000012/before.jsonl   the records before it, one line per changed frame
.annotate/history/000012/before, after  the label PNGs of these frames
.annotate/history/000012/step.json      the whole change, written last; if it is missing, the change was interrupted
.annotate/history/position              the number of changes that are in effect, that is, not undone

Mask files are replaced, never modified in place, so a hard link keeps the old pixels and takes no space.
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

from hodor_cli.files import replacing, write_whole
from hodor_cli.records import FrameRecord, ObjectId, read_record

#: How many changes can be undone.
MOST_STEPS = 200


class ChangeKind(Enum):
    """The kinds of changes. Their values are stored in the history and shown in messages."""

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
    #: Tracks only the frames that an edit by hand affects.
    TRACK_AGAIN = "tracking after a correction"


class ObjectEntry(Struct, frozen=True):
    """An entry of the object list."""

    id: ObjectId
    name: str = ""
    hidden: bool = False


class HistoryStep(Struct, frozen=True):
    """One change: its kind, each frame's record before and after it (None: no mask), and the objects before and after.

    tracked_by: what tracked the video (see `tracker_of`), if the change is tracking through the whole video that
    finished; else empty.
    """

    kind: ChangeKind = field(name="label")
    frames: tuple[tuple[int, FrameRecord | None, FrameRecord | None], ...]
    objects: tuple[tuple[ObjectEntry, ...], tuple[ObjectEntry, ...]]
    tracked_by: str = ""


class ChangeHistory:
    """The changes of a project, oldest first. unfinished: the folders of changes that were interrupted by a kill."""

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
        """Create the folder of a new change and drop the changes that were undone; they can no longer be redone."""
        self.drop_undone()
        while len(self._numbers) >= MOST_STEPS:
            shutil.rmtree(self._path(self._numbers.pop(0)), ignore_errors=True)
        self._done = len(self._numbers)
        path = self._path(self._numbers[-1] + 1 if self._numbers else 1)
        shutil.rmtree(path, ignore_errors=True)
        for folder in (path, path / "before", path / "after"):
            folder.mkdir()  # without parents: a project that was removed must not come back empty
        (path / "begun.json").write_bytes(msgspec.json.encode(HistoryStep(kind, (), (objects, objects))))
        return path

    def drop_undone(self) -> None:
        while len(self._numbers) > self._done:  # the newest first, so that a kill leaves no gap
            shutil.rmtree(self._path(self._numbers.pop()), ignore_errors=True)

    def commit(self, path: Path, step: HistoryStep) -> None:
        done = len(self._numbers) + 1
        self._save_position(done)  # first, so that a change is in effect as soon as it is complete
        write_whole(path / "step.json", msgspec.json.encode(step))
        self._numbers.append(int(path.name))
        self._done = done

    def next_step(self, way: Literal[-1, 1]) -> tuple[Path, HistoryStep] | None:
        """The change that undo (-1) would revert or redo (1) would repeat, with its folder; None if there is none."""
        position = self._done - (way < 0)
        if not 0 <= position < len(self._numbers):
            return None
        path = self._path(self._numbers[position])
        return path, read_record(path / "step.json", HistoryStep)

    @property
    def complete(self) -> bool:
        """Whether the history still has every change: none was dropped because there were too many."""
        return self._numbers[:1] in ([], [1])

    def newest_first(self) -> Iterator[tuple[Path, HistoryStep]]:
        """The changes in effect, with their folders."""
        for number in reversed(self._numbers[: self._done]):
            yield self._path(number), read_record(self._path(number) / "step.json", HistoryStep)

    def move(self, way: Literal[-1, 1]) -> None:
        """Record that the `next_step` was undone (-1) or redone (1)."""
        self._save_position(self._done + way)
        self._done += way

    def available(self) -> tuple[bool, bool]:
        """Whether there is something to undo, and something to redo."""
        return self._done > 0, self._done < len(self._numbers)

    def _save_position(self, done: int) -> None:
        write_whole(self._folder / "position", str(done).encode())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}"


def keep(file: Path, folder: Path) -> None:
    """Keep a file's current content in a folder if the file exists. Content kept earlier is not replaced."""
    target = folder / file.name
    if file.exists() and not target.exists():
        _link(file, target)


def restore(file: Path, folder: Path) -> None:
    """Restore a file's content from a folder; remove the file if the folder has none."""
    kept = folder / file.name
    if not kept.exists():
        file.unlink(missing_ok=True)
        return
    with replacing(file) as temporary:
        _link(kept, temporary)


def _link(file: Path, target: Path) -> None:
    """Create a hard link to a file, or copy it if the file system has no hard links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
