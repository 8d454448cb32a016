"""Matching that a second thread does before the step: what does not depend on the masks of the frame before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hodor_cli.engine.stored_frame import Rounded, StoredFrame, unrounded
from hodor_cli.model.matching import Matcher
from hodor_cli.model.region import Region
from hodor_cli.model.types import Affinity


class Carried(NamedTuple):
    """Masks (1, I, h, w) of these objects, carried from a stored frame to another by matching with all of it."""

    source: StoredFrame
    object_ids: tuple[int, ...]
    masks: Tensor

    @staticmethod
    def all_of(
        matcher: Matcher, keys: Tensor, sources: Sequence[StoredFrame], object_ids: Sequence[int]
    ) -> list[Carried]:
        """Match a frame, by its keys (1, K, h, w), with stored ones."""
        coarse = matcher.every_second(keys)
        ids = tuple(object_ids)
        return [Carried(source, ids, matcher.anywhere(coarse, source.keyed_masks(ids), keys)) for source in sources]


class KnownAffinity(NamedTuple):
    """A frame's affinity with the one before it, whose keys are kept as in its `StoredFrame`."""

    keys: Tensor
    affinity: Affinity

    @staticmethod
    def of(matcher: Matcher, keys: Tensor, before: Rounded, region: Region | None) -> KnownAffinity:
        """Match a frame, by its keys (1, K, h, w), with the one before it, by its rounded ones."""
        return KnownAffinity(before[0], matcher.affinity(keys, unrounded(*before), region))


class MatchedAhead(NamedTuple):
    """What a frame was matched with in advance: lasting frames, and the frame before it if that was known.

    rounded: the frame's own keys, as they will be stored.
    """

    carried: Sequence[Carried]
    before: KnownAffinity | None
    rounded: Rounded | None = None

    def affinity(self, previous: StoredFrame, region: Region | None) -> Affinity | None:
        """The affinity with the previous frame in a region, or in all of the frame; None if it is not known."""
        if self.before is None:
            return None
        keys, affinity = self.before
        needed = region or Region.all_of(*previous.keys.shape[1:])
        same = keys is previous.keys or torch.equal(keys, previous.keys)
        return affinity if same and affinity.region.covers(needed) else None


NOTHING_AHEAD = MatchedAhead((), None)
