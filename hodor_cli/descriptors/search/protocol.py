"""How well descriptors tell objects apart: the retrieval protocol of HODOR (CVPR 2022, figure 2).

Every row (one object in one frame) is a query. All other rows are ranked by their distance to it, and those of the same
object in the same video are relevant. Precision and recall are averaged over all queries with something to find.

Two galleries: `across` ranks the rows of all videos, `within` only those of the query's own video, which measures how
well objects of one scene are told apart. Exact: every distance is computed, and equal distances share a rank, as in
scikit-learn's `average_precision_score`. Memory is bounded by `MEMORY`: distances are computed for a block of queries
at a time, and rows that do not fit are read again for each block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hodor_cli.descriptors.search.comparison import Metric, Vectors, distances, vectors_of_array
from hodor_cli.descriptors.store.schema import RowIndex
from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural

RECALL_LEVELS = np.linspace(0, 1, 101)
DOUBLE_PRECISION_BELOW = 20_000  # rows; up to here, distances in float64 take no noticeable time
MEMORY = 1 << 30  # bytes for distances and for rows kept in memory


@dataclass(frozen=True)
class RetrievalScores:
    """The numbers of one curve, in 0..1 except counts and seconds.

    precision: (101,) at recall 0, 0.01 .. 1, mean over queries; each query's precision is taken at the shortest list
    that reaches the recall. recall_at_k: share of queries with a relevant row among the k nearest. objects: how many
    the queries show.
    """

    gallery: str
    metric: str
    rows: int
    objects: int
    queries: int
    left_out: int  # queries without a relevant row, or without any other row to confuse it with
    sampled: bool
    mean_average_precision: float
    recall_at_1: float
    recall_at_5: float
    precision: np.ndarray
    seconds: float

    @property
    def precision_at_half_recall(self) -> float:
        """The precision at recall 0.5."""
        return float(self.precision[50])


def score_retrieval(
    vectors: Vectors,
    index: RowIndex,
    *,
    metric: Metric = "euclidean",
    within_video: bool = False,
    queries: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RetrievalScores:
    """Run the protocol over rows in the order of `index`.

    queries: how many rows to use as queries, drawn at random with a fixed seed; all by default. The gallery is always
    complete. progress: called with (queries done, queries in all).
    Raises InputError if no query has both a relevant and an irrelevant row, for example with one object only.
    """
    started = time.perf_counter()
    if vectors.count != len(index):
        raise ValueError(f"{vectors.count} vectors for {len(index)} rows")
    instance = index.instance
    # Queries are rows with at least one relevant and one irrelevant row in their gallery.
    same = np.bincount(instance)[instance]
    gallery = np.bincount(index.video)[index.video] if within_video else np.full(len(instance), len(instance))
    usable = np.flatnonzero((same > 1) & (gallery > same))
    if not len(usable):
        objects = plural(len(np.unique(instance)), "object") + (" within one video" if within_video else " in all")
        raise InputError(f"with {objects}, no query has something to find and something to confuse; export more")
    asking = usable
    if queries is not None and queries < len(usable):
        asking = np.sort(np.random.default_rng(0).choice(usable, queries, replace=False))
    sums, done = np.zeros(3 + len(RECALL_LEVELS)), 0
    group = index.video if within_video else np.zeros(len(index), np.int32)
    if vectors.count * vectors.read(0, 1).shape[1] * 4 <= MEMORY // 2:
        vectors = vectors_of_array(vectors.read(0, vectors.count))
    for value in np.unique(group[asking]):
        # Rows of one video are contiguous, so a gallery is a range of rows.
        low, high = np.searchsorted(group, (value, value + 1)).tolist()
        inside = asking[(asking >= low) & (asking < high)]
        for scores in _score_gallery(vectors.part(low, high), instance[low:high], inside - low, metric):
            sums, done = sums + scores.sum(axis=0), done + len(scores)
            if progress is not None:
                progress(done, len(asking))
    average_precision, hits_1, hits_5, *precision = (sums / done).tolist()
    return RetrievalScores(
        gallery="within" if within_video else "across", metric=metric, rows=len(index),
        objects=len(np.unique(instance[usable])), queries=done, left_out=len(index) - len(usable),
        sampled=len(asking) < len(usable), mean_average_precision=average_precision, recall_at_1=hits_1,
        recall_at_5=hits_5, precision=np.array(precision), seconds=time.perf_counter() - started,
    )  # fmt: skip


def _score_gallery(rows: Vectors, instance: np.ndarray, asking: np.ndarray, metric: Metric) -> Iterator[np.ndarray]:
    """The scores (n, 104) of the queries `asking` (row numbers) among `rows`, one block of queries after another.

    instance: the object of each row.
    """
    dtype = np.float64 if rows.count <= DOUBLE_PRECISION_BELOW else np.float32
    order = np.argsort(instance, kind="stable")
    starts = np.searchsorted(instance[order], np.arange(instance.max() + 2))
    # Half of the memory is for a block's distances, the other half for rows kept in memory.
    at_once = max(1, MEMORY // 2 // (rows.count * np.dtype(dtype).itemsize))
    centre: np.ndarray | None = None
    for first in range(0, len(asking), at_once):
        block = asking[first : first + at_once]
        query = rows.take(block).astype(dtype)
        matrix = np.empty((len(block), rows.count), dtype)
        for start, values in rows:
            values = values.astype(dtype)
            if centre is None:
                # Centring changes no difference between rows, and float32 is more precise near the origin.
                centre = values.mean(axis=0) if metric == "euclidean" else np.zeros(values.shape[1], dtype)
            matrix[:, start : start + len(values)] = distances(query - centre, values - centre, metric)
        matrix[np.arange(len(block)), block] = np.inf
        scores = []
        for distance, row in zip(matrix, block, strict=True):
            same = order[starts[instance[row]] : starts[instance[row] + 1]]
            scores.append(_score_query(distance, same[same != row]))
        yield np.stack(scores)


def _score_query(distance: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Average precision, whether the nearest 1 and 5 include a relevant row, and precision at the recall levels.

    distance: from the query to all rows (infinite to its own). relevant: the indices of the relevant rows.
    """
    near = np.sort(distance[relevant])
    retrieved = np.searchsorted(np.sort(distance), near, side="right")
    found = np.searchsorted(near, near, side="right")
    precision = found / retrieved
    reach = np.maximum(np.ceil(RECALL_LEVELS * len(near) - 1e-9).astype(int) - 1, 0)
    wrong_before = int(retrieved[0] - found[0])  # an equally near wrong row counts as nearer
    return np.array([precision.mean(), wrong_before < 1, wrong_before < 5, *precision[reach]])
