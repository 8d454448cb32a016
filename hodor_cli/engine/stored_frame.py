"""A frame that is kept to match other frames with: its keys, in sixteen bits, and its soft masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.engine.objects import ObjectIds
from hodor_cli.model.matching import Matcher
from hodor_cli.model.types import KeyedMasks, Maps
from hodor_cli.runtime.preprocess import Geometry

#: The int16 value that stands for the largest magnitude in a frame's keys.
KEY_PEAK = 32767
#: Keys (K, h, w) int16, and the magnitude that KEY_PEAK stands for.
Rounded: TypeAlias = tuple[Tensor, float]


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

    def masks_of(self, object_ids: Sequence[int]) -> Tensor:
        """The masks (1, I, h, w) of these objects; zero for those that the frame does not have."""
        return self.object_ids.aligned(self.masks, object_ids)[None]

    def keyed_masks(self, object_ids: Sequence[int]) -> KeyedMasks:
        """Keys (1, K, h, w) float32, and masks as from `masks_of`."""
        return KeyedMasks(self.float_keys(), self.masks_of(object_ids))

    def float_keys(self) -> Tensor:
        """The keys (1, K, h, w) float32."""
        return unrounded(self.keys, self.peak)

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
        return _stored(self.object_ids, rounded(matcher.unit(_resampled(keys, old, new))[0]), masks)

    def without(self, object_id: int) -> StoredFrame | None:
        """The frame without an object; None if it has no other."""
        if object_id not in self.object_ids:
            return self
        kept = self.object_ids.without(object_id)
        return replace(self, object_ids=kept, masks=self.masks[self.object_ids.rows(kept)]) if kept else None


def stored_frame(
    maps: Maps, object_ids: Sequence[int], masks: Tensor, known: Rounded | None = None
) -> StoredFrame | None:
    """A frame's keys with its soft masks (I, h, w) at stride 8; None for a model that does not match.

    known: the frame's keys, if they are rounded already.
    """
    if maps.keys is None:
        return None
    return _stored(ObjectIds(object_ids), known or rounded(maps.keys[0]), masks)


def _stored(object_ids: ObjectIds, keys: Rounded, masks: Tensor) -> StoredFrame:
    return StoredFrame(object_ids, *keys, masks.float().contiguous())


def rounded(keys: Tensor) -> Rounded:
    """Keys (K, h, w) as they are stored."""
    peak = float(keys.abs().amax())
    # Contiguous, because the last bits of a matrix product depend on the order in memory.
    return (keys * (KEY_PEAK / max(peak, 1e-12))).round().to(torch.int16).contiguous(), peak


def unrounded(keys: Tensor, peak: float) -> Tensor:
    """Keys (1, K, h, w) float32 from the result of `rounded`."""
    return keys.float()[None] * (peak / KEY_PEAK)


def _resampled(maps: Tensor, old: Geometry, new: Geometry) -> Tensor:
    """Maps (1, C, h, w) at stride 8, resampled from one geometry to the cells of another; bilinear."""
    axes = []
    for side in (1, 0):
        cells = torch.arange(new.padded[side] // 8, device=maps.device) + 0.5
        # `grid_sample` counts from -1 to 1 between the outer edges of the first and the last cell.
        axes.append(cells * (16 * old.scaled[side] / (new.scaled[side] * old.padded[side])) - 1)
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1)[None]
    return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
