"""What two objects are compared by: the encoder's descriptor, the baseline's features, or a projection of both.

Stores and queries hold the first two; projected vectors are computed from them when needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from hodor_cli.descriptors.search.projection import Projection, projection_for, unit_length
from hodor_cli.descriptors.search.query import Query
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import InputError, UsageError

By = Literal["descriptor", "baseline", "projection"]
Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Comparison:
    """Selects the vectors to compare, from stored rows and from queries.

    by: "descriptor" (what the decoder reads), "baseline" (means of the backbone's features inside the mask), or
    "projection", which needs the `projection` that maps both.
    """

    by: By = "descriptor"
    projection: Projection | None = None

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise UsageError(f"objects are compared by {', '.join(get_args(By))}, not by {self.by!r}")
        if (self.by == "projection") != (self.projection is not None):
            raise UsageError("a `projection` must be given to compare by projection, and only then")

    def alike_below(self, metric: Metric) -> float | None:
        """The distance below which two views are taken to show the same object, or None if it is not known."""
        if self.projection is None:
            return None
        limit = self.projection.alike_below  # between vectors of unit length
        return limit if metric == "euclidean" else limit**2 / 2

    def vectors(self, store: DescriptorStore, *, videos: list[str] | None = None) -> Vectors:
        """The rows of a store (or of some videos), in the order of `store.index(videos)`.

        Raises InputError if the projection belongs to another model; reading rows raises it if their video was exported
        without the features to compare.
        """
        if (projection := self.projection) is None:
            return vectors_of_store(store, self.by, videos)
        projection.require_model(store.info.model_fingerprint)
        both = [vectors_of_store(store, dataset, videos) for dataset in ("descriptor", "baseline")]
        return Vectors(both[0].count, lambda low, high: projection(*(one.read(low, high) for one in both)))

    def query_vectors(self, query: Query) -> np.ndarray:
        """The query's vectors (K, D) float32. Raises InputError if they need features that it was saved without."""
        if self.by == "descriptor":
            return query.descriptors.astype(np.float32)
        if query.baseline is None:
            raise InputError(f"{query.label} has no baseline features; export it again, or use `by=descriptor`")
        if self.projection is None:
            return query.baseline.astype(np.float32)
        return self.projection(query.descriptors, query.baseline)


def possible_comparisons(store: DescriptorStore) -> list[Comparison]:
    """The comparisons that a store allows, the best last (see the table in docs/descriptors.md); by projection only if
    the package has one for its model."""
    found = [Comparison("descriptor")]
    # A video without rows has no baseline features, and needs none.
    if all(store.has(name, "baseline") or not store.count([name]) for name in store.videos):
        found.append(Comparison("baseline"))
        projection = projection_for(store.info.model_fingerprint)
        if projection is not None:
            found.append(Comparison("projection", projection))
    return found


def choose_comparison(store: DescriptorStore, by: By | None = None, projection_file: Path | None = None) -> Comparison:
    """The comparison `by`, or by default the best that a store allows: by projection, baseline or descriptor.

    projection_file: used instead of the package's projection. Raises UsageError if it contradicts `by`, InputError if
    there is no projection for the store's model.
    """
    if projection_file is not None and by not in (None, "projection"):
        raise UsageError(f"`projection` contradicts `by={by}`; leave one of them out")
    if projection_file is not None or by == "projection":
        projection = projection_for(store.info.model_fingerprint, projection_file)
        if projection is None:
            raise InputError(f"there is no projection for the model of {store.path}; learn one with `fit_projection`")
        return Comparison("projection", projection)
    return Comparison(by) if by is not None else possible_comparisons(store)[-1]


BLOCK = 16384  # rows read at a time


@dataclass(frozen=True)
class Vectors:
    """`count` rows; `read(low, high)` returns a range of them as an (n, C) array."""

    count: int
    read: Callable[[int, int], np.ndarray]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order as (first row, at most `BLOCK` rows)."""
        for start in range(0, self.count, BLOCK):
            yield start, self.read(start, min(start + BLOCK, self.count))

    def part(self, low: int, high: int) -> Vectors:
        """The rows low <= row < high, renumbered from 0."""
        return Vectors(high - low, lambda first, last: self.read(low + first, low + last))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows at sorted indices, read in one pass."""
        blocks = np.split(rows, np.searchsorted(rows, range(BLOCK, self.count, BLOCK)))
        spans = [(part[0], part[-1] + 1, part) for part in blocks if len(part)]
        return np.concatenate([self.read(int(low), int(high))[part - low] for low, high, part in spans])


def vectors_of_array(array: np.ndarray) -> Vectors:
    """Rows that are in memory already."""
    return Vectors(len(array), lambda low, high: array[low:high])


def vectors_of_store(store: DescriptorStore, dataset: str = "descriptor", videos: list[str] | None = None) -> Vectors:
    """A per-row data set of a store, in the order of `store.index(videos)`."""
    return Vectors(store.count(videos), lambda low, high: store.read(dataset, low, high, videos))


def distances(queries: np.ndarray, rows: np.ndarray, metric: Metric) -> np.ndarray:
    """(Q, n) distances between (Q, C) and (n, C): squared Euclidean, or one minus the cosine.

    Computed in the inputs' dtype with one matrix product. Squared distances rank like distances, so the root is left to
    `unsquared`. A zero vector has cosine 0 with everything. Raises UsageError for another metric.
    """
    if metric not in get_args(Metric):
        raise UsageError(f"the `metric` is {' or '.join(get_args(Metric))}, not {metric!r}")
    if metric == "cosine":
        return np.maximum(1 - unit_length(queries) @ unit_length(rows).T, 0)
    squared = (rows * rows).sum(axis=1) - 2 * (queries @ rows.T) + (queries * queries).sum(axis=1)[:, None]
    return np.maximum(squared, 0)


def unsquared(values: np.ndarray, metric: Metric) -> np.ndarray:
    """The output of `distances` as true distances: the square root of Euclidean ones."""
    return np.sqrt(values) if metric == "euclidean" else values
