"""Cut-outs and backgrounds: what the fast maker moves independently of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Masks = list[NDArray[np.bool_]]
Others = Callable[[np.random.Generator], "tuple[NDArray[np.uint8], Masks]"]
"""Draws another photograph, (h, w, 3) uint8 RGB, and its masks, for backgrounds, occluders and distractors."""


@dataclass(frozen=True)
class CutOut:
    """An object cut out of its photograph, cropped to its box: image (h, w, 3) and soft mask (h, w) of 0..255."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.uint8]


def cut_out(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> CutOut | None:
    """The object in `mask`, or None when that is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    # One pixel around, so that the mask fades to nothing inside the crop.
    top, bottom = max(0, rows[0] - 2), rows[-1] + 3
    left, right = max(0, columns[0] - 2), columns[-1] + 3
    alpha = mask[top:bottom, left:right].astype(np.uint8) * 255
    return CutOut(np.ascontiguousarray(image[top:bottom, left:right]), soften(alpha))


def soften(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (0..255) with an edge one pixel wide, so that pasting leaves no staircase."""
    import cv2

    return np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0), dtype=np.uint8)


def paste(canvas: NDArray[np.uint8], image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    """Put `image` over `canvas` (both (H, W, 3)) in place, as opaque as `alpha` (H, W) says."""
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if len(rows) == 0:
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    weight = alpha[window].astype(np.uint16)[..., None]
    mixed = canvas[window] * (255 - weight) + image[window] * weight
    canvas[window] = ((mixed + 127) // 255).astype(np.uint8)


def fill_hole(image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photograph with the hole filled from its surroundings, coarse to fine; cheap, smooth and good enough."""
    import cv2

    if not hole.any():
        return image
    wide = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8))
    known = (1 - wide).astype(np.float32)
    levels: list[tuple[Any, Any]] = []
    colour: Any = image.astype(np.float32) * known[..., None]
    weight: Any = known
    while min(weight.shape) > 2 and float(weight.min()) <= 0:
        levels.append((colour, weight))
        half = (max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2))
        colour = cv2.resize(colour, half, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    filled = colour / np.maximum(weight, 1e-3)[..., None]
    for colour, weight in reversed(levels):
        height, width = weight.shape
        rough = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
        share = np.minimum(weight, 1.0)[..., None]
        filled = colour + rough * (1 - share)
    out = image.copy()
    blurred = np.clip(filled, 0, 255).astype(np.uint8)
    out[wide > 0] = blurred[wide > 0]
    return out


def touches_border(mask: NDArray[np.bool_]) -> bool:
    """Whether a noticeable part of the object's outline is cut off by the photograph's edge."""
    length = sum(int(np.count_nonzero(edge)) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return length > 0.15 * np.sqrt(max(1, int(np.count_nonzero(mask)))) * 4
