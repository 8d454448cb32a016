"""Finding an object again in a library: the most similar objects, not frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hodor_cli.descriptors.search.comparison import Comparison
from hodor_cli.descriptors.search.query import Query, spread
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.vectors import Metric, Vectors, distances, unit_length
from hodor_cli.errors import InputError, extra

QUERY_ROWS = 32  # a query of many frames is thinned to so many, spread over them
FAISS_NEIGHBOURS = 2048


@dataclass(frozen=True)
class Match:
    """One object of the library.

    distance: mean over the query's descriptors of the distance to the nearest descriptor of this object; Euclidean, or
    one minus the cosine. best_row indexes the store's rows (`DescriptorStore.index`), and is the nearest of all.
    Times are seconds from the start of the source, None for stills.
    """

    video: str
    object_id: int
    distance: float
    frames: int
    first_frame: int
    last_frame: int
    best_frame: int
    best_row: int
    first_time: float | None
    last_time: float | None
    best_time: float | None
    source: str


def search_objects(
    store: DescriptorStore,
    query: Query,
    *,
    comparison: Comparison | None = None,
    metric: Metric = "euclidean",
    top: int = 20,
    engine: Literal["numpy", "faiss"] = "numpy",
    include_itself: bool = False,
) -> list[Match]:
    """The objects most similar to the query, nearest first; the query itself is left out if it lies in this store.

    comparison: what is compared, the descriptors by default; `choose_comparison` gives the best that a store allows.

    Exact with "numpy", which reads the store once, block by block. "faiss" (an optional package) searches faster where
    many objects compete, and knows only objects among the nearest 2,048 rows of each query descriptor.

    Raises InputError if the query comes from another model, the store is empty, or one of the two was saved without
    what is compared; UsageError without faiss installed.
    """
    if query.model_fingerprint != store.info.model_fingerprint:
        raise InputError(
            f"{query.label} was saved with another model than {store.path} "
            f"({query.model_fingerprint[:12]} and {store.info.model_fingerprint[:12]}); export it again with the same "
            "weights"
        )
    index = store.index()
    if not len(index):
        raise InputError(f"{store.path} holds no objects to search; export some videos into it first")
    comparison = comparison or Comparison()
    stored = comparison.vectors(store)
    width = stored.read(0, 1).shape[1]
    vectors = spread(comparison.of_query(query), QUERY_ROWS)
    if vectors.shape[1] != width:
        raise InputError(
            f"{query.label} has {vectors.shape[1]} numbers to compare by {comparison.by} and {store.path} has {width}; "
            "export it again with the same weights"
        )
    instance = index.instance
    nearest, row = (_nearest_with_faiss if engine == "faiss" else _nearest_exact)(stored, instance, vectors, metric)
    score = (np.sqrt(nearest) if metric == "euclidean" else nearest).mean(axis=0)
    # Rows of a video are in the order of its frames.
    _, first, count = np.unique(instance, return_index=True, return_counts=True)
    last = len(index) - 1 - np.unique(instance[::-1], return_index=True)[1]
    inside = query.store is not None and query.store.resolve() == store.path.resolve()
    matches: list[Match] = []
    for number in np.argsort(score, kind="stable"):
        if not np.isfinite(score[number]) or len(matches) == top:
            break
        known = np.where(row[:, number] >= 0, nearest[:, number], np.inf)
        best, start, end = (int(place) for place in (row[known.argmin(), number], first[number], last[number]))
        video, object_id = index.videos[index.video[best]], int(index.object_id[best])
        if not include_itself and inside and (video, object_id) == (query.video, query.object_id):
            continue
        frames = int(index.frame[start]), int(index.frame[end]), int(index.frame[best])
        times = index.time(start), index.time(end), index.time(best)
        source = store.video(video).source
        matches.append(Match(video, object_id, float(score[number]), int(count[number]), *frames, best, *times, source))
    return matches


Nearest = tuple[np.ndarray, np.ndarray]
"""Distances (K, M) and rows (K, M) of the nearest row of each of M objects, -1 where it is not known."""


def _nearest_exact(stored: Vectors, instance: np.ndarray, vectors: np.ndarray, metric: Metric) -> Nearest:
    """instance: the object (N,) of each row, 0..M-1."""
    objects = int(instance.max()) + 1
    nearest = np.full((len(vectors), objects), np.inf, np.float32)
    row = np.zeros((len(vectors), objects), np.int64)
    for start, values in stored:
        matrix = distances(vectors, values, metric)
        here = instance[start : start + len(values)]
        order = np.argsort(here, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(here[order])) + 1):
            number = here[rows[0]]
            part = matrix[:, rows]
            place = part.argmin(axis=1)
            value = part[np.arange(len(vectors)), place]
            better = value < nearest[:, number]
            nearest[better, number] = value[better]
            row[better, number] = start + rows[place[better]]
    return nearest, row


def _nearest_with_faiss(stored: Vectors, instance: np.ndarray, vectors: np.ndarray, metric: Metric) -> Nearest:
    with extra("faiss", "`faiss`"):
        import faiss
    channels = vectors.shape[1]
    searched = faiss.IndexFlatIP(channels) if metric == "cosine" else faiss.IndexFlatL2(channels)
    prepare: Callable[[np.ndarray], np.ndarray] = unit_length if metric == "cosine" else np.asarray
    for _, values in stored:
        searched.add(np.ascontiguousarray(prepare(values), np.float32))
    count = min(FAISS_NEIGHBOURS, stored.count)
    found, rows = searched.search(np.ascontiguousarray(prepare(vectors), np.float32), count)
    found = 1 - found if metric == "cosine" else np.maximum(found, 0)
    objects = int(instance.max()) + 1
    # An object that is not among the neighbours of a query row is at least as far as the last of them.
    nearest = np.repeat(found[:, -1:], objects, axis=1).astype(np.float32)
    row = np.full((len(vectors), objects), -1, np.int64)
    for k in range(len(vectors)):
        # Farthest first, so that the nearest row of each object is what stays.
        numbers = instance[rows[k, ::-1]]
        nearest[k, numbers], row[k, numbers] = found[k, ::-1], rows[k, ::-1]
    nearest[:, (row < 0).all(axis=0)] = np.inf
    return nearest, row
