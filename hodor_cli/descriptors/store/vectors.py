"""Rows of numbers that may not fit into memory: read a part at a time, as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hodor_cli.descriptors.store.store import DescriptorStore

Metric = Literal["euclidean", "cosine"]
BLOCK = 32768  # rows that are read at a time


@dataclass(frozen=True)
class Vectors:
    """`count` rows, of which `read(low, high)` gives those of a range as an (n, C) array."""

    count: int
    read: Callable[[int, int], np.ndarray]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order as (first row, at most `BLOCK` rows)."""
        for start in range(0, self.count, BLOCK):
            yield start, self.read(start, min(start + BLOCK, self.count))

    def part(self, low: int, high: int) -> Vectors:
        """The rows low <= row < high, counted from 0 again."""
        return Vectors(high - low, lambda first, last: self.read(low + first, low + last))

    def load(self) -> np.ndarray:
        """All rows in one array."""
        return self.read(0, self.count)

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
    return Vectors(len(store.index(videos)), lambda low, high: store.read(dataset, low, high, videos))


def distances(queries: np.ndarray, rows: np.ndarray, metric: Metric) -> np.ndarray:
    """(Q, n) distances between (Q, C) and (n, C): squared Euclidean, or one minus the cosine.

    Both in the dtype of the inputs, through one matrix product. Squaring does not change an order, so rankings need no
    root. A zero vector has cosine 0 with everything.
    """
    if metric == "cosine":
        return 1 - unit_length(queries) @ unit_length(rows).T
    squared = (rows * rows).sum(axis=1) - 2 * (queries @ rows.T) + (queries * queries).sum(axis=1)[:, None]
    return np.maximum(squared, 0)


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows (n, C) scaled to length one; zero rows stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length == 0, 1, length)
