"""The frames kept for the correspondence cue: the newest reference frames, a recent one and the previous one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.engine.objects import ObjectIds
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import FEW, Matcher, at_most_one, with_recent
from hodor_cli.model.region import Region
from hodor_cli.model.types import Cue, KeyedMasks, Maps
from hodor_cli.runtime.preprocess import Geometry

#: How many reference frames are kept; an object given before them is carried by the previous frame alone.
MAX_REFERENCES = 2
#: Interval, in frames, at which the newest frame becomes the recent one. On six clips that were kept out of training,
#: J&F was 83.1 without a recent frame; 84.7, 84.9 and 84.7 with intervals of 5, 10 and 20; and 84.7 with three recent
#: frames.
RECENT = 10
#: The recent frame is also renewed when an object with more than `FEW` cells in it has grown by this factor since: an
#: earlier frame shows too little of what has come near. On six composites in which objects grow for 20 frames, J is
#: 0.807 instead of 0.764; with a factor of 1.6 it is 0.809, but other composites lose 0.007.
_GROWN = 2.0
#: The int16 value that stands for the largest magnitude in a frame's keys.
KEY_PEAK = 32767


@dataclass(frozen=True)
class StoredFrame:
    """Keys (K, h, w) int16, in which KEY_PEAK stands for `peak`, and soft masks (I, h, w) float32, both at stride 8.

    The masks are in the order of `object_ids`. With sixteen bits the state takes about 2 MB, and a key that is rounded
    the other way because the last bit of a float differs changes no logit by 1e-3 (with eight bits some changed). Keys
    are rounded when they are stored, so that a resumed run equals an uninterrupted one.
    """

    object_ids: ObjectIds
    keys: Tensor
    peak: float
    masks: Tensor

    def keyed_masks(self, object_ids: Sequence[int]) -> KeyedMasks:
        """Keys and masks for these objects, as a batch of one; objects that the frame does not have get zero masks."""
        masks, _ = self.object_ids.aligned(self.masks, object_ids)
        return KeyedMasks(self.keys.float()[None] * (self.peak / KEY_PEAK), masks[None])

    @cached_property
    def areas(self) -> dict[int, float]:
        """The area of each object's mask, in cells."""
        return dict(zip(self.object_ids, self.masks.flatten(1).sum(dim=1).tolist(), strict=True))

    def resized(self, old: Geometry, new: Geometry, matcher: Matcher) -> StoredFrame:
        """The frame in another working resolution."""
        keys = matcher.unit(self.keyed_masks(self.object_ids).keys)
        masks = _resampled(self.masks[None], old, new)[0]
        height, width = (-(-side // 8) for side in new.scaled)
        masks[:, height:], masks[:, :, width:] = 0, 0  # the padding shows nothing
        return _stored(self.object_ids, matcher.unit(_resampled(keys, old, new))[0], masks)

    def without(self, object_id: int) -> StoredFrame | None:
        """The frame without an object; None if it has no other."""
        if object_id not in self.object_ids:
            return self
        kept = self.object_ids.without(object_id)
        return replace(self, object_ids=kept, masks=self.masks[self.object_ids.rows(kept)]) if kept else None


class Carried(NamedTuple):
    """Masks (1, I, h, w) of these objects, carried from a stored frame to another by matching with all of it."""

    source: StoredFrame
    object_ids: tuple[int, ...]
    masks: Tensor

    @staticmethod
    def of(matcher: Matcher, maps: Maps, source: StoredFrame, object_ids: Sequence[int]) -> Carried:
        """Match the frame with these maps with a stored one."""
        assert maps.keys is not None
        masks = matcher.anywhere(maps.keys, source.keyed_masks(object_ids))
        return Carried(source, tuple(object_ids), masks)


def stored_frame(maps: Maps, object_ids: Sequence[int], masks: Tensor) -> StoredFrame | None:
    """A frame's keys with its soft masks (I, h, w) at stride 8; None for a model that does not match."""
    return None if maps.keys is None else _stored(ObjectIds(object_ids), maps.keys[0], masks)


def _stored(object_ids: ObjectIds, keys: Tensor, masks: Tensor) -> StoredFrame:
    """Unit-length keys (K, h, w) and soft masks (I, h, w), in the form in which they are kept."""
    peak = float(keys.abs().amax())
    # Contiguous, because the last bits of a matrix product depend on the order in memory.
    rounded = (keys * (KEY_PEAK / max(peak, 1e-12))).round().to(torch.int16).contiguous()
    return StoredFrame(object_ids, rounded, peak, masks.float().contiguous())


def _resampled(maps: Tensor, old: Geometry, new: Geometry) -> Tensor:
    """Maps (1, C, h, w) at stride 8, resampled from one geometry to the cells of another; bilinear."""
    axes = []
    for side in (1, 0):
        cells = torch.arange(new.padded[side] // 8, device=maps.device) + 0.5
        # `grid_sample` counts from -1 to 1 between the outer edges of the first and the last cell.
        axes.append(cells * (16 * old.scaled[side] / (new.scaled[side] * old.padded[side])) - 1)
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1)[None]
    return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass
class MatchingMemory:
    """The frames to match a new frame with; constant in the length of the video.

    recent: a frame that shows what objects have come to look like. age: how many frames have been remembered. weights:
    how much each reference counts, by object id; if None, an object's newest reference counts alone. Lists are
    replaced, never modified in place: see `Followed.copy`.
    """

    previous: StoredFrame | None = None
    recent: StoredFrame | None = None
    age: int = 0
    references: list[StoredFrame] = field(default_factory=list)
    weights: list[Mapping[int, float]] | None = None

    def remember(
        self, maps: Maps, object_ids: Sequence[int], masks: Tensor, *, reference: tuple[int, ...] = ()
    ) -> None:
        """Store a frame's keys with its soft masks (I, h, w) at stride 8.

        `reference` lists the objects whose masks were given by the user in this frame.
        """
        self.previous = stored_frame(maps, object_ids, masks)
        if self.previous is None:
            return
        if self.age and (self.age % RECENT == 0 or self._outgrown(self.previous)):
            self.recent = self.previous
        self.age += 1
        if reference:
            given = self.previous.masks[self.previous.object_ids.rows(reference)]
            newest = replace(self.previous, object_ids=ObjectIds(reference), masks=given)
            self.references = [*self.references, newest][-MAX_REFERENCES:]

    def resized(self, old: Geometry, new: Geometry, matcher: Matcher | None) -> MatchingMemory:
        """The same frames in another working resolution."""
        if matcher is None:
            return self

        def at(frame: StoredFrame | None) -> StoredFrame | None:
            return None if frame is None else frame.resized(old, new, matcher)

        references = [frame.resized(old, new, matcher) for frame in self.references]
        return replace(self, previous=at(self.previous), recent=at(self.recent), references=references)

    def _outgrown(self, frame: StoredFrame) -> bool:
        """Whether an object is so much larger than in the newest lasting frame that this one is out of date."""
        if not self.lasting:
            return False
        before = {key: area for key, area in self.lasting[-1].areas.items() if area > FEW}
        return any(area > _GROWN * before.get(key, math.inf) for key, area in frame.areas.items())

    @property
    def lasting(self) -> list[StoredFrame]:
        """The stored frames that most steps do not replace."""
        return self.references if self.recent is None else [*self.references, self.recent]

    def has_given(self, object_id: int) -> bool:
        """Whether a reference frame of the object is still kept."""
        return any(object_id in frame.object_ids for frame in self.references)

    def cue(
        self,
        model: Hodor,
        maps: Maps,
        object_ids: Sequence[int],
        ready: Sequence[Carried] = (),
        region: Region | None = None,
    ) -> Cue | None:
        """Masks of all objects, carried to the frame with these maps; None if there is nothing to match with.

        ready: masks carried to this frame in advance, used where they are from the same stored frame and objects.
        region: the part of the frame to which masks are carried from the previous frame; None for all of it.
        """
        if maps.keys is None or model.matcher is None or self.previous is None:
            return None

        def carried_from(frame: StoredFrame) -> Tensor:
            for known in ready:
                if known.source is frame and known.object_ids == tuple(object_ids):
                    return known.masks
            return Carried.of(matcher, maps, frame, object_ids).masks

        matcher = model.matcher
        previous, matched = matcher.nearby(maps.keys, self.previous.keyed_masks(object_ids), region)
        reference = previous  # stays for objects whose reference frame is no longer kept
        counted = torch.zeros(len(object_ids), 1, 1, device=previous.device)
        for number, frame in enumerate(self.references or [self.previous]):
            # Frames are matched one by one: in another object's frame, this one's pixels are unmarked and would say no.
            carried = carried_from(frame)
            weight = carried.new_tensor([self._weight(number, frame, object_id) for object_id in object_ids])
            weight = weight[:, None, None]
            counted = counted + weight if self.weights else (weight > 0).float()
            reference = torch.where(
                weight > 0, reference + (carried - reference) * (weight / counted.clamp(min=1e-9)), reference
            )
        given = at_most_one(reference)  # frames with different objects may claim the same pixel
        if self.recent is None:
            return Cue(previous, given, matched=matched)
        areas: dict[int, float] = {}
        for frame in self.references:
            areas |= frame.areas
        given_areas = reference.new_tensor([[areas.get(object_id, 0.0) for object_id in object_ids]])
        recent = self.recent.keyed_masks(object_ids).masks
        both = with_recent(reference, carried_from(self.recent), recent, given_areas)
        return Cue(previous, at_most_one(both), matched=matched, given=given)

    def _weight(self, number: int, frame: StoredFrame, object_id: int) -> float:
        if object_id not in frame.object_ids:
            return 0.0
        # No weights although there is a plan: no mask of these objects could be encoded as a reference.
        return max(self.weights[number].get(object_id, 0.0), 1e-6) if self.weights else 1.0

    def forget(self, object_id: int) -> None:
        """Remove an object, and stored frames that had no other."""
        self.previous = self.previous and self.previous.without(object_id)
        self.recent = self.recent and self.recent.without(object_id)
        self.references = [kept for frame in self.references if (kept := frame.without(object_id)) is not None]
