"""Converts masks to polygons and run lengths, and other tools' shapes to points.

A mask's polygon runs a quarter of a pixel inside the sides of its pixels (pixel i extends from i to i + 1). So a tool
that fills the area reproduces the mask exactly, and so does a tool that truncates coordinates and also draws the edge.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.rle import RunLengths, encode_rle

Points = NDArray[np.float64]
#: Distances of points that are computed together; more would need gigabytes for an object with a long outline.
_PAIRS = 1 << 20


def outlines(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[Points]:
    """The closed polygons around the parts of an (H, W) mask, each (N, 2) x, y. A part's holes are joined to its
    outline by cuts of zero width.

    tolerance: how far, in pixels, a polygon may deviate from the mask's edge to have fewer points; 0 is exact.
    """
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    found = []
    for part in range(1, count):
        left, top, width, height = boxes[part, :4].tolist()
        window = (parts[top : top + height, left : left + width] == part).astype(np.uint8)
        # The centres of a pixel's four quarters are a quarter of a pixel inside its sides.
        quarters = window.repeat(2, axis=0).repeat(2, axis=1)
        traced, _ = cv2.findContours(quarters, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        rings = [(_with_corners(ring[:, 0], quarters) + 0.5) / 2 + (left, top) for ring in traced]
        # The outer edge of the part encloses the largest area; the others are holes.
        outer, *holes = sorted(rings, key=lambda ring: cv2.contourArea(ring.astype(np.float32)), reverse=True)
        found.append(_joined(_simplified(outer, tolerance), [_simplified(hole, tolerance) for hole in holes]))
    return found


def one_outline(mask: NDArray[np.bool_], tolerance: float = 0.0) -> Points:
    """One closed polygon around all parts of a mask, joined by cuts of zero width, for formats with one polygon per
    object; (0, 2) for an empty mask."""
    parts = sorted(outlines(mask, tolerance), key=len, reverse=True)
    return _joined(parts[0], parts[1:]) if parts else np.zeros((0, 2))


def _with_corners(ring: NDArray[np.int32], inside: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Add the corners that OpenCV cuts off a contour: those where the part turns inward."""
    following = np.roll(ring, -1, axis=0)
    corners = np.stack([following[:, 0], ring[:, 1]], axis=1)
    other = inside[corners[:, 1], corners[:, 0]] == 0
    corners[other] = np.stack([ring[:, 0], following[:, 1]], axis=1)[other]
    cut = (np.abs(following - ring) == 1).all(axis=1) & (inside[corners[:, 1], corners[:, 0]] > 0)
    return np.where(cut[:, None], corners, ring)[~np.roll(cut, 1)]


def _simplified(ring: Points, tolerance: float) -> Points:
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    fewer = cv2.approxPolyDP(ring.astype(np.float32).reshape(-1, 1, 2), tolerance, True).reshape(-1, 2)
    return fewer.astype(np.float64) if len(fewer) >= 3 else ring


def _joined(outer: Points, others: list[Points]) -> Points:
    """`outer` with each of `others` spliced in at the nearest pair of corners."""
    for other in others:
        here, there = _nearest(outer, other)
        turned = np.roll(other, -there, axis=0)
        outer = np.concatenate([outer[: here + 1], turned, turned[:1], outer[here:]])
    return outer


def _nearest(first: Points, second: Points) -> tuple[int, int]:
    """The indices of the two nearest points of two polygons."""
    rows, found = max(1, _PAIRS // len(second)), []
    for start in range(0, len(first), rows):
        some = first[start : start + rows]
        distance = (some**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * some @ second.T
        here, there = divmod(int(distance.argmin()), len(second))
        found.append((distance[here, there], start + here, there))
    return min(found)[1:]


def run_lengths(mask: NDArray[np.bool_]) -> RunLengths:
    """An (H, W) mask as run lengths."""
    return RunLengths(encode_rle(mask)["counts"], (mask.shape[0], mask.shape[1]))


def positioned(part: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of `size` = (H, W) with `part` at (left, top), cropped where it extends beyond the edge."""
    whole = np.zeros(size, dtype=bool)
    window = whole[top : top + part.shape[0], left : left + part.shape[1]]
    window[:] = part[: window.shape[0], : window.shape[1]]
    return whole


def ellipse(radii: tuple[float, float], middle: tuple[float, float] = (0.0, 0.0)) -> Points:
    """64 points (64, 2) on an ellipse. radii: along x and y."""
    angles = np.linspace(0, 2 * np.pi, 65)[:-1]
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + np.array(middle)


def turned(points: Points, degrees: float) -> Points:
    """Rotate points (N, 2) clockwise (y points down) around the origin."""
    turn = math.radians(degrees)
    return points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
