"""The history: descriptors of the last frames, a few KB in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hodor_cli.config import NUM_BACKGROUND
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.step_result import FrameDescriptors
from hodor_cli.model.types import Descriptors, History


@dataclass(frozen=True)
class HistoryEntry:
    """Descriptors of one frame: `objects` (I, D) in the order of `object_ids`, `background` (9, D) or None.

    palettes (I, K, 7) and background_palettes (9, K, 7): of given masks, see `palettes_of`; None for others. lasting:
    the entry outlives the window while it has objects. A frame may have one besides its ordinary entry.
    """

    frame: int
    object_ids: ObjectIds
    objects: Tensor
    background: Tensor | None = None
    palettes: Tensor | None = None
    background_palettes: Tensor | None = None
    lasting: bool = False

    @staticmethod
    def of(
        frame: int,
        object_ids: Sequence[int],
        descriptors: Descriptors,
        *,
        background: bool = True,
        lasting: bool = False,
        palettes: tuple[Tensor, Tensor] | None = None,
    ) -> HistoryEntry:
        """An entry from the descriptors of a batch of one; background: whether to keep the background's.

        palettes: of the objects (I, K, 7) and of the background (9, K, 7).
        """
        of_objects, of_background = palettes or (None, None)
        return HistoryEntry(
            frame=frame,
            object_ids=ObjectIds(object_ids),
            objects=descriptors.objects[0].float(),
            # Copied even if it is float32: a view would keep all of the encoder's output in memory.
            background=descriptors.background[0].to(torch.float32, copy=True) if background else None,
            palettes=of_objects,
            background_palettes=of_background if background else None,
            lasting=lasting,
        )

    def descriptors(self) -> FrameDescriptors:
        """The descriptors as arrays of their own."""
        objects = dict(zip(self.object_ids, self.objects.cpu().numpy().copy(), strict=True))
        return FrameDescriptors(objects, None if self.background is None else self.background.cpu().numpy().copy())

    def without(self, object_id: int) -> HistoryEntry | None:
        """The entry without an object; None if it then holds nothing, not even a background."""
        if object_id not in self.object_ids:
            return self
        kept = self.object_ids.without(object_id)
        if not kept and self.background is None:
            return None
        rows = self.object_ids.rows(kept)
        palettes = None if self.palettes is None else self.palettes[rows]
        return replace(self, object_ids=kept, objects=self.objects[rows], palettes=palettes)


@dataclass
class HistoryRing:
    """The entries of frames t - window .. t, oldest first; an entry for a frame replaces that frame's earlier one.

    `pinned` entries, such as those from another video, never leave. Lists are replaced, never modified in place: see
    `Followed.copy`.
    """

    window: int
    pinned: list[HistoryEntry] = field(default_factory=list)
    entries: list[HistoryEntry] = field(default_factory=list)

    def put(self, entry: HistoryEntry) -> None:
        """Add an entry of the newest frame and drop those that have left the window."""
        self.entries = [*(known for known in self.entries if known.lasting or known.frame != entry.frame), entry]
        self.advance(entry.frame)

    def advance(self, frame: int) -> None:
        """Drop entries that are outside the window of `frame`."""
        oldest = frame - self.window
        self.entries = [
            entry for entry in self.entries if entry.frame >= oldest or (entry.lasting and entry.object_ids)
        ]

    def newest(self, object_id: int) -> Tensor | None:
        """The newest descriptor (D,) of an object, or None."""
        for entry in (*reversed(self.entries), *reversed(self.pinned)):
            if object_id in entry.object_ids:
                return entry.objects[entry.object_ids.row(object_id)]
        return None

    def forget(self, object_id: int) -> None:
        """Remove an object from every entry, and entries that then hold nothing, not even a background."""
        self.pinned = [kept for entry in self.pinned if (kept := entry.without(object_id)) is not None]
        self.entries = [kept for entry in self.entries if (kept := entry.without(object_id)) is not None]

    def stacked(self, object_ids: Sequence[int]) -> History:
        """All entries as a History, batch of one, for these objects; absent descriptors are zero and masked out."""
        entries = [*self.pinned, *self.entries]
        objects = torch.stack([entry.object_ids.aligned(entry.objects, object_ids) for entry in entries])
        nothing = objects.new_zeros(NUM_BACKGROUND, objects.shape[-1])
        background = torch.stack([nothing if entry.background is None else entry.background for entry in entries])
        has_object = [[object_id in entry.object_ids for object_id in object_ids] for entry in entries]
        has_background = [entry.background is not None for entry in entries]
        complete = all(map(all, has_object)) and all(has_background)
        return History(
            objects[None],
            background[None],
            torch.tensor([has_object], dtype=torch.bool, device=objects.device),
            torch.tensor([has_background], dtype=torch.bool, device=objects.device),
            complete,
        )

    def palettes(self, object_ids: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """The palettes of all T entries that have some: of these objects (T, I, K, 7), and of the background
        (T, 9, K, 7). Those that an entry does not have are zero; None if no entry has any."""
        objects, background = [], []
        for entry in (*self.pinned, *self.entries):
            if entry.palettes is not None:
                own, scene = entry.object_ids.aligned(entry.palettes, object_ids), entry.background_palettes
                objects.append(own)
                background.append(own.new_zeros(NUM_BACKGROUND, *own.shape[1:]) if scene is None else scene)
        return (torch.stack(objects), torch.stack(background)) if objects else None
