"""The frames kept for the correspondence cue: the newest reference frames, a recent one and the previous one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hodor_cli.engine.matched_ahead import NOTHING_AHEAD, Carried, MatchedAhead
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.stored_frame import Rounded, StoredFrame, stored_frame
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import FEW, Matcher, at_most_one, with_recent
from hodor_cli.model.region import Region
from hodor_cli.model.types import Cue, Maps
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
        self,
        maps: Maps,
        object_ids: Sequence[int],
        masks: Tensor,
        *,
        reference: tuple[int, ...] = (),
        rounded: Rounded | None = None,
    ) -> None:
        """Store a frame's keys with its soft masks (I, h, w) at stride 8.

        reference: the objects whose masks were given by the user in this frame. rounded: its keys, if known.
        """
        self.previous = stored_frame(maps, object_ids, masks, rounded)
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
        ahead: MatchedAhead = NOTHING_AHEAD,
        region: Region | None = None,
    ) -> Cue | None:
        """Masks of all objects, carried to the frame with these maps; None if there is nothing to match with.

        ahead: what was matched in advance, used where it is of the same stored frames and objects.
        region: the part of the frame to which masks are carried from the previous frame; None for all of it.
        """
        if maps.keys is None or model.matcher is None or self.previous is None:
            return None
        matcher = model.matcher
        affinity = ahead.affinity(self.previous, region)
        if affinity is None:
            affinity = matcher.affinity(maps.keys, self.previous.float_keys(), region)
        previous, matched = matcher.carried(affinity, self.previous.masks_of(object_ids), region)
        references = self.references or [self.previous]
        sources = references if self.recent is None else [*references, self.recent]
        found = [known for known in ahead.carried if known.object_ids == tuple(object_ids)]
        missing = [frame for frame in sources if all(known.source is not frame for known in found)]
        found += Carried.all_of(matcher, maps.keys, missing, object_ids) if missing else []
        carried_from = {id(known.source): known.masks for known in found}
        reference = previous  # stays for objects whose reference frame is no longer kept
        counted = torch.zeros(len(object_ids), 1, 1, device=previous.device)
        for number, frame in enumerate(references):
            # Frames are matched one by one: in another object's frame, this one's pixels are unmarked and would say no.
            carried = carried_from[id(frame)]
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
        recent = self.recent.masks_of(object_ids)
        both = with_recent(reference, carried_from[id(self.recent)], recent, given_areas)
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
