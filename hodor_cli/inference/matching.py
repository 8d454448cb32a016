"""The frames kept for the correspondence cue: the newest reference frames and the previous one, nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hodor_cli.model.hodor import Hodor
from hodor_cli.model.fpn import Maps
from hodor_cli.model.matching import Cue, KeyedMasks

#: Reference frames that are matched with; an object given earlier is carried by the previous frame alone.
MAX_REFERENCES = 2


@dataclass(frozen=True)
class StoredFrame:
    """Keys (K, h, w) float16 and soft masks (I, h, w) float32 at stride 8, in the order of `object_ids`."""

    object_ids: tuple[int, ...]
    keys: Tensor
    masks: Tensor

    def masks_of(self, object_ids: list[int]) -> Tensor:
        """(I, h, w) for these objects, zero for those the frame does not know."""
        if self.object_ids == tuple(object_ids):
            return self.masks
        masks = self.masks.new_zeros(len(object_ids), *self.masks.shape[-2:])
        for i, object_id in enumerate(object_ids):
            if object_id in self.object_ids:
                masks[i] = self.masks[self.object_ids.index(object_id)]
        return masks


class MatchingMemory:
    """What is needed to match a frame with what came before; constant in the length of the video."""

    def __init__(self) -> None:
        self.previous: StoredFrame | None = None
        self.references: list[StoredFrame] = []

    def remember(self, maps: Maps, object_ids: list[int], masks: Tensor, *, reference: tuple[int, ...] = ()) -> None:
        """Store a frame's keys with its soft masks (I, h, w) at stride 8.

        `reference` lists the objects whose masks were given by the user in this frame.
        """
        if maps.keys is None:
            return
        # Half precision halves the state; rounding on the way in keeps a resumed run equal to an uninterrupted one.
        keys = maps.keys[0].half()
        self.previous = StoredFrame(tuple(object_ids), keys, masks.float())
        if reference:
            rows = [object_ids.index(object_id) for object_id in reference]
            self.references.append(StoredFrame(tuple(reference), keys, masks[rows].float()))
            del self.references[:-MAX_REFERENCES]

    def cue(self, model: Hodor, maps: Maps, object_ids: list[int]) -> Cue | None:
        """Masks of all objects carried to the frame of `maps`, or None when there is nothing to match with."""
        if maps.keys is None or self.previous is None:
            return None
        references = self.references or [self.previous]
        cue = model.match(maps, _keyed([self.previous], object_ids), _keyed(references, object_ids))
        if cue is None:
            return None
        known = {object_id for frame in references for object_id in frame.object_ids}
        has_reference = torch.tensor([object_id in known for object_id in object_ids], device=maps.keys.device)
        return cue._replace(reference=torch.where(has_reference[:, None, None], cue.reference, cue.previous))

    def forget(self, object_id: int) -> None:
        """Remove an object; reference frames that held nothing else go too."""
        if self.previous is not None:
            self.previous = _without(self.previous, object_id)
        self.references = [kept for frame in self.references if (kept := _without(frame, object_id)) is not None]


def _keyed(frames: list[StoredFrame], object_ids: list[int]) -> KeyedMasks:
    """Several frames below each other, as one source of matches."""
    keys = torch.cat([frame.keys.float() for frame in frames], dim=1)
    masks = torch.cat([frame.masks_of(object_ids) for frame in frames], dim=1)
    return KeyedMasks(keys[None], masks[None])


def _without(frame: StoredFrame, object_id: int) -> StoredFrame | None:
    if object_id not in frame.object_ids:
        return frame
    keep = [i for i, known in enumerate(frame.object_ids) if known != object_id]
    if not keep:
        return None
    return StoredFrame(tuple(frame.object_ids[i] for i in keep), frame.keys, frame.masks[keep])
