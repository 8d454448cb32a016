"""Operations on a mask: fill its holes, keep its largest piece, leave other objects what they have."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
#: An object is covered almost whole from this share of it on.
_WHOLE = 0.8


def without_holes(mask: Mask) -> Mask:
    """An (H, W) mask with all background regions filled that do not touch the border."""
    count, parts = cv2.connectedComponents((~np.pad(mask, 1)).astype(np.uint8), connectivity=4)
    if count < 3:  # the mask itself and the one region around it
        return mask.copy()
    return np.asarray(parts != parts[0, 0], dtype=bool)[1:-1, 1:-1]


def largest_piece(mask: Mask) -> Mask:
    """The largest connected component of an (H, W) mask."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 3:
        return mask.copy()
    return np.asarray(parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), dtype=bool)


def without_unclicked(mask: Mask, others: Mask, points: Iterable[tuple[float, float, bool]]) -> Mask:
    """An (H, W) mask without what it takes of other objects, except for pieces of that with a positive click.

    others: where other objects are. points: clicks (x, y, positive), in pixels.
    """
    taken = mask & others
    _, pieces = cv2.connectedComponents(taken.astype(np.uint8), connectivity=8)
    clicked = {int(pieces[int(y), int(x)]) for x, y, positive in points if positive}
    return mask & (~taken | np.isin(pieces, list(clicked - {0})))


def without_enclosed(mask: Mask, labels: NDArray[np.uint16], object_id: int) -> Mask:
    """An (H, W) mask of an object without the other objects of a label map that it covers almost whole: they are in
    front of it."""
    areas, covered = np.bincount(labels.reshape(-1)), np.bincount(labels[mask])
    enclosed = set((np.flatnonzero(covered > _WHOLE * areas[: len(covered)])).tolist()) - {0, object_id}
    return mask & ~np.isin(labels, list(enclosed))
