"""What speaks for and against a mask besides its confidence: is it still the object that was given?

A network is sure of what it follows, also when that has become another thing. Two witnesses do not take part in the
drift: the frame in which the user gave the mask, matched with this one, and the descriptor that was made from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GivenLook:
    """The descriptor (D,) of an object as it was given, and its distance from the background there (NaN: unknown)."""

    descriptor: Tensor
    unit: float

    @staticmethod
    def of(descriptor: Tensor, background: Tensor | None) -> GivenLook:
        """From a descriptor (D,) and the frame's background (9, D)."""
        return GivenLook(descriptor.float(), math.nan if background is None else _unit(descriptor, background))

    def change(self, descriptor: Tensor, background: Tensor) -> float:
        """How far a descriptor (D,) is from the given one, in units of how far that was from the background."""
        unit = _unit(self.descriptor, background) if math.isnan(self.unit) else self.unit
        return float(torch.linalg.vector_norm(descriptor - self.descriptor)) / unit


def changes(
    looks: Mapping[int, GivenLook], object_ids: Sequence[int], objects: Tensor, background: Tensor | None
) -> dict[int, float]:
    """The change of every object with descriptors (I, D) that was given a look, in a frame with this background."""
    if background is None:
        return {}
    rows, cells = objects.float().cpu(), background.float().cpu()
    return {
        object_id: looks[object_id].change(rows[row], cells)
        for row, object_id in enumerate(object_ids)
        if object_id in looks
    }


def agreements(carried: Tensor, masks: Tensor) -> list[float]:
    """Soft IoU (0..1) of each object's mask with what was carried over from its reference frame, both (I, h, w)."""
    both = torch.minimum(carried, masks).sum(dim=(1, 2))
    either = torch.maximum(carried, masks).sum(dim=(1, 2))
    values: list[float] = (both / either.clamp(min=1e-6)).tolist()
    return values


def _unit(descriptor: Tensor, background: Tensor) -> float:
    return max(float(torch.linalg.vector_norm(background.float() - descriptor.float(), dim=1).median()), 1e-9)
