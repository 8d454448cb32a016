"""The frames kept for the correspondence cue: the newest reference frames and the previous one, nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hodor_cli.model.fpn import Maps
from hodor_cli.model.matching import Cue, KeyedMasks, Matcher, surroundings

#: Reference frames that are matched with; an object given earlier is carried by the previous frame alone.
MAX_REFERENCES = 2
#: What the largest number of a frame's keys is stored as.
KEY_PEAK = 32767


class HasMatcher(Protocol):
    """A network that may match frames, such as `Hodor`."""

    @property
    def matcher(self) -> Matcher | None:
        """What matches, or None for a model that only decodes descriptors."""


@dataclass(frozen=True)
class StoredFrame:
    """Keys (K, h, w) int16, KEY_PEAK standing for `peak`, and soft masks (I, h, w) float32, both at stride 8.

    The masks are in the order of `object_ids`. Sixteen bits keep the state at about a MB, and a key that is rounded the
    other way, because of the last bit of a float, changes no logit by 1e-3 (with eight bits some did). Rounding on the
    way in makes a resumed run equal to an uninterrupted one.
    """

    object_ids: tuple[int, ...]
    keys: Tensor
    peak: float
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

    def copy(self) -> MatchingMemory:
        """Another memory of the same frames, which are immutable."""
        memory = MatchingMemory()
        memory.previous, memory.references = self.previous, list(self.references)
        return memory

    def remember(self, maps: Maps, object_ids: list[int], masks: Tensor, *, reference: tuple[int, ...] = ()) -> None:
        """Store a frame's keys with its soft masks (I, h, w) at stride 8.

        `reference` lists the objects whose masks were given by the user in this frame.
        """
        if maps.keys is None:
            return
        peak = float(maps.keys[0].abs().amax())
        # One order in memory, too: the last bits of a matrix product depend on it.
        keys = (maps.keys[0] * (KEY_PEAK / max(peak, 1e-12))).round().to(torch.int16).contiguous()
        masks = masks.float().contiguous()
        self.previous = StoredFrame(tuple(object_ids), keys, peak, masks)
        if reference:
            rows = [object_ids.index(object_id) for object_id in reference]
            self.references.append(StoredFrame(tuple(reference), keys, peak, masks[rows]))
            del self.references[:-MAX_REFERENCES]

    def cue(self, model: HasMatcher, maps: Maps, object_ids: list[int]) -> Cue | None:
        """Masks of all objects carried to the frame of `maps`, or None when there is nothing to match with."""
        if maps.keys is None or model.matcher is None or self.previous is None:
            return None
        newest = _keyed(self.previous, object_ids)
        previous = model.matcher(maps.keys, newest, local=True)
        reference = previous  # what stays for objects whose reference frame is no longer kept
        for frame in self.references or [self.previous]:
            # On its own: where another object was given, the pixels of this one are not marked and would answer "no".
            carried = model.matcher(maps.keys, _keyed(frame, object_ids), local=False)
            known = torch.tensor([object_id in frame.object_ids for object_id in object_ids], device=carried.device)
            reference = torch.where(known[:, None, None], carried, reference)
        # Frames that do not know of each other's objects may both claim a pixel.
        reference = reference / reference.sum(dim=1, keepdim=True).clamp(min=1)
        return Cue(previous=previous, reference=reference, near=surroundings(newest.masks, model.matcher.spread))

    def forget(self, object_id: int) -> None:
        """Remove an object; reference frames that held nothing else go too."""
        if self.previous is not None:
            self.previous = _without(self.previous, object_id)
        self.references = [kept for frame in self.references if (kept := _without(frame, object_id)) is not None]


def _keyed(frame: StoredFrame, object_ids: list[int]) -> KeyedMasks:
    return KeyedMasks(frame.keys.float()[None] * (frame.peak / KEY_PEAK), frame.masks_of(object_ids)[None])


def _without(frame: StoredFrame, object_id: int) -> StoredFrame | None:
    if object_id not in frame.object_ids:
        return frame
    keep = [i for i, known in enumerate(frame.object_ids) if known != object_id]
    if not keep:
        return None
    return StoredFrame(tuple(frame.object_ids[i] for i in keep), frame.keys, frame.peak, frame.masks[keep])
