"""J and F of binary masks, and the statistics that the DAVIS benchmark computes from them.

The values equal those of the official DAVIS-2017 evaluation, with less work: everything is computed inside the
bounding box of the two masks.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.labels.mask_values import LabelMap

Mask = npt.NDArray[np.bool_]
Binary = npt.NDArray[np.uint8]

BOUNDARY_TOLERANCE = 0.008
"""Distance within which two boundaries agree, as a share of the image diagonal."""


@dataclass(frozen=True)
class Statistics:
    """A series of per-frame values in three numbers: mean, share above 0.5, and the loss towards the end."""

    mean: float
    recall: float
    decay: float


def boundary_radius(height: int, width: int) -> int:
    """Tolerance of F in pixels for an image of this size: ceil(0.008 x diagonal)."""
    return math.ceil(BOUNDARY_TOLERANCE * float(np.linalg.norm((height, width))))


def jaccard(truth: Mask, prediction: Mask, void: Mask | None = None) -> float:
    """Intersection over union of two (H, W) masks (non-zero = object), 0..1; two empty masks give 1.

    `void` (H, W) marks pixels that count for neither side. Raises ValueError when the sizes differ.
    """
    return _score_masks(truth, prediction, void)[0]


def boundary_f(truth: Mask, prediction: Mask, void: Mask | None = None) -> float:
    """F-measure of the two masks' boundaries, 0..1, each boundary pixel matched within `boundary_radius` pixels.

    Masks are (H, W), non-zero = object; `void` marks pixels that count for neither side. Both boundaries empty give
    1, one empty gives 0. Raises ValueError when the sizes differ.
    """
    return _score_masks(truth, prediction, void)[1]


def score_frame(
    truth: LabelMap, prediction: LabelMap, object_ids: Iterable[int], void: Mask | None = None
) -> dict[int, tuple[float, float]]:
    """(J, F) of each of the `object_ids` in a frame of two (H, W) label maps; ValueError if they differ in size."""
    if truth.ndim != 2 or truth.shape != prediction.shape or (void is not None and void.shape != truth.shape):
        raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}: two maps (H, W) are needed")
    radius = boundary_radius(*truth.shape)
    keep = None if void is None or not void.any() else ~void
    scores = {}
    for object_id in object_ids:
        of_truth, of_prediction = truth == object_id, prediction == object_id
        if keep is not None:
            of_truth &= keep
            of_prediction &= keep
        scores[object_id] = _region_and_boundary(of_truth.view(np.uint8), of_prediction.view(np.uint8), radius)
    return scores


def statistics(values: Sequence[float] | npt.NDArray[np.float64]) -> Statistics:
    """Mean, recall (share of values above 0.5) and decay (mean of the first quarter minus mean of the last).

    As the official evaluation, except from 256 frames on: it stores the borders of the quarters as 8-bit numbers,
    which wrap around, so that its decay of a longer sequence compares the wrong frames. Here they do not wrap.
    Raises ValueError for no values.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size == 0:
        raise ValueError("no frames to take statistics of")
    borders = (np.round(np.linspace(1, series.size, 5) + 1e-10) - 1).astype(np.int64)
    first, last = series[borders[0] : borders[1] + 1], series[borders[3] : borders[4] + 1]
    return Statistics(
        mean=float(series.mean()), recall=float((series > 0.5).mean()), decay=float(first.mean() - last.mean())
    )


def _score_masks(truth: Mask, prediction: Mask, void: Mask | None) -> tuple[float, float]:
    first, second = (np.ascontiguousarray(mask != 0).view(np.uint8) for mask in (truth, prediction))
    return score_frame(first, second, [1], None if void is None else void != 0)[1]


def _region_and_boundary(truth: Binary, prediction: Binary, radius: int) -> tuple[float, float]:
    """J and F of two 0/1 masks of one size."""
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(truth, prediction))
    if width == 0:
        return 1.0, 1.0
    # One pixel more on every side: a boundary pixel lies up to one above or left of the object it belongs to, and the
    # empty row and column after it stand for the rest of the image. Where the image itself ends there is none.
    box = (slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1))
    truth, prediction = np.ascontiguousarray(truth[box]), np.ascontiguousarray(prediction[box])
    union = cv2.countNonZero(cv2.bitwise_or(truth, prediction))
    j = cv2.countNonZero(cv2.bitwise_and(truth, prediction)) / union
    truth, prediction = _boundary(truth), _boundary(prediction)
    of_truth, of_prediction = cv2.countNonZero(truth), cv2.countNonZero(prediction)
    if of_truth == 0 or of_prediction == 0:
        return j, float(of_truth == of_prediction)
    precision = _count_near(prediction, truth, radius) / of_prediction
    recall = _count_near(truth, prediction, radius) / of_truth
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Binary) -> Binary:
    """Boundary pixels of a 0/1 mask, as 0/1: those that differ from their right, lower or lower-right neighbour.

    At the last row only the right neighbour exists, at the last column only the lower one, in the corner none.
    """
    return cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8), anchor=(0, 0))  # type: ignore[return-value]


def _count_near(points: Binary, target: Binary, radius: int) -> int:
    """Number of `points` that have a `target` pixel within `radius`."""
    return cv2.countNonZero(cv2.bitwise_and(points, cv2.dilate(target, _disk(radius))))


@lru_cache(maxsize=64)
def _disk(radius: int) -> Binary:
    """0/1: x^2 + y^2 <= radius^2."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)
