"""Masks out of COCO segmentations: compressed and uncompressed run lengths, and polygons.

pycocotools draws them. It trusts what it is given, so run lengths and polygons are checked here first: what passes
fills exactly the picture and cannot write past memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Pixels of the largest picture whose masks are drawn.
MOST_PIXELS = 1 << 28
_FLAT = "a polygon is a flat list [x0, y0, x1, y1, ...] inside a list of polygons"


class SizeMismatchError(ValueError):
    """Run lengths of another size than their image."""


class RunLengths(msgspec.Struct):
    """COCO's run lengths: `counts` as compressed text or a list, down the columns, background first."""

    counts: str | list[int]
    size: tuple[int, int] | None = None


Segmentation = RunLengths | list[list[float]]


def decode_segmentation(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The (height, width) bool mask of one annotation's `segmentation` field, as parsed JSON or as `Segmentation`.

    Raises ValueError, with the reason, for anything that is no mask of that size.
    """
    from pycocotools import mask as coco_mask

    checked = check_segmentation(segmentation, height, width)
    size = [height, width]
    if isinstance(checked, RunLengths):
        runs = {"size": size, "counts": checked.counts}
        packed = coco_mask.frPyObjects(runs, height, width) if isinstance(checked.counts, list) else runs
    else:
        packed = coco_mask.merge(coco_mask.frPyObjects(checked, height, width))
    return np.ascontiguousarray(coco_mask.decode(packed), dtype=bool)


def check_segmentation(segmentation: Any, height: int, width: int) -> Segmentation:
    """The segmentation, typed and known to be drawable. Raises ValueError, with the reason, for any other."""
    if not 0 < height * width <= MOST_PIXELS or height < 0:
        raise ValueError(f"a picture of {width}x{height} pixels holds no mask")
    try:
        checked = msgspec.convert(segmentation, Segmentation)
    except msgspec.ValidationError as error:
        raise ValueError(_wrong_form(segmentation, error)) from None
    if isinstance(checked, RunLengths):
        _check_runs(checked, height, width)
        return checked
    if not checked:
        raise ValueError("no polygon and no run lengths")
    for polygon in checked:
        _check_polygon(polygon, height, width)
    return checked


def is_empty(segmentation: Segmentation, height: int, width: int) -> bool:
    """Whether a checked segmentation has no pixel; drawn only where its numbers leave that open."""
    if isinstance(segmentation, RunLengths):
        runs = _expand(segmentation.counts) if isinstance(segmentation.counts, str) else segmentation.counts
        return not any(runs[1::2])
    for polygon in segmentation:
        x, y = np.asarray(polygon).reshape(-1, 2).T
        inside = x.max() > 1 and y.max() > 1 and x.min() < width - 1 and y.min() < height - 1
        if inside and abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) > 16:
            return False
    return not decode_segmentation(segmentation, height, width).any()


def parse_segmentation(data: bytes | msgspec.Raw) -> Any:
    """The `segmentation` field out of JSON: `Segmentation`, or plain values where it is neither; a single flat polygon
    becomes a list of one. Raises ValueError for what is no JSON."""
    try:
        return msgspec.json.decode(data, type=Segmentation)
    except msgspec.ValidationError:
        pass
    except (ValueError, RecursionError) as error:
        raise ValueError("the segmentation cannot be read") from error
    try:
        return [msgspec.json.decode(data, type=list[float])]
    except msgspec.ValidationError:
        return msgspec.json.decode(data)


def _wrong_form(segmentation: Any, error: msgspec.ValidationError) -> str:
    if isinstance(segmentation, dict) and segmentation.get("counts") is None:
        return "run lengths have no counts"
    if isinstance(segmentation, list) and segmentation and isinstance(segmentation[0], int | float):
        return f"the polygon is not a list of lists: {_FLAT}"
    if isinstance(segmentation, dict | list):
        return f"the segmentation is of a wrong type: {str(error)[0].lower()}{str(error)[1:]}"
    return "no polygon and no run lengths"


def _check_runs(runs: RunLengths, height: int, width: int) -> None:
    if runs.size is not None and tuple(runs.size) != (height, width):
        raise SizeMismatchError(f"mask is {runs.size[1]}x{runs.size[0]}, image {width}x{height}")
    total = height * width
    counts = _expand(runs.counts) if isinstance(runs.counts, str) else runs.counts
    # Each is compared with the total before they are summed, so that no sum can wrap around.
    if any(not 0 <= count <= total for count in counts):
        raise ValueError(
            f"a run length is {next(c for c in counts if not 0 <= c <= total)}, the image has {total} pixels"
        )
    if sum(counts) != total:
        raise ValueError(f"run lengths cover {sum(counts)} pixels, the image has {total} pixels")


def _expand(text: str) -> list[int]:
    """Run lengths from COCO's compressed text: 5 bits a character, differences to the run two before."""
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("utf-8", "replace"):
        digit = code - 48
        if not 0 <= digit < 64 or shift > 30:
            raise ValueError("compressed run lengths are damaged")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths are damaged")
    return counts


def _check_polygon(polygon: Sequence[float], height: int, width: int) -> None:
    if len(polygon) < 6 or len(polygon) % 2 or not all(map(math.isfinite, polygon)):
        raise ValueError("a polygon needs at least 3 finite points")
    # pycocotools takes memory for every step along the outline, so an outline far longer than the picture is refused.
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if np.abs(points).max() > 1e6 or steps > height * width + 16 * (height + width) + len(points):
        raise ValueError(f"the polygon reaches far outside the image of {width}x{height} pixels")
