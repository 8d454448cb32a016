"""The one decoder from mask files to object ids.

Training, evaluation and descriptor export read masks through it. `mask_values` defines what a value means in one mask;
this module keeps the meaning the same for all masks of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.labels.mask_values import LabelMap, has_void, read_numbers, white_value
from hodor_cli.errors import DataError, HodorError
from hodor_cli.images.label_png import VOID
from hodor_cli.images.paths import size_text


@dataclass(frozen=True)
class Labels:
    """One decoded mask.

    ids: (H, W) uint8 or uint16 object ids, 0 is background. void: (H, W) bool, the pixels that are neither object nor
    background (0 in `ids`); None if there are none. new: ids that no earlier mask of the sequence has.
    """

    ids: LabelMap
    void: npt.NDArray[np.bool_] | None = None
    new: tuple[int, ...] = ()


class LabelReader:
    """Reads the masks of one sequence, one after the other.

    A sequence is binary if its first non-empty mask contains only 0 and 255. In a binary sequence 255 is the object; in
    any other it is void, unless an id above 255 occurs. A colour keeps the id that it got in an earlier mask.
    """

    def __init__(self, name: str, *, binary: bool | None = None, check_edges: bool = True) -> None:
        """binary: whether the sequence is binary; None to infer it from the masks. check_edges: refuse masks with soft
        edges; to save time, only masks with a new id are examined."""
        self.name, self.binary, self.check_edges = name, binary, check_edges
        #: Object ids seen so far, in the order of their first masks.
        self.ids: list[int] = []
        #: Whether a mask so far has void pixels.
        self.has_void = False
        #: Sentences for the user about which colour is which object.
        self.colour_notes: list[str] = []
        self._size = ""
        self._colours: dict[int, Colour] = {}

    def read(self, source: Path | LabelMap, frame: str = "") -> Labels:
        """Decode the next mask, a file or an (H, W) array of ids. `frame` names it in messages.

        Raises InputError for a file that `read_mask` refuses, DataError if its size differs from the first mask's.
        """
        values = self._values(source) if isinstance(source, Path) else source
        frame = frame or (source.name if isinstance(source, Path) else "")
        size = size_text(values.shape)
        self._size = self._size or size
        if values.ndim != 2 or size != self._size:
            raise DataError(f"{self.name} has masks of {size} (frame {frame}) and {self._size}; give all one size")
        if values.dtype == np.bool_:
            values = values.view(np.uint8)
        void = None
        present = set() if self.binary else present_ids(values, [*self.ids, VOID])
        if self.binary is None and present:
            self.binary = white_value(present) is not None
        if self.binary:
            values = (values != 0).view(np.uint8)
            present = present_ids(values, [1])
        elif self.check_edges and isinstance(source, Path) and len(present) > 1 and present - {*self.ids, VOID}:
            read_mask(source, known_colours=self._colours, allow_empty=True)  # raises for soft edges
        # With binary=False, 255 is void even if no other id has been seen yet.
        others = {*present, *self.ids} - {VOID}
        if not self.binary and VOID in present and (not others or has_void({VOID, *others})):
            white = values == VOID
            values = np.where(white, values.dtype.type(0), values)
            void, present, self.has_void = white, present - {VOID}, True
        new = tuple(sorted(present - set(self.ids)))
        self.ids += new
        return Labels(values, void, new)

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about how values were interpreted, for callers that treat void as background."""
        void = f"the masks of {self.name} have void pixels (255), which are treated as background"
        return [*self.colour_notes, *([void] if self.has_void else [])]

    def _values(self, path: Path) -> LabelMap:
        values = read_numbers(path)
        if values is not None and not self._colours:
            return values
        mask = read_mask(path, known_colours=self._colours, allow_empty=True)
        if (mask.colours or {}).keys() - self._colours.keys():
            self.colour_notes += mask.notes[:1]
        self._colours.update(mask.colours or {})
        return np.where(mask.void, VOID, mask.labels).astype(np.uint16) if mask.void is not None else mask.labels


def read_labels(path: Path, *, binary: bool | None = None, check_edges: bool = True) -> Labels:
    """Decode a single mask file. binary: whether the mask's sequence is binary, if known. Raises InputError."""
    return LabelReader(path.stem, binary=binary, check_edges=check_edges).read(path)


def is_binary(name: str, files: Iterable[Path]) -> bool | None:
    """Whether a sequence is binary: its first non-empty mask contains only 0 and 255; None if all are empty. Masks that
    cannot be read are skipped, because they are reported when they are used."""
    reader = LabelReader(name, check_edges=False)
    for file in files:
        with suppress(HodorError):
            reader.read(file)
        if reader.binary is not None:
            break
    return reader.binary


def present_ids(labels: LabelMap, likely: Iterable[int] = ()) -> set[int]:
    """The ids in a label map, without 0. Fast if all of them are in `likely`."""
    left, found = cv2.countNonZero(labels), set()
    for object_id in likely:
        if left and (pixels := cv2.countNonZero((labels == object_id).view(np.uint8))):
            found.add(object_id)
            left -= pixels
    return set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - {0} if left else found
