"""A change to a project while it is being made: it can be undone as a whole, even if the process was killed midway."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from hodor_cli.annotate.history import HistoryStep, ObjectEntry, keep
from hodor_cli.files import append_whole
from hodor_cli.images.label_png import extents, write_label_png
from hodor_cli.records import FrameRecord, ObjectRecord, read_record
from hodor_cli.run.output import read_journal

if TYPE_CHECKING:
    from hodor_cli.annotate.project import Project

Labels = NDArray[np.uint16]
#: A change of up to this many files flushes them to the disk one by one; a larger one calls `os.sync` once.
_FEW = 8


class Change:
    """A change being made: `put` writes frames; the project's `objects` may be changed as well.

    folder: a new one from `ChangeHistory.begin`, or the folder of an interrupted change, which is then continued.
    tracked_by: see `HistoryStep`.
    """

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder, self.tracked_by = project, folder, ""
        self._begun = read_record(folder / "begun.json", HistoryStep)
        self._before = {record.frame: record for record in read_journal(folder / "before.jsonl")}
        self._journal = (folder / "before.jsonl").open("ab", buffering=0)

    def put(self, record: FrameRecord, labels: Labels) -> None:
        file = self._project.folder.mask(record.name)
        if record.frame not in self._before:
            before = self._project.records.get(record.frame) or empty_record(record)
            self._before[record.frame] = before
            keep(file, self._folder / "before")
            append_whole(self._journal, msgspec.json.encode(before) + b"\n")
        write_label_png(file, labels, durable=len(self._before) <= _FEW)
        for object_id in record.objects:
            self._project.objects.setdefault(object_id, ObjectEntry(object_id))
        self._project.note(record)

    @property
    def frames(self) -> list[int]:
        return list(self._before)

    def commit(self) -> None:
        """Add the change to the history, or discard it if nothing changed."""
        self._journal.close()
        project, objects, before = self._project, self._project.entries(), self._begun.objects[0]
        if not self._before and objects == before:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        files = [project.folder.mask(record.name) for record in self._before.values()]
        for file in files:
            keep(file, self._folder / "after")
        if len(files) > _FEW and hasattr(os, "sync"):
            os.sync()
        frames = tuple((index, record, project.records.get(index)) for index, record in self._before.items())
        if objects != before:
            project.save_objects()
        project.sync()
        step = HistoryStep(self._begun.kind, frames, (before, objects), self.tracked_by)
        project.history.commit(self._folder, step)


def empty_record(record: FrameRecord) -> FrameRecord:
    """The record of the same frame without objects. It still names the files of boxes and clicks."""
    return replace(record, objects={}, given=(), removed=(), warnings=(), review=())


def edited_record(base: FrameRecord, labels: Labels, touched: Iterable[int], *, by_hand: bool = True) -> FrameRecord:
    """A frame's record after its label map was edited.

    touched: the edited objects. With `by_hand`, those visible in the frame become given, and the others are removed
    from this frame on. An object that was only painted over keeps its confidence. No visible object is removed.
    """
    objects: dict[int, ObjectRecord] = {}
    touched = set(touched)
    given, removed = set(base.given), set(base.removed)
    found = extents(labels)
    for object_id in sorted({*base.objects, *touched, *found}):
        (area, box), old = found.get(object_id, (0, None)), base.objects.get(object_id)
        (removed if area else given).discard(object_id)
        if object_id in touched and by_hand:
            (given if area else removed).add(object_id)
            if area:
                objects[object_id] = ObjectRecord(area, box, 1.0, False)
        elif area and old is not None and old.area == area:
            objects[object_id] = old
        elif area:
            known = old or ObjectRecord(area, None, 1.0, False)
            objects[object_id] = replace(known, area=area, box=box, lost=False)
        elif old is not None:
            objects[object_id] = ObjectRecord(0, None, 0.0, True)
    return replace(base, objects=objects, given=tuple(sorted(given)), removed=tuple(sorted(removed)))
