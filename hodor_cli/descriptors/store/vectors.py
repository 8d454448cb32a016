"""Rows of numbers that may not fit into memory: read block by block, as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hodor_cli.descriptors.store.store import DescriptorStore

Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Vectors:
    """`count` rows; `blocks(low, high)` streams those of a range as (first row, (n, C) array), in order."""

    count: int
    blocks: Callable[[int, int], Iterator[tuple[int, np.ndarray]]]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        yield from self.blocks(0, self.count)

    def part(self, low: int, high: int) -> Vectors:
        """The rows low <= row < high, counted from 0 again."""

        def blocks(first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
            for start, block in self.blocks(low + first, low + last):
                yield start - low, block

        return Vectors(high - low, blocks)

    def width(self) -> int:
        """Numbers per row, 0 without rows. Reads no more than one row."""
        return next((block.shape[1] for _, block in self.part(0, min(self.count, 1))), 0)

    def load(self) -> np.ndarray:
        """All rows in one array."""
        blocks = [block for _, block in self]
        return np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows at sorted indices, read in one pass."""
        picked = []
        for start, block in self:
            low, high = np.searchsorted(rows, (start, start + len(block)))
            if high > low:
                picked.append(block[rows[low:high] - start])
        return np.concatenate(picked)


def vectors_of_array(array: np.ndarray, block: int = 32768) -> Vectors:
    """Rows that are in memory already."""

    def blocks(low: int, high: int) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(low, high, block):
            yield start, array[start : min(start + block, high)]

    return Vectors(len(array), blocks)


def vectors_of_store(
    store: DescriptorStore,
    dataset: str = "descriptor",
    videos: list[str] | None = None,
    block: int = 32768,
) -> Vectors:
    """A per-row data set of a store, in the order of `store.index(videos)`."""
    count = len(store.index(videos))
    return Vectors(count, lambda low, high: store.blocks(dataset, size=block, videos=videos, start=low, stop=high))


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
