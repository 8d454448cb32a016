"""J and F against their definitions, written out slowly."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from hodor_cli.evaluation.metrics import (
    _boundary,
    boundary_f,
    boundary_radius,
    jaccard,
    score_frame,
    statistics,
)

cv2 = pytest.importorskip("cv2")


def slow_boundary(mask: np.ndarray) -> np.ndarray:
    result = np.zeros_like(mask, bool)
    result[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    result[:-1] |= mask[:-1] != mask[1:]
    result[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return result


def slow_f(truth: np.ndarray, prediction: np.ndarray) -> float:
    a, b = np.argwhere(slow_boundary(truth)), np.argwhere(slow_boundary(prediction))
    if len(a) == 0 or len(b) == 0:
        return float(len(a) == len(b))
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    near = ((a[:, None] - b[None]) ** 2).sum(-1) <= radius * radius
    precision, recall = near.any(0).mean(), near.any(1).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def drawing(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Circles and boxes that also reach over every edge."""
    mask = np.zeros(size, np.uint8)
    for _ in range(rng.integers(0, 4)):
        center = (int(rng.integers(-5, size[1] + 5)), int(rng.integers(-5, size[0] + 5)))
        cv2.circle(mask, center, int(rng.integers(0, max(size) // 2)), 1, -1)
        corner = (center[0] + int(rng.integers(0, 30)), center[1] + int(rng.integers(0, 9)))
        cv2.rectangle(mask, center, corner, 1, -1)
    return mask > 0


@pytest.mark.parametrize("seed", range(20))
def test_j_and_f_follow_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = [(31, 44), (60, 41), (3, 90), (150, 170), (260, 300)][seed % 5]
    truth = drawing(rng, size)
    prediction = np.roll(truth, rng.integers(-9, 9, 2), (0, 1)) if seed % 3 else drawing(rng, size)
    union = (truth | prediction).sum()
    assert jaccard(truth, prediction) == ((truth & prediction).sum() / union if union else 1.0)
    assert boundary_f(truth, prediction) == pytest.approx(slow_f(truth, prediction), abs=1e-12)
    np.testing.assert_array_equal(_boundary(truth.view(np.uint8)).view(bool), slow_boundary(truth))


def test_the_tolerance_reaches_as_far_as_the_disk_and_no_further() -> None:
    size = (480, 854)
    radius = boundary_radius(*size)
    assert radius == 8
    for dy in range(radius + 3):
        for dx in range(radius + 3):
            one, other = np.zeros(size, bool), np.zeros(size, bool)
            one[200, 300] = other[200 + dy, 300 + dx] = True
            assert boundary_f(one, other) == pytest.approx(slow_f(one, other), abs=1e-12), (dy, dx)


def test_empty_and_full_masks() -> None:
    empty, full = np.zeros((20, 30), bool), np.ones((20, 30), bool)
    some = empty.copy()
    some[5:9, 5:9] = True
    assert (jaccard(empty, empty), boundary_f(empty, empty)) == (1.0, 1.0)
    assert (jaccard(some, empty), boundary_f(some, empty)) == (0.0, 0.0)
    assert (jaccard(empty, some), boundary_f(empty, some)) == (0.0, 0.0)
    # A full mask has no boundary: nothing differs from it inside the image.
    assert (jaccard(full, empty), boundary_f(full, empty)) == (0.0, 1.0)
    assert (jaccard(full, full), boundary_f(full, full)) == (1.0, 1.0)


def test_void_pixels_count_for_neither_side() -> None:
    truth, prediction, void = (np.zeros((40, 40), bool) for _ in range(3))
    truth[5:15, 5:15] = prediction[5:15, 5:15] = True
    prediction[5:15, 25:35] = void[4:16, 24:36] = True
    assert jaccard(truth, prediction) == 0.5
    assert (jaccard(truth, prediction, void), boundary_f(truth, prediction, void)) == (1.0, 1.0)
    labels = truth.astype(np.uint8)
    assert score_frame(labels, prediction.astype(np.uint8), [1], void) == {1: (1.0, 1.0)}


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="truth"):
        jaccard(np.zeros((4, 5), bool), np.zeros((5, 4), bool))
    with pytest.raises(ValueError, match="truth"):
        score_frame(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), [1])


def official_statistics(values: np.ndarray) -> tuple[float, float, float]:
    """As the official package computes them, its 8-bit borders included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ids = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.uint8)
        bins = [values[ids[i] : ids[i + 1] + 1] for i in range(4)]
        return float(np.mean(values)), float(np.mean(values > 0.5)), float(np.mean(bins[0]) - np.mean(bins[3]))


def test_statistics_are_the_official_ones_up_to_255_frames_and_right_beyond() -> None:
    rng = np.random.default_rng(0)
    for length in (1, 2, 3, 4, 5, 7, 23, 100, 255):
        values = rng.random(length)
        found = statistics(values)
        assert (found.mean, found.recall, found.decay) == pytest.approx(official_statistics(values), abs=1e-12)
    falling = np.linspace(1, 0, 1000)
    assert statistics(falling).decay == pytest.approx(0.75, abs=0.01)
    assert official_statistics(falling)[2] != pytest.approx(0.75, abs=0.1)
    assert statistics([0.5, 0.5001]).recall == 0.5
    with pytest.raises(ValueError, match="no frames"):
        statistics([])


def test_agrees_with_vos_benchmark() -> None:
    evaluator = pytest.importorskip("vos_benchmark.evaluator", reason="vos-benchmark is not installed")
    rng = np.random.default_rng(5)
    for _ in range(15):
        size = tuple(rng.integers(40, 200, 2))
        truth, prediction = (sum(drawing(rng, size).astype(np.uint8) for _ in range(3)) for _ in range(2))
        theirs = evaluator.Evaluator()
        theirs.feed_frame(prediction, truth)
        ours = score_frame(truth, prediction, list(theirs.object_iou))
        for object_id, (j, f) in ours.items():
            assert j == pytest.approx(theirs.object_iou[object_id][0], abs=1e-12)
            assert f == pytest.approx(theirs.boundary_f[object_id][0], abs=1e-12)
