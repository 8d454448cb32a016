"""Simulated users: where the next click goes, exactly as in the field's evaluation, or at random for training."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.records import Click


def next_click(
    truth: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    avoid: NDArray[np.bool_] | None = None,
    rng: np.random.Generator | None = None,
) -> Click | None:
    """The click of a user who wants `truth` and sees `mask`, both (H, W); None if nothing is left to correct.

    The click is at the pixel of the missing or of the wrong area that is farthest from the area's border (RITM,
    sec. 4). avoid: pixels clicked before. rng: choose instead a random pixel that is at least half as far from it.
    """
    missing, extra = _depth(truth & ~mask, avoid), _depth(mask & ~truth, avoid)
    deepest = max(float(missing.max()), float(extra.max()))
    if deepest <= 0:
        return None
    positive = bool(missing.max() >= extra.max())
    depth = missing if positive else extra
    places = np.flatnonzero(depth >= (deepest if rng is None else deepest / 2))
    place = int(places[0] if rng is None else places[int(rng.integers(len(places)))])
    return Click(place % truth.shape[1], place // truth.shape[1], positive)


def _depth(error: NDArray[np.bool_], avoid: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Distance of each pixel of an error from the error's and the picture's border; 0 outside it and at `avoid`."""
    padded = np.pad(error, 1).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1]
    if avoid is not None:
        depth = np.where(avoid, 0, depth)
    return np.asarray(depth, dtype=np.float32)
