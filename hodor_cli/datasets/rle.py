"""Masks out of COCO segmentations: compressed and uncompressed run lengths, and polygons.

The results are bit for bit those of pycocotools, without needing it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_POLYGON_SCALE = 5  # COCO draws outlines on a grid five times as fine


def decode_segmentation(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The (height, width) bool mask of one annotation's `segmentation` field.

    Polygons are a list of flat [x0, y0, x1, y1, ...] lists, run lengths a dict of `counts` (text or a list) and `size`.
    Raises ValueError, with the reason, for anything else.
    """
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        if size is not None and [int(side) for side in size] != [height, width]:
            raise ValueError(f"mask is {size[1]}x{size[0]}, image {width}x{height}")
        counts = segmentation.get("counts")
        if isinstance(counts, (str, bytes)):
            runs = decompress_counts(counts)
        elif isinstance(counts, list):
            runs = np.asarray(counts, dtype=np.int64)
        else:
            raise ValueError("run lengths have no counts")
        return _runs_to_mask(runs, height, width)
    if isinstance(segmentation, list) and segmentation:
        mask = np.zeros((height, width), dtype=bool)
        for polygon in segmentation:
            mask |= polygon_mask(polygon, height, width)
        return mask
    raise ValueError("no polygon and no run lengths")


def decompress_counts(text: str | bytes) -> NDArray[np.int64]:
    """Run lengths from COCO's compressed text: 5 bits a character, differences to the run two before."""
    raw = text.encode("ascii") if isinstance(text, str) else text
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.zeros(0, dtype=np.int64)
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("compressed run lengths are damaged")
    last = (codes & 32) == 0
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    lengths = np.diff(np.append(starts, len(codes)))
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    if place.max() > 11:
        raise ValueError("compressed run lengths are damaged")
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = (codes[last] & 16) != 0
    values = np.where(negative, values - (np.int64(1) << (5 * lengths)), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])  # the first run stands alone, the third is not a difference either
    return np.asarray(values, dtype=np.int64)


def _runs_to_mask(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    total = height * width
    if (len(runs) and runs.min() < 0) or int(runs.sum()) != total:
        raise ValueError(f"run lengths cover {int(runs.sum())} pixels, the image has {total}")
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def polygon_mask(polygon: Sequence[float], height: int, width: int) -> NDArray[np.bool_]:
    """The (height, width) bool mask inside one flat [x0, y0, x1, y1, ...] outline, drawn exactly as COCO does."""
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
        raise ValueError("a polygon needs at least 3 finite points")
    scaled = np.trunc(points.reshape(-1, 2) * _POLYGON_SCALE + 0.5).astype(np.int64)
    across, down = _outline(np.concatenate([scaled, scaled[:1]]))
    # Only where the outline moves to another column can a run begin or end.
    before, after = across[:-1], across[1:]
    moved = before != after
    column = (np.where(after < before, after, after - 1)[moved] + 0.5) / _POLYGON_SCALE - 0.5
    row = (np.minimum(down[:-1], down[1:])[moved] + 0.5) / _POLYGON_SCALE - 0.5
    keep = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    column, row = column[keep], np.ceil(np.clip(row[keep], 0, height))
    flips = np.bincount((column * height + row).astype(np.int64), minlength=height * width + 1)[: height * width]
    return np.ascontiguousarray((np.cumsum(flips) % 2 == 1).reshape(width, height).T)


def _outline(points: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every grid point along the closed outline: columns and rows."""
    columns, rows = [], []
    for (x0, y0), (x1, y1) in zip(points[:-1].tolist(), points[1:].tolist(), strict=True):
        wide, high = abs(x1 - x0), abs(y1 - y0)
        flat = wide >= high
        flip = x0 > x1 if flat else y0 > y1
        if flip:
            x0, x1, y0, y1 = x1, x0, y1, y0
        steps = np.arange(max(wide, high) + 1)
        if flip:
            steps = steps[::-1]
        slope = ((y1 - y0) / wide if wide else math.nan) if flat else (x1 - x0) / high
        if flat:
            columns.append(steps + x0)
            rows.append(np.trunc(y0 + (slope * steps if wide else 0.0 * steps) + 0.5).astype(np.int64))
        else:
            rows.append(steps + y0)
            columns.append(np.trunc(x0 + slope * steps + 0.5).astype(np.int64))
    return np.concatenate(columns), np.concatenate(rows)
