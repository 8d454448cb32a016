"""From probabilities to a label map at the frame's own size."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.runtime.preprocess import Geometry


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
    asked at its pixels only, and nothing is asked far from where an object has a quarter of the maximum: a resized
    pixel mixes four, and the maximum of what is mixed is at least a quarter of the mixed maxima.
    """
    height, width = geometry.scaled
    background = probabilities[:channels, :height, :width]
    objects = probabilities[channels:, :height, :width]
    merged = background.amax(dim=0, keepdim=True)
    rows, columns = _window(4 * objects.amax(dim=0) > merged[0], geometry)
    resized = _resized(torch.cat((merged, objects)), rows, columns, geometry.original)
    bound = resized[0]  # at least the true maximum, and at most four times it
    highest = resized[1:].amax(dim=0)
    shown = highest > bound
    if geometry.scaled != geometry.original and channels > 1:
        y, x = ((highest <= bound) & (4 * highest > bound)).nonzero(as_tuple=True)
        exact = _sample(background, rows[y], columns[x], geometry.original).amax(dim=0)
        shown[y, x] = highest[y, x] > exact
    y, x = shown.nonzero(as_tuple=True)
    return resized[1:, y, x], rows[y] * geometry.original[1] + columns[x]


def _window(inside: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The rows and columns of the frame that depend on the box around the true cells of `inside`, at `scaled` size."""
    ranges = []
    for dim, (cells, pixels) in enumerate(zip(geometry.scaled, geometry.original, strict=True)):
        places = inside.any(dim=1 - dim).nonzero()[:, 0]
        first, last = (int(places[0]), int(places[-1])) if len(places) else (0, -2)
        ratio = pixels / cells
        start = max(0, math.floor((first - 0.5) * ratio - 0.5))
        end = min(pixels, math.ceil((last + 1.5) * ratio + 0.5))
        ranges.append(torch.arange(start, max(start, end), device=inside.device))
    return ranges[0], ranges[1]


def _taps(index: Tensor, inputs: int, outputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells of `inputs` that each pixel of `outputs` mixes, and the share of the second."""
    place = ((index + 0.5) * (inputs / outputs) - 0.5).clamp(min=0)
    first = place.long()
    return first, (first + 1).clamp(max=inputs - 1), (place - first).to(dtype)


def _resized(maps: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """These rows and columns of maps (C, h, w) resized to `size`: (C, rows, columns)."""
    left, right, across = _taps(columns, maps.shape[2], size[1], maps.dtype)
    top, bottom, down = _taps(rows, maps.shape[1], size[0], maps.dtype)
    # Columns first, while there are few rows; then whole rows are copied.
    maps = torch.lerp(maps[:, :, left], maps[:, :, right], across)
    return torch.lerp(maps.index_select(1, top), maps.index_select(1, bottom), down[:, None])


def _sample(maps: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """What maps (C, h, w), resized to `size`, would hold at N pixels: (C, N)."""
    top, bottom, down = _taps(rows, maps.shape[1], size[0], maps.dtype)
    left, right, across = _taps(columns, maps.shape[2], size[1], maps.dtype)
    upper = torch.lerp(maps[:, top, left], maps[:, top, right], across)
    lower = torch.lerp(maps[:, bottom, left], maps[:, bottom, right], across)
    return torch.lerp(upper, lower, down)
