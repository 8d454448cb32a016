"""What a true mask says: object ids, void pixels, and whether a sequence is binary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hodor_cli.errors import DataError
from hodor_cli.evaluation.metrics import LabelMap

VOID = 255
"""Truth pixels of this value count for nobody, unless the truth is binary (0 and 255) or its ids go past 255."""


@dataclass
class TruthReader:
    """Makes object ids and void pixels of a sequence's true masks, one after the other.

    Whether a sequence is binary (0 and 255 alone, 255 is the object) shows in the first mask that is not empty.
    """

    name: str
    binary: bool | None = None
    notes: list[str] = field(default_factory=list)
    _ids: list[int] = field(default_factory=list)
    _size: tuple[int, ...] | None = None
    _has_void: bool = True

    def read(self, frame: str, labels: LabelMap) -> tuple[LabelMap, npt.NDArray[np.bool_] | None, list[int]]:
        """(label map, void pixels or None, ids that appear here for the first time)."""
        if self._size is None:
            self._size = labels.shape
        if labels.ndim != 2 or labels.shape != self._size:
            raise DataError(
                f"the truth of {self.name} has mixed sizes: frame {frame} is {size_text(labels)}, "
                f"the first {'x'.join(str(side) for side in self._size[::-1])}; a sequence has one size"
            )
        if labels.dtype == np.bool_:
            labels = labels.view(np.uint8)
        if self.binary:
            labels = (labels != 0).view(np.uint8)
            return labels, None, self._new(sorted(present_ids(labels, [1])))
        present = present_ids(labels, [*self._ids, VOID])
        if self.binary is None and present:
            self.binary = present == {VOID}
            self._has_void = max(present) <= VOID
            if self.binary:
                return self.read(frame, labels)
        void = None
        if self._has_void and VOID in present:
            present.discard(VOID)
            void = labels == VOID
            if not self.notes:
                self.notes.append(
                    f"the truth of {self.name} has void pixels (255), which count for nobody; the official DAVIS "
                    "package takes them for background"
                )
        return labels, void, self._new(sorted(present))

    def _new(self, present: list[int]) -> list[int]:
        new = [object_id for object_id in present if object_id not in self._ids]
        self._ids += new
        return new


def present_ids(labels: LabelMap, likely: Iterable[int] = ()) -> set[int]:
    """The ids in a label map, 0 left out. Quick where all of them are among the `likely` ones."""
    import cv2

    left = cv2.countNonZero(labels)
    found = set()
    for object_id in likely:
        if not left:
            break
        pixels = cv2.countNonZero((labels == object_id).view(np.uint8))
        if pixels:
            found.add(object_id)
            left -= pixels
    if left:
        return set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - {0}
    return found


def size_text(labels: LabelMap) -> str:
    """WIDTHxHEIGHT."""
    return "x".join(str(side) for side in labels.shape[::-1])
