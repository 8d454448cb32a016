"""The working resolution: finer for small objects, and changed when they grow or shrink.

A finer grid shows more of a small object but takes longer, and shows a large one with less of its surroundings. So the
resolution is chosen by the first masks, and later by the masks that the network finds: an object that comes near is
soon processed at the usual resolution, one that moves away at a finer one. Descriptors are valid at any resolution; the
frames kept for matching are resized.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np

from hodor_cli.model.matching import FEW
from hodor_cli.runtime.preprocess import Geometry

#: Objects that typically cover fewer cells than this, of the stride-8 map at the usual resolution, are of medium size
#: or small. On composites of held-out clips, objects of 40 to 160 cells gain 0.02 of J at 1.25 times the resolution
#: (0.01 if they are alone in their clip), larger ones nothing; those below 40 cells gain as much at 1.5 times.
_MEDIUM_CELLS, _SMALL_CELLS = 160, 40
#: The resolution changes when objects have been larger than _LARGER times one of these limits, or smaller than it
#: divided by _SMALLER, for _PATIENCE frames in a row: an object that is hidden for a moment is not small. While objects
#: grow, the finer resolution only costs time: with 2.5, J of ten clips and composites does not change, and with 1.4 it
#: falls by 0.001. Where objects shrink, 1.4 gains up to 0.045 of J (bmx-bumps).
_LARGER, _SMALLER, _PATIENCE = 2.5, 1.4, 8


@dataclass(frozen=True)
class WorkingResolution:
    """Which of a model's resolutions is used.

    sides: (min_dim, max_dim) for large, medium-sized and small objects. chosen: index into `sides`; None before the
    first masks. waited: for how many frames in a row the objects' size has called for another one.
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
        cells = self._cells([np.count_nonzero(mask) / mask.size for mask in shown], shown[0].shape)
        return replace(self, chosen=2 if cells < _SMALL_CELLS else 1 if cells < _MEDIUM_CELLS else 0)

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
            cells = self._cells(shares, geometry.original)
            if cells > _LARGER * _MEDIUM_CELLS:
                wanted = 0
            elif cells > _LARGER * _SMALL_CELLS:
                wanted = min(wanted, 1)
            if cells < _SMALL_CELLS / _SMALLER:
                wanted = 2
            elif cells < _MEDIUM_CELLS / _SMALLER:
                wanted = max(wanted, 1)
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

    def _cells(self, shares: Collection[float], size: tuple[int, int]) -> float:
        """How many cells an object typically (in the geometric mean) covers at the usual resolution."""
        height, width = replace(self, chosen=0).geometry(size).scaled
        return math.exp(sum(map(math.log, shares)) / len(shares)) * height * width / 64
