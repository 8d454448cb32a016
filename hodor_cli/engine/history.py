"""The memory through a video: a ring of the last frames' descriptors, a few KB in all."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from hodor_cli.config import NUM_BACKGROUND
from hodor_cli.model.decoder import History
from hodor_cli.model.encoder import Descriptors


@dataclass(frozen=True)
class HistoryEntry:
    """Descriptors of one frame: `objects` (I, D) in the order of `object_ids`, `background` (9, D) or None."""

    frame: int
    object_ids: tuple[int, ...]
    objects: Tensor
    background: Tensor | None


class HistoryRing:
    """The entries of frames t - window .. t, oldest first; an entry for a frame replaces that frame's earlier one.

    `pinned` entries (from another video, say) never leave. Object ids are immutable: an entry names those it knows.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.pinned: list[HistoryEntry] = []
        self.entries: deque[HistoryEntry] = deque()

    def copy(self) -> HistoryRing:
        """Another ring of the same entries, which are immutable."""
        ring = HistoryRing(self.window)
        ring.pinned, ring.entries = list(self.pinned), deque(self.entries)
        return ring

    def put(self, entry: HistoryEntry) -> None:
        """Add an entry of the newest frame and drop those that have left the window."""
        if self.entries and self.entries[-1].frame == entry.frame:
            self.entries.pop()
        self.entries.append(entry)
        self.advance(entry.frame)

    def advance(self, frame: int) -> None:
        """Drop entries that are outside the window of `frame`."""
        while self.entries and self.entries[0].frame < frame - self.window:
            self.entries.popleft()

    def newest(self, object_id: int) -> Tensor | None:
        """The newest descriptor (D,) of an object, or None."""
        for entry in (*reversed(self.entries), *reversed(self.pinned)):
            if object_id in entry.object_ids:
                return entry.objects[entry.object_ids.index(object_id)]
        return None

    def forget(self, object_id: int) -> None:
        """Remove an object from every entry; entries that then hold nothing, not even a background, go too."""
        self.pinned = [kept for entry in self.pinned if (kept := _without(entry, object_id)) is not None]
        self.entries = deque(kept for entry in self.entries if (kept := _without(entry, object_id)) is not None)

    def stacked(self, object_ids: list[int]) -> History:
        """All entries as one batch-of-one History for these objects, absent descriptors zero and masked out."""
        entries = [*self.pinned, *self.entries]
        first = entries[0].objects
        channels = first.shape[-1]
        objects = first.new_zeros(1, len(entries), len(object_ids), channels)
        background = first.new_zeros(1, len(entries), NUM_BACKGROUND, channels)
        has_object = torch.zeros(1, len(entries), len(object_ids), dtype=torch.bool)
        has_background = torch.zeros(1, len(entries), dtype=torch.bool)
        wanted = tuple(object_ids)
        for t, entry in enumerate(entries):
            if entry.object_ids == wanted:
                objects[0, t] = entry.objects
                has_object[0, t] = True
            else:
                for i, object_id in enumerate(wanted):
                    if object_id in entry.object_ids:
                        objects[0, t, i] = entry.objects[entry.object_ids.index(object_id)]
                        has_object[0, t, i] = True
            if entry.background is not None:
                background[0, t] = entry.background
                has_background[0, t] = True
        complete = bool(has_object.all()) and bool(has_background.all())
        return History(objects, background, has_object.to(first.device), has_background.to(first.device), complete)

    def latest(self) -> HistoryEntry | None:
        """The newest entry, if there is one."""
        return self.entries[-1] if self.entries else None


def entry_of(frame: int, object_ids: list[int], descriptors: Descriptors, *, background: bool = True) -> HistoryEntry:
    """An entry from the encoder's output for a batch of one."""
    return HistoryEntry(
        frame=frame,
        object_ids=tuple(object_ids),
        objects=descriptors.objects[0].float(),
        background=descriptors.background[0].float() if background else None,
    )


def _without(entry: HistoryEntry, object_id: int) -> HistoryEntry | None:
    if object_id not in entry.object_ids:
        return entry
    keep = [i for i, known in enumerate(entry.object_ids) if known != object_id]
    if not keep and entry.background is None:
        return None
    return HistoryEntry(entry.frame, tuple(entry.object_ids[i] for i in keep), entry.objects[keep], entry.background)
