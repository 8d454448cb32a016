"""What two objects are compared by: the encoder's descriptor, or the baseline's features.

Both lie in a store row by row; a query carries both, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from hodor_cli.descriptors.store import DescriptorStore
from hodor_cli.descriptors.vectors import Vectors, vectors_of_store
from hodor_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from hodor_cli.descriptors.encode import EncodedFrame
    from hodor_cli.descriptors.query import Query

By = Literal["descriptor", "baseline"]
BLOCK = 32768


@dataclass(frozen=True)
class Comparison:
    """Chooses, from stored rows, from a query and from a frame just encoded, the vectors that are compared.

    by: "descriptor" (what the decoder reads) or "baseline" (means of the backbone's features inside the mask).
    """

    by: By = "descriptor"

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise UsageError(f"objects are compared by {' or '.join(get_args(By))}, not by {self.by!r}")

    def vectors(self, store: DescriptorStore, *, videos: list[str] | None = None, block: int = BLOCK) -> Vectors:
        """The rows of a store (or of some videos), `block` at a time, in the order of `store.index(videos)`.

        Raises InputError, naming the video, where one was exported without what is asked for.
        """
        for name in store.videos if videos is None else videos:
            if self.by != "descriptor" and not store.has(name, "baseline"):
                raise InputError(
                    f"{store.path} has no baseline features for video {name}; export it again to get them, or compare "
                    "by descriptor"
                )
        return vectors_of_store(store, self.by, videos, block=block)

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
        chosen = descriptors if self.by == "descriptor" else baseline
        if chosen is None:
            raise ValueError(f"comparing by {self.by} needs the baseline's features")
        return chosen.astype(np.float32)


def choose_comparison(store: DescriptorStore, by: By | None = None) -> Comparison:
    """What is asked for, or the best that a store allows by the table in docs/descriptors.md.

    That is the baseline where every video has it, otherwise the descriptor.
    """
    if by is not None:
        return Comparison(by)
    return Comparison("baseline" if all(store.has(name, "baseline") for name in store.videos) else "descriptor")
