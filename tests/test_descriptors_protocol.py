"""The precision-recall protocol against naive implementations."""

from __future__ import annotations

import numpy as np
import pytest

from hodor_cli.descriptors.search.comparison import Vectors, vectors_of_array
from hodor_cli.descriptors.search.protocol import score_retrieval
from hodor_cli.descriptors.store.schema import RowIndex
from hodor_cli.errors import InputError


def make_rows(objects: int = 6, frames: int = 9, channels: int = 16, seed: int = 0) -> tuple[np.ndarray, RowIndex]:
    """Noisy copies of one centre per object, two objects to a video; the last object has a single row."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(objects, channels))
    label = np.repeat(np.arange(objects), [frames] * (objects - 1) + [1])
    vectors = (centres[label] + rng.normal(size=(len(label), channels))).astype(np.float32)
    videos = tuple(f"v{n}" for n in range((objects + 1) // 2))
    index = RowIndex(
        videos,
        (label // 2).astype(np.int32),
        (label % 2 + 1).astype(np.int32),
        np.arange(len(label), dtype=np.int32),
        np.arange(len(label)) / 25,
    )
    return vectors, index


def naive(vectors: np.ndarray, index: RowIndex, metric: str, within: bool) -> tuple[float, float, float, float, int]:
    from sklearn.metrics import average_precision_score
    from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

    matrix = (euclidean_distances if metric == "euclidean" else cosine_distances)(vectors.astype(np.float64))
    instance = index.instance
    scores, half, one, five = [], [], [], []
    for query in range(len(vectors)):
        others = np.arange(len(vectors)) != query
        if within:
            others &= index.video == index.video[query]
        relevant = instance[others] == instance[query]
        if not relevant.any() or relevant.all():
            continue
        distance = matrix[query][others]
        scores.append(average_precision_score(relevant, -distance))
        ranked = relevant[np.argsort(distance, kind="stable")]
        found = np.cumsum(ranked)
        cut = np.argmax(found >= relevant.sum() / 2)
        half.append(found[cut] / (cut + 1))
        one.append(found[0] > 0)
        five.append(found[min(4, len(found) - 1)] > 0)
    return float(np.mean(scores)), float(np.mean(half)), float(np.mean(one)), float(np.mean(five)), len(scores)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("within", [False, True])
def test_agrees_with_scikit_learn(metric: str, within: bool) -> None:
    pytest.importorskip("sklearn")
    vectors, index = make_rows()
    scores = score_retrieval(vectors_of_array(vectors), index, metric=metric, within_video=within)  # type: ignore[arg-type]
    average, half, one, five, queries = naive(vectors, index, metric, within)
    assert scores.mean_average_precision == pytest.approx(average, abs=1e-9)
    assert scores.precision_at_half_recall == pytest.approx(half, abs=1e-9)
    assert (scores.recall_at_1, scores.recall_at_5) == pytest.approx((one, five))
    assert scores.queries == queries and scores.left_out == len(vectors) - queries
    assert 0 < average < 1  # the case is neither trivial nor hopeless


def test_bounded_memory_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, index = make_rows(8, 40)
    whole = score_retrieval(vectors_of_array(vectors), index)
    largest = 0

    def read(low: int, high: int) -> np.ndarray:
        nonlocal largest
        largest = max(largest, high - low)
        return vectors[low:high]

    monkeypatch.setattr("hodor_cli.descriptors.search.comparison.BLOCK", 13)
    for within in (False, True):
        expected = score_retrieval(vectors_of_array(vectors), index, within_video=within)
        with monkeypatch.context() as patch:
            patch.setattr("hodor_cli.descriptors.search.protocol.MEMORY", 20_000)
            got = score_retrieval(Vectors(len(vectors), read), index, within_video=within)
        np.testing.assert_allclose(got.precision, expected.precision, atol=1e-12)
    assert largest == 13 and whole.precision.shape == (101,)


def test_equal_distances_share_a_rank_whatever_the_order() -> None:
    vectors, index = make_rows(4, 6)
    vectors[:] = 1.0  # everything is equally far: chance level, not whatever order the file has
    scores = score_retrieval(vectors_of_array(vectors), index)
    relevant, others = 5, len(vectors) - 1
    assert scores.mean_average_precision == pytest.approx(relevant / others)
    assert scores.recall_at_1 == 0


def test_perfect_descriptors_score_one() -> None:
    vectors, index = make_rows(6, 9)
    vectors = np.eye(6, dtype=np.float32)[index.instance] * 3
    scores = score_retrieval(vectors_of_array(vectors), index)
    assert scores.mean_average_precision == scores.recall_at_1 == scores.precision[-1] == 1


def test_sampled_queries_are_reproducible_and_said() -> None:
    vectors, index = make_rows(8, 30)
    first = score_retrieval(vectors_of_array(vectors), index, queries=50)
    again = score_retrieval(vectors_of_array(vectors), index, queries=50)
    assert first.sampled and first.queries == 50
    assert first.mean_average_precision == again.mean_average_precision
    assert not score_retrieval(vectors_of_array(vectors), index, queries=10_000).sampled


def test_one_object_has_no_curve() -> None:
    index = RowIndex(
        ("v",), np.zeros(5, np.int32), np.ones(5, np.int32), np.arange(5, dtype=np.int32), np.arange(5) / 25
    )
    with pytest.raises(InputError, match=r"with 1 object in all, no query has something to find"):
        score_retrieval(vectors_of_array(np.ones((5, 4), np.float32)), index)
