"""What two objects are compared by: the encoder's descriptor, the baseline's features, or a projection of both.

A store holds the first two row by row, and a query both; projected vectors are computed when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from hodor_cli.descriptors.search.projection import Projection, bundled_projection, projection_for
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.vectors import Vectors, vectors_of_store
from hodor_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from hodor_cli.descriptors.export.encode import EncodedFrame
    from hodor_cli.descriptors.search.query import Query

By = Literal["descriptor", "baseline", "projection"]
BLOCK = 32768


@dataclass(frozen=True)
class Comparison:
    """Chooses, from stored rows, from a query and from a frame just encoded, the vectors that are compared.

    by: "descriptor" (what the decoder reads), "baseline" (means of the backbone's features inside the mask), or
    "projection", which needs the `projection` that maps both.
    """

    by: By = "descriptor"
    projection: Projection | None = None

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise UsageError(f"objects are compared by {', '.join(get_args(By))}, not by {self.by!r}")
        if (self.by == "projection") != (self.projection is not None):
            raise UsageError("comparing by projection needs a projection, and nothing else does")

    def vectors(self, store: DescriptorStore, *, videos: list[str] | None = None) -> Vectors:
        """The rows of a store (or of some videos), `BLOCK` at a time, in the order of `store.index(videos)`.

        Raises InputError, naming the video, where one was exported without what is asked for, or if the projection is
        another model's.
        """
        if self.by == "descriptor":
            return vectors_of_store(store, "descriptor", videos, block=BLOCK)
        for name in store.videos if videos is None else videos:
            if not _has_baseline(store, name):
                raise InputError(
                    f"{store.path} has no baseline features for video {name}; export it again to get them, or compare "
                    "by descriptor"
                )
        features = vectors_of_store(store, "baseline", videos, block=BLOCK)
        if self.projection is None:
            return features
        projection = self.projection
        if projection.model_fingerprint != store.info.model_fingerprint:
            raise InputError(
                f"the projection was learned for another model than that of {store.path} "
                f"({projection.model_fingerprint[:12]} and {store.info.model_fingerprint[:12]}); learn one with the "
                "same weights (`fit_projection`)"
            )
        descriptors = vectors_of_store(store, "descriptor", videos, block=BLOCK)

        def blocks(low: int, high: int) -> Iterator[tuple[int, np.ndarray]]:
            pairs = zip(descriptors.blocks(low, high), features.blocks(low, high), strict=True)
            for (start, rows), (_, means) in pairs:
                yield start, projection(rows, means)

        return Vectors(features.count, blocks)

    def of_query(self, query: Query) -> np.ndarray:
        """The query's vectors (K, D) float32. Raises InputError if it was saved without what is asked for."""
        if self.by != "descriptor" and query.baseline is None:
            raise InputError(
                f"{query.label} was saved without baseline features; export it again to get them, or compare by "
                "descriptor"
            )
        return self.of_rows(query.descriptors, query.baseline)

    def of_encoded(self, frame: EncodedFrame, object_id: int) -> np.ndarray:
        """The vector (1, D) float32 of an object that was just encoded."""
        return self.of_rows(frame.objects[object_id][None], frame.baseline[object_id][None])

    def of_rows(self, descriptors: np.ndarray, baseline: np.ndarray | None) -> np.ndarray:
        """(n, C) descriptors and their (n, B) baseline features -> the vectors (n, D) float32 that are compared."""
        if self.by == "descriptor":
            return descriptors.astype(np.float32)
        if baseline is None:
            raise ValueError(f"comparing by {self.by} needs the baseline's features")
        return baseline.astype(np.float32) if self.projection is None else self.projection(descriptors, baseline)


def possible_comparisons(store: DescriptorStore, projection: Projection | None = None) -> list[Comparison]:
    """The comparisons that a store allows, the best last (by the table in docs/descriptors.md).

    projection: the store's model's own; by default the package's, if it has one.
    """
    found = [Comparison("descriptor")]
    if all(_has_baseline(store, name) for name in store.videos):
        found.append(Comparison("baseline"))
        projection = projection or bundled_projection(store.info.model_fingerprint)
        if projection is not None:
            found.append(Comparison("projection", projection))
    return found


def choose_comparison(store: DescriptorStore, by: By | None = None, projection_file: Path | None = None) -> Comparison:
    """The comparison that is asked for, or the best that a store allows: by projection, baseline or descriptor.

    projection_file: read instead of the package's own. Raises UsageError if it is not what is asked for, InputError
    where there is no projection for the store's model.
    """
    if projection_file is not None and by not in (None, "projection"):
        raise UsageError(f"`projection` contradicts `by={by}`; leave one of them out")
    if projection_file is not None or by == "projection":
        projection = projection_for(store.info.model_fingerprint, projection_file)
        if projection is None:
            raise InputError(
                f"there is no projection for the model of {store.path}; learn one with `fit_projection` and "
                "name it in `projection`"
            )
        return Comparison("projection", projection)
    return Comparison(by) if by is not None else possible_comparisons(store)[-1]


def _has_baseline(store: DescriptorStore, name: str) -> bool:
    """True also for a video without any rows, which has no data sets to miss."""
    return store.has(name, "baseline") or not len(store.dataset(name, "frame"))
