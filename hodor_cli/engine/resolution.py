"""The working resolution: finer for small objects, and changed when they grow or shrink.

A finer grid shows more of a small object but takes longer, and shows a large one with less of its surroundings. So the
resolution is chosen by the first masks, and later by the masks that the network finds: an object that comes near is
soon processed at the usual resolution, one that moves away at a finer one. Descriptors are valid at any resolution; the
frames kept for matching are resized.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hodor_cli.model.matching import FEW
from hodor_cli.runtime.preprocess import Geometry

#: If the smallest object covers fewer cells than these, of the stride-8 map at the usual resolution, frames are
#: processed at 1.25, 1.5 and 2 times that resolution. On composites of held-out clips, objects of 40 to 160 cells gain
#: 0.02 of J at 1.25 times, those below 40 as much at 1.5 times, and 20 composites with objects below 20 cells 0.06 at 2
#: times instead of 1.5 (0.843 instead of 0.783). The smallest object decides, not how large most of them are: pieces of
#: other objects gain 0.06, and those that they belong to lose nothing while they are in view.
_LIMITS = (160, 40, 20)
#: The resolution changes when the smallest object has been larger than _LARGER times one of these limits, or smaller
#: than it divided by _SMALLER, for _PATIENCE frames in a row: an object that is hidden for a moment is not small. While
#: objects grow, the finer resolution only costs time: with 2.5, J of ten clips and composites does not change, and with
#: 1.4 it falls by 0.001. Where objects shrink, 1.4 gains up to 0.045 of J (bmx-bumps).
_LARGER, _SMALLER, _PATIENCE = 2.5, 1.4, 8


@dataclass(frozen=True)
class WorkingResolution:
    """Which of a model's resolutions is used.

    sides: (min_dim, max_dim) for large, medium-sized, small and tiny objects. chosen: index into `sides`; None before
    the first masks. waited: for how many frames in a row the objects' size has called for another one.
    """

    sides: tuple[tuple[int, int], ...]
    chosen: int | None = None
    waited: int = 0

    @property
    def min_dim(self) -> int:
        """The shorter side of the network's input, in pixels."""
        return self.sides[self.chosen or 0][0]

    @property
    def max_dim(self) -> int:
        """The limit of its longer side."""
        return self.sides[self.chosen or 0][1]

    def geometry(self, size: tuple[int, int]) -> Geometry:
        """The geometry of frames of this height and width."""
        return Geometry.of(*size, min_dim=self.min_dim, max_dim=self.max_dim)

    def for_masks(self, masks: Iterable[np.ndarray]) -> WorkingResolution:
        """The resolution for objects with these first masks (H, W) bool; the same if it has been chosen already."""
        shown = [mask for mask in masks if mask.any()]
        if self.chosen is not None or not shown:
            return self
        smallest = min(np.count_nonzero(mask) for mask in shown) / shown[0].size
        return replace(self, chosen=_level(self._cells(smallest, shown[0].shape)))

    def notice(self, usual: Geometry) -> str:
        """Tells the user that this resolution is finer than the usual one."""
        (height, width), (usual_height, usual_width) = self.geometry(usual.original).scaled, usual.scaled
        return (
            f"the objects are small, so frames are processed at {width}x{height} instead of"
            f" {usual_width}x{usual_height}; `min_dim` {self.sides[0][0]} is faster but less accurate"
        )

    def following(self, areas: Iterable[float], geometry: Geometry) -> WorkingResolution:
        """The resolution for the next frame. areas: the objects' areas in this frame, in cells of its geometry."""
        assert self.chosen is not None
        height, width = geometry.scaled
        shares = [64 * area / (height * width) for area in areas if area > FEW]
        wanted = self.chosen
        if shares:
            cells = self._cells(min(shares), geometry.original)
            wanted = min(max(wanted, _level(cells * _SMALLER)), _level(cells / _LARGER))
        if wanted == self.chosen:
            return replace(self, waited=0)
        if self.waited + 1 < _PATIENCE:
            return replace(self, waited=self.waited + 1)
        return replace(self, chosen=wanted, waited=0)

    def pack(self) -> np.ndarray:
        """`chosen` and `waited`, as an array (2,)."""
        return np.array((-1 if self.chosen is None else self.chosen, self.waited))

    @staticmethod
    def unpack(sides: tuple[tuple[int, int], ...], array: np.ndarray | None) -> WorkingResolution:
        """The resolution that `pack` returned as an array; the usual one if it is None."""
        chosen, waited = (0, 0) if array is None else (int(number) for number in array)
        return WorkingResolution(sides, None if chosen < 0 else min(chosen, len(sides) - 1), waited)

    def _cells(self, share: float, size: tuple[int, int]) -> float:
        """How many cells an object with this share of the frame covers at the usual resolution."""
        height, width = replace(self, chosen=0).geometry(size).scaled
        return share * height * width / 64


def _level(cells: float) -> int:
    """The index into `sides` for a smallest object of so many cells."""
    return sum(cells < limit for limit in _LIMITS)
