"""Operations on whole objects: add, rename, hide, delete, merge, swap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace

from hodor_cli.annotate import messages
from hodor_cli.annotate.change import Change, edited_record
from hodor_cli.annotate.events import EventSender
from hodor_cli.annotate.history import ChangeKind, ObjectEntry
from hodor_cli.annotate.project import Project, saving
from hodor_cli.errors import UsageError
from hodor_cli.files import harmless
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.paths import plural


class Objects:
    """Changes the objects of a project. Methods raise UsageError for an object that does not exist."""

    def __init__(self, project: Project, events: EventSender) -> None:
        self._project, self._events = project, events

    def entry(self, object_id: int) -> ObjectEntry:
        entry = self._project.objects.get(object_id)
        if entry is None:
            raise UsageError(f"there is no object {object_id}; reload the page")
        return entry

    def add(self, _: messages.AddObject) -> None:
        new = self._project.free_id()
        with self._project.change(ChangeKind.ADD):
            self._project.objects[new] = ObjectEntry(new)
        self._events.changed()

    def rename(self, request: messages.Rename) -> None:
        name = harmless(" ".join(request.name.split()))
        with self._project.change(ChangeKind.RENAME):
            self._project.objects[request.object] = replace(self.entry(request.object), name=name)
        self._events.changed()

    def hide(self, request: messages.Hide) -> None:
        """Hide or show an object. This affects only the page, not the masks, so undo does not revert it."""
        self._project.objects[request.object] = replace(self.entry(request.object), hidden=request.hidden)
        with saving(self._project.folder):
            self._project.save_objects()
        self._events.changed()

    def delete(self, request: messages.DeleteObject) -> None:
        self._renumber(ChangeKind.DELETE, {request.object: 0}, f"deleted {self.title(request.object)}")

    def merge(self, request: messages.Merge) -> None:
        done = f"merged {self.title(request.other)} into {self.title(request.object)}"
        self._renumber(ChangeKind.MERGE, {request.other: request.object}, done, select=request.object)

    def swap(self, request: messages.Swap) -> None:
        done = f"swapped the masks of {self.title(request.object)} and {self.title(request.other)}"
        self._renumber(
            ChangeKind.SWAP, {request.object: request.other, request.other: request.object}, done, request.start
        )

    def title(self, object_id: int) -> str:
        """How sentences refer to an object; a name that several have is followed by the id."""
        name = self.entry(object_id).name or f"object {object_id}"
        shared = sum(entry.name == name for entry in self._project.entries()) > 1
        return f"{name} ({object_id})" if shared else name

    def _renumber(self, kind: ChangeKind, to: Mapping[int, int], done: str, start: int = 0, **more: Any) -> None:
        """Change object ids from frame `start` on, as one change. Objects whose ids no longer occur are deleted."""
        if any(old == new for old, new in to.items()):
            raise UsageError(f"object {next(iter(to))} cannot be merged or swapped with itself; choose another")
        for index in self._concerned(to, start):
            self._project.labels(index)  # raises if a mask is damaged, before any frame is changed
        with self._project.change(kind) as change:
            self._relabel(change, to, start)
            for key in set(to) - set(to.values()):
                self._project.objects.pop(key)
        self._events.frames(change.frames, **more)
        where = f" in {plural(len(change.frames), 'frame')}" if change.frames else ""
        self._events.notice(f"{done}{where}; undo reverts it")

    def _concerned(self, ids: Iterable[int], start: int) -> list[int]:
        """The frames from `start` on whose records name any of the ids."""
        found = ((index, {*it.objects, *it.given, *it.removed}) for index, it in self._project.records.items())
        return sorted(index for index, named in found if index >= start and not named.isdisjoint(ids))

    def _relabel(self, change: Change, to: Mapping[int, int], start: int) -> None:
        """Change object ids in all frames from `start` on; changing an id to 0 removes the object.

        In frame `start` the masks count as made by hand, so that tracking keeps the new ids.
        """
        for index in self._concerned(to, start):
            record = self._project.records[index]
            table = np.arange(MAX_ID + 1, dtype=np.uint16)
            table[list(to)] = list(to.values())
            labels = table[self._project.labels(index)]
            objects: dict[int, Any] = {}
            for key, entry in record.objects.items():
                new = to.get(key, key)
                if new and (new not in objects or objects[new].lost):
                    objects[new] = entry
            given, removed = _renamed(record.given, to), _renamed(record.removed, to)
            base = replace(record, objects=objects, given=given, removed=removed, review=())
            kept = 0 < index == start
            touched = set(np.unique(labels).tolist()) & set(to) if kept else given
            change.put(edited_record(base, labels, touched, by_hand=kept), labels)


def _renamed(ids: Iterable[int], to: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted({to.get(key, key) for key in ids} - {0}))
