"""Shapes of other tools as points and run lengths."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.rle import RunLengths, encode_rle

Points = NDArray[np.float64]


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
