"""Joins the masks of the passes forward and backward per pixel, weighted by distance in time and by confidence."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hodor_cli.engine.soft_maps import SoftMap


def join(forward: SoftMap, backward: SoftMap, shares: Mapping[int, float]) -> tuple[SoftMap, dict[int, float]]:
    """Join the soft maps of both passes in one frame.

    Args:
        forward, backward: the soft maps, which may have different objects.
        shares: weight (0..1) of the pass backward for each object of both: 0 in the frame of the earlier mask, 1 in
            that of the later one, so that the joined masks change into the given ones without a jump.
    Returns:
        The soft map of all objects, and the disagreement (0..1) of the objects of both passes.
    """
    ids = forward.object_ids.adding(backward.object_ids)
    parts, disagreement = [], {}
    for object_id in ids:
        ways = [
            way.objects[way.object_ids.row(object_id)] for way in (forward, backward) if object_id in way.object_ids
        ]
        if len(ways) == 2:
            disagreement[object_id] = _disagreement(*ways)
            parts.append(_mixed(ways[0], ways[1], shares[object_id]))
        else:
            parts.append(ways[0])
    objects = torch.stack(parts)
    # `background` is the highest background channel. Its share of all background is the mean of both passes' shares.
    outside = (1 - forward.objects.sum(dim=0)) + (1 - backward.objects.sum(dim=0))
    highest = (forward.background + backward.background) / outside.clamp(min=1e-4)
    background = (1 - objects.sum(dim=0)).clamp(min=0) * highest.clamp(max=1)
    measures = {**backward.measures, **forward.measures}
    return SoftMap(ids, objects, background, measures, forward.descriptors, forward.time), disagreement


def _mixed(forward: Tensor, backward: Tensor, share: float) -> Tensor:
    """Probabilities weighted by nearness in time and, per pixel, by their distance from 0.5."""
    before = (1 - share) * (2 * forward - 1).abs().clamp(min=1e-3)
    after = share * (2 * backward - 1).abs().clamp(min=1e-3)
    return (before * forward + after * backward) / (before + after)


def _disagreement(one: Tensor, other: Tensor) -> float:
    """1 - soft IoU of two probability maps (h, w)."""
    return 1 - float(torch.minimum(one, other).sum() / torch.maximum(one, other).sum().clamp(min=1e-6))
