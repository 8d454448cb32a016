"""Evidence, besides confidence, on whether a mask still shows the object that was given.

A network that has drifted to another object is just as sure of it. Two witnesses do not drift along: the frame in which
the user gave the mask, matched with the current one, and the descriptor that was encoded from that mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GivenLook:
    """The descriptor (D,) of an object's given mask. unit: its distance from the background there, NaN if unknown."""

    descriptor: Tensor
    unit: float

    @staticmethod
    def of(descriptor: Tensor, background: Tensor | None) -> GivenLook:
        """From a descriptor (D,) and the same frame's background descriptors (9, D)."""
        return GivenLook(descriptor.float(), math.nan if background is None else _unit(descriptor, background))

    def change(self, descriptor: Tensor, background: Tensor) -> float:
        """The distance of a descriptor (D,) from the given one, divided by `unit`.

        background: (9, D) of the same frame as `descriptor`, used where `unit` is unknown.
        """
        unit = _unit(self.descriptor, background) if math.isnan(self.unit) else self.unit
        return float(torch.linalg.vector_norm(descriptor - self.descriptor)) / unit


def changes(
    looks: Mapping[int, GivenLook], object_ids: Sequence[int], objects: Tensor, background: Tensor | None
) -> dict[int, float]:
    """The change of each object in `looks`, from a frame's descriptors (I, D) and background (9, D)."""
    if background is None:
        return {}
    rows = zip(object_ids, objects.float().cpu(), strict=True)
    cells = background.float().cpu()
    return {object_id: looks[object_id].change(row, cells) for object_id, row in rows if object_id in looks}


def agreements(carried: Tensor, masks: Tensor) -> list[float]:
    """Soft IoU (0..1) of each object's mask with the one carried over from its reference frame, both (I, h, w)."""
    both = torch.minimum(carried, masks).sum(dim=(1, 2))
    either = torch.maximum(carried, masks).sum(dim=(1, 2))
    values: list[float] = (both / either.clamp(min=1e-6)).tolist()
    return values


def _unit(descriptor: Tensor, background: Tensor) -> float:
    return max(float(torch.linalg.vector_norm(background.float() - descriptor.float(), dim=1).median()), 1e-9)
