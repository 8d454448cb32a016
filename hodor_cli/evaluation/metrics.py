"""J and F of binary masks, and the statistics that the DAVIS benchmark computes from them.

The values equal those of the official DAVIS-2017 evaluation, but are faster to compute: only the bounding box of the
two masks is processed.

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
"""Distance within which two boundaries match, as a fraction of the image diagonal."""


@dataclass(frozen=True)
class Statistics:
    """A series of per-frame values in three numbers: mean, fraction above 0.5, and the loss towards the end."""

    mean: float
    recall: float
    decay: float


def boundary_radius(height: int, width: int) -> int:
    """Tolerance of F in pixels for an image of this size: ceil(0.008 x diagonal)."""
    return math.ceil(BOUNDARY_TOLERANCE * float(np.linalg.norm((height, width))))


def jaccard(truth: Mask, prediction: Mask, void: Mask | None = None) -> float:
    """Intersection over union of two (H, W) masks (non-zero = object), 0..1; two empty masks score 1.

    `void` (H, W) marks pixels that are ignored in both masks. Raises ValueError if the sizes differ.
    """
    return _score_masks(truth, prediction, void)[0]


def boundary_f(truth: Mask, prediction: Mask, void: Mask | None = None) -> float:
    """F-measure of the two masks' boundaries, 0..1; boundary pixels match within `boundary_radius` pixels.

    Masks are (H, W), non-zero = object; `void` marks pixels that are ignored in both. If both boundaries are empty, F
    is 1; if one is, 0. Raises ValueError if the sizes differ.
    """
    return _score_masks(truth, prediction, void)[1]


def score_frame(
    truth: LabelMap, prediction: LabelMap, object_ids: Iterable[int], void: Mask | None = None
) -> dict[int, tuple[float, float]]:
    """(J, F) of each of the `object_ids`, from two (H, W) label maps. Raises ValueError if their sizes differ."""
    if truth.ndim != 2 or truth.shape != prediction.shape or (void is not None and void.shape != truth.shape):
        raise ValueError(f"the prediction is {prediction.shape} and the truth {truth.shape}, but both must be (H, W)")
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
    """Mean, recall (fraction of values above 0.5) and decay (mean of the first quarter minus mean of the last).

    Same as the official evaluation up to 255 frames. For longer sequences, the official decay compares the wrong
    frames, because it stores the borders of the quarters as 8-bit numbers, which wrap around; here they do not.
    Raises ValueError if there are no values.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size == 0:
        raise ValueError("no frames to compute statistics from")
    borders = (np.round(np.linspace(1, series.size, 5) + 1e-10) - 1).astype(np.int64)
    first, last = series[borders[0] : borders[1] + 1], series[borders[3] : borders[4] + 1]
    return Statistics(
        mean=float(series.mean()), recall=float((series > 0.5).mean()), decay=float(first.mean() - last.mean())
    )


def _score_masks(truth: Mask, prediction: Mask, void: Mask | None) -> tuple[float, float]:
    first, second = (np.ascontiguousarray(mask != 0).view(np.uint8) for mask in (truth, prediction))
    return score_frame(first, second, [1], None if void is None else void != 0)[1]


def _region_and_boundary(truth: Binary, prediction: Binary, radius: int) -> tuple[float, float]:
    """J and F of two 0/1 masks of the same size."""
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(truth, prediction))
    if width == 0:
        return 1.0, 1.0
    # One more pixel on every side: boundary pixels can be one pixel above or to the left of their object, and an empty
    # row and column after the object stand for the rest of the image, unless the image ends there.
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
    """Boundary pixels of a 0/1 mask, as 0/1: pixels that differ from their right, lower or lower-right neighbour.

    In the last row only the right neighbour exists, in the last column only the lower one, in the corner none.
    """
    return cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8), anchor=(0, 0))  # type: ignore[return-value]


def _count_near(points: Binary, target: Binary, radius: int) -> int:
    """Number of `points` with a `target` pixel within `radius`."""
    return cv2.countNonZero(cv2.bitwise_and(points, cv2.dilate(target, _disk(radius))))


@lru_cache(maxsize=64)
def _disk(radius: int) -> Binary:
    """Disk as 0/1: x^2 + y^2 <= radius^2."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)
