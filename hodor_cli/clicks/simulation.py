"""Simulated users: where the next click goes, as in the field's evaluation, and with variety for training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SimulatedClick(NamedTuple):
    """A click at pixel (x, y): positive on what is missing from the mask, negative on what is too much."""

    x: int
    y: int
    positive: bool


def next_click(
    truth: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    avoid: NDArray[np.bool_] | None = None,
    rng: np.random.Generator | None = None,
) -> SimulatedClick | None:
    """The click of a user who wants `truth` and sees `mask`, both (H, W); None where nothing is to be corrected.

    It is at the innermost pixel of what is missing or of what is too much, whichever goes deeper (RITM, sec. 4).
    avoid: pixels clicked before. rng: take any pixel of that piece at least half as deep instead.
    """
    missing, extra = _depth(truth & ~mask, avoid), _depth(mask & ~truth, avoid)
    deepest = max(float(missing.max()), float(extra.max()))
    if deepest <= 0:
        return None
    positive = bool(missing.max() >= extra.max())
    depth = missing if positive else extra
    places = np.flatnonzero(depth >= (deepest if rng is None else deepest / 2))
    place = int(places[0] if rng is None else places[int(rng.integers(len(places)))])
    return SimulatedClick(place % truth.shape[1], place // truth.shape[1], positive)


def _depth(error: NDArray[np.bool_], avoid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """How far each pixel of an error is from its border, and from the picture's; 0 outside it and at `avoid`."""
    import cv2

    padded = np.pad(error, 1).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1]
    if avoid is not None:
        depth = np.where(avoid, 0, depth)
    return np.asarray(depth, dtype=np.float32)
