"""Converts masks to and from COCO segmentations: polygons, and run lengths with or without compression.

pycocotools draws them without checking its input. So this module first checks that run lengths fill the picture
exactly, and that drawing a polygon cannot write outside its memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from hodor_cli.datasets.parsing import reason_of
from hodor_cli.images.paths import size_text
from hodor_cli.images.pillow import MOST_PIXELS


class SizeMismatchError(ValueError):
    """Run lengths whose size differs from their image's."""


class RunLengths(msgspec.Struct):
    """COCO's run lengths. counts: compressed text or a list; runs go down the columns, background first."""

    counts: str | list[int]
    size: tuple[int, int] | None = None


Segmentation = RunLengths | list[list[float]]


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The COCO run lengths of an (H, W) bool mask: `size` (height, width), and `counts` as compressed text."""
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": packed["counts"].decode("ascii")}


def decode_segmentation(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Draw the (height, width) bool mask of an annotation's `segmentation` field (parsed JSON or `Segmentation`).

    Raises ValueError, with the reason, if it is not a mask of that size.
    """
    checked = check_segmentation(segmentation, height, width)
    return np.zeros((height, width), dtype=bool) if checked is None else _draw(checked, height, width)


def check_segmentation(segmentation: Any, height: int, width: int) -> Segmentation | None:
    """Check that a segmentation can be drawn and return it as `Segmentation`, or None if it covers no pixel. Raises
    ValueError, with the reason, if it is not a mask of that size."""
    if not 0 < height * width <= MOST_PIXELS or height < 0:
        raise ValueError(f"a picture of {width}x{height} pixels cannot have a mask")
    if isinstance(segmentation, list) and segmentation and isinstance(segmentation[0], int | float):
        segmentation = [segmentation]  # some programs write a single polygon without the outer list
    try:
        checked = msgspec.convert(segmentation, Segmentation)
    except msgspec.ValidationError as error:
        raise ValueError(f"neither polygons [[x0, y0, x1, y1, ...], ...] nor run lengths: {reason_of(error)}") from None
    if isinstance(checked, RunLengths):
        return checked if _check_runs(checked, height, width) else None
    if not checked:
        raise ValueError("neither polygons nor run lengths")
    certain = [_check_polygon(polygon, height, width) for polygon in checked]
    return checked if any(certain) or _draw(checked, height, width).any() else None


def why_empty(segmentation: Any, height: int, width: int) -> str:
    """Why a segmentation covers no pixel, if its coordinates explain it; otherwise ""."""
    polygons = segmentation if isinstance(segmentation, list) else []
    values = np.asarray([value for polygon in polygons for value in np.ravel(polygon)], dtype=np.float64)
    if not len(values):
        return ""
    x, y = values[::2], values[1::2]
    if values.min() >= 0 and values.max() <= 1:
        return "its coordinates are all from 0 to 1, like fractions of the picture's size; COCO's are pixels"
    if x.max() <= 0 or y.max() <= 0 or x.min() >= width or y.min() >= height:
        return f"it is outside the {width}x{height} picture; was it drawn at another size?"
    return ""


def reaches_far_outside(segmentation: Segmentation, height: int, width: int) -> bool:
    """Whether a polygon reaches outside the picture by more than a quarter of the picture's width or height."""
    polygons = [] if isinstance(segmentation, RunLengths) else segmentation
    sides = [(polygon[start::2], side / 4) for polygon in polygons for start, side in enumerate((width, height))]
    return any(min(values) < -quarter or max(values) > 5 * quarter for values, quarter in sides)


def _draw(segmentation: Segmentation, height: int, width: int) -> NDArray[np.bool_]:
    if not isinstance(segmentation, RunLengths):
        merged = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        segmentation = RunLengths(merged["counts"].decode("ascii"))
    counts = _counts(segmentation)  # pycocotools' own `decode` gives a DeprecationWarning with NumPy 2
    drawn = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(drawn.reshape(width, height).T)


def _check_runs(runs: RunLengths, height: int, width: int) -> bool:
    """Whether the run lengths cover a pixel. Raises ValueError if they do not fill the picture exactly."""
    if runs.size is not None and tuple(runs.size) != (height, width):
        raise SizeMismatchError(f"mask is {size_text(runs.size)}, image {width}x{height}")
    total = height * width
    counts = _counts(runs)
    # Each run length is compared with the total first, so that their sum cannot overflow.
    outside = next((count for count in (counts.min(initial=0), counts.max(initial=0)) if not 0 <= count <= total), None)
    if outside is not None:
        raise ValueError(f"a run length is {outside}, but the image has {total} pixels")
    if int(counts.sum()) != total:
        raise ValueError(f"run lengths cover {counts.sum()} pixels, but the image has {total} pixels")
    return bool(counts[1::2].any())


def _counts(runs: RunLengths) -> NDArray[np.int64]:
    """Decode the run lengths. COCO's text has 5 bits per character, and stores each run from the fourth on as its
    difference from the run two before it."""
    if isinstance(runs.counts, list):
        try:
            return np.asarray(runs.counts, dtype=np.int64)
        except OverflowError:
            raise ValueError("a run length is larger than any picture") from None
    codes = np.frombuffer(runs.counts.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 32 == 0)
    digits = np.diff(ends, prepend=-1)
    # Seven characters are enough for any picture, and keep the sums below within 64 bits.
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 32 or digits.max() > 7):
        raise ValueError("compressed run lengths are damaged")
    if not len(codes):
        return codes
    starts = ends - digits + 1
    place = np.arange(len(codes)) - np.repeat(starts, digits)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * digits), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])  # the first and the third run are not differences
    return np.asarray(values, dtype=np.int64)


def _check_polygon(polygon: Sequence[float], height: int, width: int) -> bool:
    """Whether the polygon certainly covers a pixel: it is inside the picture and not thin. Raises ValueError if it is
    invalid."""
    if len(polygon) < 6 or len(polygon) % 2 or not all(map(math.isfinite, polygon)):
        raise ValueError("a polygon needs at least 3 finite points")
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).clip(-1e7, 1e7)
    # pycocotools needs memory for each step along the outline, so one that is far too long for the picture is refused.
    steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if np.abs(points).max() > 1e6 or steps > height * width + 16 * (height + width) + len(points):
        raise ValueError(f"the polygon reaches far outside the image of {width}x{height} pixels")
    x, y = points.T
    inside = x.max() > 1 and y.max() > 1 and x.min() < width - 1 and y.min() < height - 1
    return inside and abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) > 16
