"""From probabilities to a label map at the frame's own size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.runtime.preprocess import Geometry, resize


def label_map(
    probabilities: Tensor, geometry: Geometry, object_ids: list[int], *, background: int = NUM_NON_OBJECT
) -> tuple[np.ndarray, dict[int, float]]:
    """The id of the likeliest channel at each pixel of the frame, 0 for background, and the objects' confidence.

    Args:
        probabilities: (1, B + I, padded height, padded width) of the catch-all, the background cells and the objects.
        geometry: how the frame became the network's input.
        object_ids: I ids, in the channels' order.
        background: B, the channels before the objects.
    Returns:
        Label map (H, W) uint16, and the mean probability inside each object's mask (0 where it has none).
    """
    objects, place = _shown_objects(probabilities[0], geometry, background)
    values, slots = objects.max(dim=0)
    labels = np.zeros(geometry.original, dtype=np.uint16)
    labels.ravel()[place.cpu().numpy()] = np.array(object_ids, dtype=np.uint16)[slots.cpu().numpy()]
    sums = torch.bincount(slots, weights=values, minlength=len(object_ids))
    means = sums / torch.bincount(slots, minlength=len(object_ids)).clamp(min=1)
    return labels, dict(zip(object_ids, means.tolist(), strict=True))


def areas(labels: np.ndarray, object_ids: list[int]) -> dict[int, int]:
    """The pixels of each object in a label map (H, W); faster for a few objects than counting every value there is."""
    if len(object_ids) <= 8:
        return {i: int(np.count_nonzero(labels == i)) for i in object_ids}
    counts = np.bincount(labels.ravel(), minlength=max(object_ids) + 1)
    return {i: int(counts[i]) for i in object_ids}


def _shown_objects(probabilities: Tensor, geometry: Geometry, channels: int) -> tuple[Tensor, Tensor]:
    """The N pixels of the frame where an object beats the background: the objects' probabilities (I, N), and the
    pixels' places (N,) in the flattened frame.

    Every channel is resized for itself and then compared. But the ten background channels only matter by their maximum,
    and that is known before resizing wherever one of them is the highest around: so their maximum is resized instead,
    and the ten only at the few pixels where the two could differ in the result. Which object it is, and how sure, is
    asked at its pixels only.
    """
    height, width = geometry.scaled
    background = probabilities[:channels, :height, :width]
    objects = probabilities[channels:, :height, :width]
    merged = background.amax(dim=0, keepdim=True)
    resized = resize(torch.cat((merged, objects))[None], geometry.original)[0]
    bound = resized[0]  # at least the true maximum, and at most four times it: it mixes four pixels
    highest = resized[1:].amax(dim=0)
    shown = highest > bound
    if geometry.scaled != geometry.original and channels > 1:
        rows, columns = ((highest <= bound) & (4 * highest > bound)).nonzero(as_tuple=True)
        exact = _sample(background, rows, columns, geometry.original).amax(dim=0)
        shown[rows, columns] = highest[rows, columns] > exact
    place = shown.flatten().nonzero()[:, 0]
    return resized[1:].flatten(1)[:, place], place


def _sample(maps: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """What maps (C, h, w), resized to `size`, would hold at N pixels: (C, N)."""

    def taps(index: Tensor, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
        place = ((index + 0.5) * (inputs / outputs) - 0.5).clamp(min=0)
        first = place.long()
        return first, (first + 1).clamp(max=inputs - 1), (place - first).to(maps.dtype)

    top, bottom, down = taps(rows, maps.shape[1], size[0])
    left, right, across = taps(columns, maps.shape[2], size[1])
    upper = maps[:, top, left] * (1 - across) + maps[:, top, right] * across
    lower = maps[:, bottom, left] * (1 - across) + maps[:, bottom, right] * across
    return upper * (1 - down) + lower * down
