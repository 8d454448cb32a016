"""Operations on masks: change one near clicks, fill its holes, keep its largest piece; divide overlapping ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
#: An object counts as enclosed by a mask that covers more than this share of it.
_WHOLE = 0.8
#: A piece smaller than this share of the mask's largest piece is a speck, which is usually wrong.
_SPECK = 0.1
#: A correction of a given mask reaches this many times the depth of the change at the click, because changes farther
#: away, mostly along the border, are usually wrong.
_REACH = 2
#: An object's log-odds are reduced by this times the logarithm of its area. On 217 photographs with boxes around 2 to 4
#: objects whose masks overlap, the mean IoU is 72.5 with 2, 70.7 with 0, and 71.7 if the smaller object always wins.
_AREA_WEIGHT = 2.0


def without_holes(mask: Mask) -> Mask:
    """An (H, W) mask with the background regions that do not touch the border filled."""
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


def without_specks(mask: Mask, points: Iterable[tuple[float, float, float]]) -> Mask:
    """An (H, W) mask without its specks, except those with a positive point (x, y, +1 or -1)."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 3:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = set((1 + np.flatnonzero(areas >= _SPECK * areas.max())).tolist())
    kept |= {int(pieces[int(y), int(x)]) for x, y, sign in points if sign > 0}
    return np.isin(pieces, list(kept - {0}))


def without_unclicked(mask: Mask, others: Mask, points: Iterable[tuple[float, float, bool]]) -> Mask:
    """An (H, W) mask without its overlap with other objects, except for pieces of it with a positive click.

    others: where other objects are. points: clicks (x, y, positive), in pixels.
    """
    taken = mask & others
    _, pieces = cv2.connectedComponents(taken.astype(np.uint8), connectivity=8)
    clicked = {int(pieces[int(y), int(x)]) for x, y, positive in points if positive}
    return mask & (~taken | np.isin(pieces, list(clicked - {0})))


def without_enclosed(mask: Mask, labels: NDArray[np.uint16], object_id: int) -> Mask:
    """An (H, W) mask of an object without the other objects of a label map that it encloses, because these are in
    front of it."""
    areas, covered = np.bincount(labels.reshape(-1)), np.bincount(labels[mask])
    enclosed = set((np.flatnonzero(covered > _WHOLE * areas[: len(covered)])).tolist()) - {0, object_id}
    return mask & ~np.isin(labels, list(enclosed))


def changed_near(before: Mask, after: Mask, points: Sequence[tuple[float, float, float]]) -> Mask:
    """The mask `before`, changed to `after` only around new points (x, y, +1 or -1), according to their sign.

    As in the progressive merge of FocalClick (Chen et al., CVPR 2022, sec. 3.3), only connected regions with a point
    change, and only near the point, except that a detached piece that is wrong is removed as a whole.
    """
    positive = points[-1][2] > 0
    changed = after & ~before if positive else before & ~after
    depth = cv2.distanceTransform(changed.astype(np.uint8), cv2.DIST_L2, 5)
    near = np.zeros(changed.shape, np.uint8)
    places = [(int(x), int(y)) for x, y, _ in points]
    for x, y in places:
        reach = min(round(_REACH * float(depth[y, x])), sum(near.shape))  # depth has no limit if every pixel changed
        cv2.circle(near, (x, y), reach + 2, 1, thickness=-1)
    _, pieces = cv2.connectedComponents((changed & (near > 0)).astype(np.uint8), connectivity=8)
    part = np.isin(pieces, list({int(pieces[y, x]) for x, y in places} - {0}))
    return before | part if positive else before & ~(part | _detached(before, changed, places))


def _detached(mask: Mask, changed: Mask, places: Sequence[tuple[int, int]]) -> Mask:
    """The pieces of a mask at `places` of which more than half changed; never the largest piece."""
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas, lost = np.bincount(pieces.reshape(-1)), np.bincount(pieces[changed])
    areas[0] = 0
    chosen = {int(pieces[y, x]) for x, y in places} - {0, int(areas.argmax())}
    return np.isin(pieces, [piece for piece in chosen if piece < len(lost) and 2 * lost[piece] > areas[piece]])


class PromptedMask(NamedTuple):
    """The mask of one object, made from its own prompts: (H, W) bool, and (H, W) float32 log-odds from `Clicker`."""

    mask: Mask
    log_odds: NDArray[np.float32]


def owners(found: Mapping[int, PromptedMask]) -> NDArray[np.uint16]:
    """The object that each pixel belongs to if masks overlap: (H, W) ids, 0 for none.

    A pixel in several masks goes to the object with the highest log-odds there, which are reduced for large objects:
    the smaller object is usually in front, such as a ball before a person.
    """
    by_area = sorted(found.items(), key=lambda item: int(item[1].mask.sum()))
    owner = np.zeros(by_area[0][1].mask.shape, np.uint16)
    highest = np.zeros(owner.shape, np.float32)
    for object_id, (mask, log_odds) in by_area:
        evidence = log_odds - np.float32(_AREA_WEIGHT * np.log(max(1, mask.sum())))
        won = mask & ((owner == 0) | (evidence > highest))
        owner[won], highest[won] = object_id, evidence[won]
    return owner
