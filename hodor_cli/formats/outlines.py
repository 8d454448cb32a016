"""Masks as run lengths and as polygons, for tools that do not store pixels; and other tools' shapes as points.

A mask's polygon runs slightly inside the sides of its pixels (pixel i reaches from i to i + 1). So a tool that fills
the area reproduces the mask exactly, and so does one that truncates coordinates and also draws the edge.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.rle import RunLengths, encode_rle

#: Distance, in pixels, between an outline and the sides of the pixels that it encloses.
INSET = 0.1

Points = NDArray[np.float64]


def outlines(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[Points]:
    """The closed polygons around the parts of an (H, W) mask, each (N, 2) x, y. Cuts of zero width join a part's holes
    to its outline.

    tolerance: how far, in pixels, a polygon may deviate from the mask's edge to have fewer points; 0 is exact.
    """
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    found = []
    for part in range(1, count):
        rows, columns = np.nonzero(parts == part)
        top, left = int(rows.min()), int(columns.min())
        window = np.zeros((int(rows.max()) - top + 3, int(columns.max()) - left + 3), dtype=bool)
        window[rows - top + 1, columns - left + 1] = True
        # The outer edge of the part is the longest way around; the others are holes.
        outer, *holes = sorted(map(_inset, _traced(window)), key=_area, reverse=True)
        joined = _joined(_simplified(outer, tolerance), [_simplified(hole, tolerance) for hole in holes])
        found.append(joined + np.array([left - 1, top - 1]))
    return found


def one_outline(mask: NDArray[np.bool_], tolerance: float = 0.0) -> Points:
    """One closed polygon around all parts of a mask, joined by cuts of zero width, for formats with one polygon per
    object; (0, 2) for an empty mask."""
    parts = sorted(outlines(mask, tolerance), key=len, reverse=True)
    return _joined(parts[0], parts[1:]) if parts else np.zeros((0, 2))


def _traced(window: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The corners of each closed edge of a 4-connected part that does not touch the window's border, in the order that
    keeps the part on the right-hand side (y points down)."""
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # (shift to the outer neighbour, begin and end of that side of the pixel)
    sides = (((-1, 0), (0, 0), (1, 0)), ((0, 1), (1, 0), (1, 1)), ((1, 0), (1, 1), (0, 1)), ((0, -1), (0, 1), (0, 0)))
    for (dy, dx), begin, end in sides:
        ys, xs = np.nonzero(window & ~np.roll(window, (-dy, -dx), axis=(0, 1)))
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            edges.setdefault((x + begin[0], y + begin[1]), []).append((x + end[0], y + end[1]))
    rings = []
    while edges:
        start = at = next(iter(edges))
        heading = (0, 0)
        ring = []
        while True:
            choices = edges[at]
            # Where two pixels touch only at a corner, the edge turns right, to stay with its own pixel.
            right = (at[0] - heading[1], at[1] + heading[0])
            following = right if right in choices else choices[0]
            choices.remove(following)
            if not choices:
                del edges[at]
            turned = (following[0] - at[0], following[1] - at[1])
            if turned != heading:
                ring.append(at)
            heading, at = turned, following
            if at == start and (at not in edges or (at[0] - heading[1], at[1] + heading[0]) not in edges[at]):
                break
        rings.append(np.array(ring))
    return rings


def _inset(ring: NDArray[np.int64]) -> Points:
    """The corners moved diagonally into the part, by INSET."""
    before = np.sign(ring - np.roll(ring, 1, axis=0))
    after = np.sign(np.roll(ring, -1, axis=0) - ring)
    inward = [np.stack([-heading[:, 1], heading[:, 0]], axis=1) for heading in (before, after)]
    straight = (before == after).all(axis=1)
    moved = ring + INSET * np.where(straight[:, None], inward[0], inward[0] + inward[1])
    return np.asarray(moved, dtype=np.float64)


def _simplified(ring: Points, tolerance: float) -> Points:
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    fewer = cv2.approxPolyDP(ring.astype(np.float32).reshape(-1, 1, 2), tolerance, True).reshape(-1, 2)
    return fewer.astype(np.float64) if len(fewer) >= 3 else ring


def _joined(outer: Points, others: list[Points]) -> Points:
    """`outer` with each of `others` spliced in at the nearest pair of corners."""
    for other in others:
        distance = ((outer[:, None] - other[None]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        turned = np.roll(other, -there, axis=0)
        outer = np.concatenate([outer[: here + 1], turned, turned[:1], outer[here:]])
    return outer


def _area(ring: Points) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def run_lengths(mask: NDArray[np.bool_]) -> RunLengths:
    """An (H, W) mask as run lengths."""
    return RunLengths(encode_rle(mask)["counts"], (mask.shape[0], mask.shape[1]))


def positioned(part: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of `size` = (H, W) with `part` at (left, top), cropped where it reaches outside."""
    whole = np.zeros(size, dtype=bool)
    window = whole[top : top + part.shape[0], left : left + part.shape[1]]
    window[:] = part[: window.shape[0], : window.shape[1]]
    return whole


def ellipse(radii: tuple[float, float], middle: tuple[float, float] = (0.0, 0.0)) -> Points:
    """64 points (64, 2) on an ellipse. radii: along x and y."""
    angles = np.linspace(0, 2 * np.pi, 65)[:-1]
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + np.array(middle)


def turned(points: Points, degrees: float) -> Points:
    """Points (N, 2) turned clockwise (y points down) around the origin."""
    turn = math.radians(degrees)
    return points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
