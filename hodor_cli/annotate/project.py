"""A project: a result folder of `hodor segment` that can be edited and survives a kill.

OUT/masks/NAME.png, OUT/report.json   as `hodor segment` writes them; the report is rewritten when the page is idle
OUT/.annotate/project.json            the objects' names, and the mark that ties the report to the project
OUT/.annotate/journal.jsonl           one line per changed frame; the last line of a frame is the valid one
OUT/.annotate/history/                undo and redo

A mask is written before its line in the journal, so a kill loses at most the change being written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hodor_cli.annotate.change import Change, empty_record
from hodor_cli.annotate.history import ChangeHistory, ChangeKind, HistoryStep, ObjectEntry, restore
from hodor_cli.errors import InputError, OutputError
from hodor_cli.files import append_whole, harmless, write_whole, writing
from hodor_cli.images.label_png import read_label_png
from hodor_cli.records import FrameRecord, RunIdentity, read_record
from hodor_cli.run.earlier import EarlierRun
from hodor_cli.run.output import OutputFolder, read_journal

Labels = NDArray[np.uint16]


class ProjectFile(Struct, frozen=True):
    """project.json. tracked_by: what tracked the result of `hodor segment` that the project started from, if any."""

    mark: str
    objects: tuple[ObjectEntry, ...] = ()
    tracked_by: str = ""
    format: Literal["hodor-annotation"] = "hodor-annotation"
    version: int = 1


class _Mark(Struct, frozen=True):
    annotated: str = ""


class Project:
    """Label maps and records of all frames, and the objects. Only one thread makes changes, inside `change`.

    size: (height, width) of the frames. tracked_by: see `ProjectFile`. edited: whether masks changed since opening.
    """

    def __init__(self, folder: OutputFolder, size: tuple[int, int]) -> None:
        self.folder, self.size, self.tracked_by, self.edited = folder, size, "", False
        self._own = folder.root / ".annotate"
        self.records: dict[int, FrameRecord] = {}
        self.objects: dict[int, ObjectEntry] = {}
        with saving(folder):
            self._load()
            self.history = ChangeHistory(self._own / "history")
            self._compact()
            for cut_off in self.history.unfinished:
                try:
                    Change(self, cut_off).commit()
                except OutputError:  # a power failure damaged its files; the masks themselves are intact
                    shutil.rmtree(cut_off, ignore_errors=True)

    def labels(self, index: int) -> Labels:
        """The (H, W) label map of a frame, all 0 if it has no mask. Raises InputError if the file is damaged."""
        record = self.records.get(index)
        return np.zeros(self.size, np.uint16) if record is None else self.read(self.folder.mask(record.name))

    def read(self, path: Path) -> Labels:
        """The (H, W) label map in a file, all 0 if there is no file. Raises InputError if it is damaged."""
        if not path.is_file():
            return np.zeros(self.size, np.uint16)
        try:
            labels = read_label_png(path)
            if labels.shape != self.size:
                raise InputError(f"{path} is not the size of the frames")
        except InputError as error:
            raise InputError(f"{error}; to make a new mask, remove the file") from error
        return labels

    def given_frames(self) -> list[int]:
        return sorted(index for index, record in list(self.records.items()) if record.given)

    def free_id(self) -> int:
        return next(number for number in range(1, len(self.objects) + 2) if number not in self.objects)

    @contextmanager
    def change(self, kind: ChangeKind) -> Iterator[Change]:
        """Yield a change that can be undone as a whole, even if the block raises half-way."""
        with saving(self.folder):
            change = Change(self, self.history.begin(kind, self.entries()))
            try:
                yield change
            finally:
                change.commit()

    def travel(self, way: Literal[-1, 1]) -> HistoryStep | None:
        """Undo the newest change (-1) or redo the change undone last (1), and return it; None if there is none.

        If that fails, for example because the disk is full, masks and objects stay as they were.
        """
        found = self.history.next_step(way)
        if found is None:
            return None
        path, step = found
        with saving(self.folder):
            try:
                self._bring_back(path, step, way)
                self.history.move(way)
            except (OSError, OutputError):
                with suppress(OSError, OutputError):
                    self._bring_back(path, step, -way)
                raise
        return step

    def _bring_back(self, path: Path, step: HistoryStep, way: int) -> None:
        """Restore the frames and objects of a change to their state before (-1) or after it (1)."""
        self.objects = {entry.id: entry for entry in step.objects[way > 0]}
        changed = []
        for index, before, after in step.frames:
            record = before if way < 0 else after
            known = record or self.records.get(index)
            if known is not None:
                restore(self.folder.mask(known.name), path / ("before" if way < 0 else "after"))
                changed.append(record or empty_record(known))
        self.note(*changed)
        self.save_objects()
        self.sync()

    def changed_since(self, tracked_by: str) -> dict[int, tuple[FrameRecord, Path]] | None:
        """The frames edited since the whole video was tracked, with their records and mask files from before the edits.

        None if the video was not tracked by `tracked_by`, or if other tracking or an operation on several frames has
        changed masks since.
        """
        then: dict[int, tuple[FrameRecord, Path]] = {}
        with suppress(OutputError):  # a damaged history: unknown
            for path, step in self.history.newest_first():
                if step.tracked_by:
                    return then if step.tracked_by == tracked_by else None
                if step.kind is ChangeKind.TRACK_AGAIN:
                    continue
                if len(step.frames) > 1 or (step.kind is ChangeKind.TRACK and step.frames):
                    return None
                for index, before, _ in step.frames:
                    if before is not None:
                        then[index] = before, path / "before" / self.folder.mask(before.name).name
            if self.history.complete and self.tracked_by == tracked_by:
                return then
        return None

    def note(self, *records: FrameRecord) -> None:
        """Append records of changed frames to the journal, and remove the review page, which is outdated now."""
        self.edited = True
        self.folder.review.unlink(missing_ok=True)
        for record in records:
            if _has_content(record):
                self.records[record.frame] = record
            else:
                self.records.pop(record.frame, None)
        append_whole(self._journal, b"".join(msgspec.json.encode(record) + b"\n" for record in records))

    def save_objects(self) -> None:
        write_whole(
            self._own / "project.json", msgspec.json.encode(ProjectFile(self.mark, self.entries(), self.tracked_by))
        )

    def entries(self) -> tuple[ObjectEntry, ...]:
        return tuple(entry for _, entry in sorted(self.objects.items()))

    def sync(self) -> None:
        os.fsync(self._journal.fileno())

    def close(self) -> None:
        self._journal.close()

    def _load(self) -> None:
        may_be_run = not (self._own / "project.json").exists() or self.folder.report.exists()
        if may_be_run and self.folder.state() == "unfinished":
            raise OutputError(f"{self.folder.root} holds an unfinished run of hodor segment; `resume` that first")
        saved = self._saved()
        if saved is None:  # a new project, or `segment` has since replaced the result
            shutil.rmtree(self._own, ignore_errors=True)
            self.mark = uuid.uuid4().hex
            if self.folder.report.is_file():
                earlier = EarlierRun(self.folder)
                if not self._annotated():
                    self.tracked_by = tracker_of(earlier.report)
                self.records, names = earlier.records, earlier.report.names
                self.objects = {key: ObjectEntry(key, harmless(name)[:80]) for key, name in names.items()}
        else:
            self.mark, self.tracked_by = saved.mark, saved.tracked_by
            self.objects = {entry.id: entry for entry in saved.objects}
            # Without the journal alone, all masks would be forgotten; without the folder, the report has them.
            journal = read_journal(self._own / "journal.jsonl", way_out=f"delete {self._own}")
            self.records = {record.frame: record for record in journal}
        for record in self.records.values():
            for object_id in record.objects:
                self.objects.setdefault(object_id, ObjectEntry(object_id))

    def _saved(self) -> ProjectFile | None:
        path = self._own / "project.json"
        if not path.is_file():
            return None
        saved = read_record(path, ProjectFile)
        return saved if not self.folder.report.is_file() or self._annotated() == saved.mark else None

    def _annotated(self) -> str:
        """The mark in the report; empty if `hodor segment` wrote the report."""
        return read_record(self.folder.report, _Mark).annotated

    def _compact(self) -> None:
        """Rewrite the journal with one line per frame, and open it for appending."""
        self.folder.masks.mkdir(parents=True, exist_ok=True)
        self.folder.remove_leftovers()
        lines = [msgspec.json.encode(self.records[index]) + b"\n" for index in sorted(self.records)]
        self.records = {index: record for index, record in self.records.items() if _has_content(record)}
        write_whole(self._own / "journal.jsonl", b"".join(lines))
        self.save_objects()
        self._journal = (self._own / "journal.jsonl").open("ab", buffering=0)


def saving(folder: OutputFolder) -> AbstractContextManager[None]:
    """`writing` into a project, with an error message that tells the user of the page what to do."""
    return writing(folder.root, again="repeat the last step")


def tracker_of(run: RunIdentity) -> str:
    """Identifies what tracks a video: a hash of source, weights, settings and precision."""
    settings = {name: value for name, value in run.settings.items() if name != "device"}  # `used` has the actual device
    parts = (run.source, run.weights.fingerprint, settings, run.used)
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def made_by_hand(labels: Labels, record: FrameRecord) -> Labels:
    """A frame's label map with only the objects that were made by hand."""
    return np.where(np.isin(labels, record.given), labels, 0).astype(np.uint16)


def _has_content(record: FrameRecord) -> bool:
    return bool(record.objects or record.given or record.removed)
