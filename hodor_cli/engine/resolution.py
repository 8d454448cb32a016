"""The working resolution: finer for small objects, and changed when they grow or shrink.

A finer grid shows more of a small object and less of what surrounds a large one, and takes longer. So the first masks
decide, and later the masks that the network finds: an object that comes near is soon seen in the usual resolution, and
one that moves away in a finer one. Descriptors hold in any resolution; what is kept to match with is resized.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np

from hodor_cli.model.matching import FEW
from hodor_cli.runtime.preprocess import Geometry

#: Objects that typically cover fewer cells of the stride-8 map in the usual resolution than these are of medium size or
#: small. On composites of held-back clips, objects of 40 to 160 cells gain 0.02 of J at 1.25 times the resolution and
#: objects alone in their clip 0.01, larger ones nothing; those below 40 cells gain as much at 1.5 times.
_MEDIUM_CELLS, _SMALL_CELLS = 160, 40
#: The resolution changes when objects are so many times as large as a limit, or as small, for so many frames in a row:
#: an object that is hidden for a moment is not small. While objects grow, the finer resolution costs only time: J of
#: ten clips and composites is the same if they must be 2.5 times as large, and 0.001 lower with 1.4 times. Of the clips
#: in which an object shrinks, bmx-bumps gains 0.045 with 1.4 times.
_LARGER, _SMALLER, _PATIENCE = 2.5, 1.4, 8


@dataclass(frozen=True)
class WorkingResolution:
    """Which of a model's resolutions is used.

    sides: (min_dim, max_dim) for objects that are large, of medium size and small. chosen: 0, 1 or 2; None before the
    first masks. waited: how many frames in a row objects have had the size for another one.
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

    def of(self, size: tuple[int, int]) -> Geometry:
        """The geometry of frames of this height and width."""
        return Geometry.of(*size, min_dim=self.min_dim, max_dim=self.max_dim)

    def for_masks(self, masks: Collection[np.ndarray]) -> WorkingResolution:
        """The resolution for objects with these first masks (H, W) bool, at least one pixel of each true."""
        shares = [np.count_nonzero(mask) / mask.size for mask in masks]
        cells = self._cells(shares, next(iter(masks)).shape)
        return replace(self, chosen=2 if cells < _SMALL_CELLS else 1 if cells < _MEDIUM_CELLS else 0)

    def told(self, coarse: Geometry) -> str:
        """A sentence for the user about a resolution that is finer than the usual one, `coarse`."""
        (height, width), (usual_height, usual_width) = self.of(coarse.original).scaled, coarse.scaled
        return (
            f"the objects are small, so that the network sees frames of {width}x{height} instead of"
            f" {usual_width}x{usual_height}; `min_dim` {self.sides[0][0]} is faster and less accurate"
        )

    def following(self, areas: Iterable[float], geometry: Geometry) -> WorkingResolution:
        """The resolution for the next frame. areas: of the objects in this one, in cells of its geometry."""
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

    def packed(self) -> np.ndarray:
        """What changes, as an array (2,)."""
        return np.array((-1 if self.chosen is None else self.chosen, self.waited))

    @staticmethod
    def unpacked(sides: tuple[tuple[int, int], ...], array: np.ndarray | None) -> WorkingResolution:
        """What `packed` gave; the usual resolution without it."""
        chosen, waited = (0, 0) if array is None else (int(number) for number in array)
        return WorkingResolution(sides, None if chosen < 0 else min(chosen, len(sides) - 1), waited)

    def _cells(self, shares: Collection[float], size: tuple[int, int]) -> float:
        """How many cells objects typically (in the geometric mean) cover in the usual resolution."""
        height, width = replace(self, chosen=0).of(size).scaled
        return math.exp(sum(map(math.log, shares)) / len(shares)) * height * width / 64
