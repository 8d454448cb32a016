"""Tells object ids from the blended values that soft edges leave in a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EdgeReport:
    """soft: values that occur only between others, as blended edges leave them. solid: values that fill at least one
    3x3 block. Both are indices into the examined values. solid_share: share of all pixels at the middle of such blocks.
    """

    soft: np.ndarray
    solid: np.ndarray
    solid_share: float


def examine_edges(index_map: np.ndarray, channels: np.ndarray) -> EdgeReport:
    """Tell solid values from soft ones.

    index_map: (H, W) non-negative integers, one number per different value. channels: (H, W, C) the values themselves.
    A value is soft if it fills no 3x3 block and if, in some channel, at least half of its pixels lie strictly between
    the lowest and the highest of their neighbours. A tiny object is not soft, because it differs from all neighbours.
    """
    padded = np.pad(index_map, 1, mode="edge")
    solid_pixels = np.ones(index_map.shape, dtype=bool)
    for window in _neighbours(padded, index_map.shape):
        solid_pixels &= window == index_map
    between = np.zeros(index_map.shape, dtype=bool)
    for channel in np.moveaxis(channels, -1, 0):
        padded = np.pad(channel, 1, mode="edge")
        low, high = channel.copy(), channel.copy()
        for window in _neighbours(padded, channel.shape):
            np.minimum(low, window, out=low)
            np.maximum(high, window, out=high)
        between |= (low < channel) & (channel < high)
    count = int(index_map.max(initial=0)) + 1
    total = np.bincount(index_map.ravel(), minlength=count)
    solid = np.bincount(index_map[solid_pixels], minlength=count)
    blended = np.bincount(index_map[between], minlength=count)
    soft = (total > 0) & (solid == 0) & (2 * blended >= total)
    return EdgeReport(np.flatnonzero(soft), np.flatnonzero(solid), float(solid_pixels.mean()))


def _neighbours(padded: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    height, width = shape
    offsets = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return [padded[y : y + height, x : x + width] for y, x in offsets]
