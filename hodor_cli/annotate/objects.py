"""Operations on whole objects: add, rename, hide, delete, merge, swap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace

from hodor_cli.annotate import messages as ask
from hodor_cli.annotate.change import Change, edited_record
from hodor_cli.annotate.history import ChangeKind, ObjectEntry
from hodor_cli.annotate.project import Project
from hodor_cli.annotate.telling import Teller
from hodor_cli.errors import UsageError
from hodor_cli.files import harmless
from hodor_cli.images.paths import plural


class Objects:
    """The objects of a project. Methods raise UsageError for an object that does not exist."""

    def __init__(self, project: Project, teller: Teller) -> None:
        self._project, self._teller = project, teller

    def entry(self, object_id: int) -> ObjectEntry:
        """An object as the list shows it."""
        entry = self._project.objects.get(object_id)
        if entry is None:
            raise UsageError(f"there is no object {object_id} any more; reload the page")
        return entry

    def add(self, _: ask.AddObject) -> None:
        new = self._project.free_id()
        with self._project.change(ChangeKind.ADD):
            self._project.objects[new] = ObjectEntry(new)
        self._teller.changed(select=new)

    def rename(self, asked: ask.Rename) -> None:
        name = harmless(" ".join(asked.name.split()))
        with self._project.change(ChangeKind.RENAME):
            self._project.objects[asked.object] = replace(self.entry(asked.object), name=name)
        self._teller.changed()

    def hide(self, asked: ask.Hide) -> None:
        """Hide or show an object. This changes only the page, not the masks, so undo does not take it back."""
        self._project.objects[asked.object] = replace(self.entry(asked.object), hidden=asked.hidden)
        self._project.save_objects()
        self._teller.changed()

    def delete(self, asked: ask.DeleteObject) -> None:
        self._renumber(ChangeKind.DELETE, {asked.object: 0}, f"deleted {self.title(asked.object)}")

    def merge(self, asked: ask.Merge) -> None:
        done = f"{self.title(asked.other)} is part of {self.title(asked.object)} now,"
        self._renumber(ChangeKind.MERGE, {asked.other: asked.object}, done, select=asked.object)

    def swap(self, asked: ask.Swap) -> None:
        done = f"{self.title(asked.object)} and {self.title(asked.other)} have exchanged their masks"
        self._renumber(ChangeKind.SWAP, {asked.object: asked.other, asked.other: asked.object}, done, asked.start)

    def title(self, object_id: int) -> str:
        """An object's name in a sentence."""
        return self.entry(object_id).name or f"object {object_id}"

    def _renumber(self, kind: ChangeKind, to: Mapping[int, int], done: str, start: int = 0, **more: Any) -> None:
        """Change object ids from frame `start` on, as one change; ids that nothing is changed to are gone."""
        if any(old == new for old, new in to.items()):
            raise UsageError(f"object {next(iter(to))} cannot be joined or swapped with itself; choose another")
        with self._project.change(kind) as change:
            self._relabel(change, to, start)
            for key in set(to) - set(to.values()):
                self._project.objects.pop(key)
        self._teller.frames(change.frames, **more)
        told = f"{done} in {plural(len(change.frames), 'frame')}" if change.frames else done.rstrip(",")
        self._teller.notice(f"{told}; undo takes it back")

    def _relabel(self, change: Change, to: Mapping[int, int], start: int) -> None:
        """Change object ids in all frames from `start` on; the id 0 removes an object."""
        for index, record in sorted(self._project.records.items()):
            if index < start or not (set(record.objects) | set(record.given) | set(record.removed)) & set(to):
                continue
            table = np.arange(65_536, dtype=np.uint16)
            table[list(to)] = list(to.values())
            labels = table[self._project.labels(index)]
            objects: dict[int, Any] = {}
            for key, entry in record.objects.items():
                new = to.get(key, key)
                if new and (new not in objects or objects[new].lost):
                    objects[new] = entry
            given, removed = _renamed(record.given, to), _renamed(record.removed, to)
            base = replace(record, objects=objects, given=given, removed=removed, boxes={}, review=())
            change.put(edited_record(base, labels, given, by_hand=False), labels)


def _renamed(ids: Iterable[int], to: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted({to.get(key, key) for key in ids} - {0}))
