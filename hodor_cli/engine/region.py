"""Which part of a frame is decoded: where the objects can be, given where they were.

Objects stay near where they were (see `motion`), so what is decoded far from them is background and decided before.
An object that is not found, or that reaches the border of the region, is looked for in the whole frame. On six clips
that took no part in training, J&F is 84.8 with regions, of half of the frame on average, and without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.model.matching import FAR, PART
from hodor_cli.model.region import Region

#: Cells of stride 8 that are decoded around those where an object can be.
_MARGIN = 2
#: After so many frames, a frame is decoded as a whole.
_EVERY = 8
#: Sides of regions are multiples of so many cells.
_STEP = 4
#: A larger share of the frame is not worth a region.
_LARGEST = 0.75


@dataclass(frozen=True)
class WholeFrame:
    """What decoding these objects in a whole frame left for decoding parts of the next ones.

    norms: the decoder's `Norms.statistics`. age: frames since then, itself included.
    """

    object_ids: ObjectIds
    norms: Tensor
    age: int = 1

    def region(self, object_ids: ObjectIds, masks: Tensor, radii: Sequence[int]) -> Region | None:
        """The part to decode of a frame, None for all of it.

        masks (I, h, w): soft masks at stride 8 in the frame before. radii: cells that each object may have moved.
        """
        if self.object_ids != object_ids or self.age >= _EVERY:
            return None
        parts = masks > PART
        height, width = masks.shape[1:]
        rows = _range(parts.any(dim=2), radii, height)
        columns = _range(parts.any(dim=1), radii, width)
        if rows is None or columns is None:
            return None
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return None if area > _LARGEST * height * width else Region(rows, columns, (height, width))


def holds_all(logits: Tensor, region: Region) -> bool:
    """Whether every object is found in a region, and none at a border behind which the frame continues.

    logits: (1, 10 + I, 2h, 2w) of the region, at stride 4.
    """
    found = logits.softmax(dim=1)[0, NUM_NON_OBJECT:] > 0.5
    lines = found.any(dim=2), found.any(dim=1)  # of each object: which rows and which columns
    if not bool(lines[0].any(dim=1).all()):
        return False
    for line, part, size in zip(lines, region[:2], region.whole, strict=True):
        first, *_, last = line.any(dim=0).tolist()
        if (first and part.start > 0) or (last and part.stop < size):
            return False
    return True


def in_whole_frame(logits: Tensor, region: Region) -> Tensor:
    """Logits (1, 10 + I, 2h, 2w) of the whole frame from those of a region; outside of it is background."""
    finer = region.doubled()
    (height, width), rows, columns = finer.whole, finer.rows, finer.columns
    around = (columns.start, width - columns.stop, rows.start, height - rows.stop)
    background, objects = logits[:, :NUM_NON_OBJECT], logits[:, NUM_NON_OBJECT:]
    return torch.cat((F.pad(background, around), F.pad(objects, around, value=-FAR)), dim=1)


def _range(lines: Tensor, radii: Sequence[int], size: int) -> slice | None:
    """The part of a side that objects with true lines (I, size) can reach by their radii; None if one has no line."""
    first, last = size, 0
    for line, radius in zip(lines.cpu().numpy(), radii, strict=True):
        places = line.nonzero()[0]
        if not len(places):
            return None
        first, last = min(first, places[0] - radius), max(last, places[-1] + 1 + radius)
    # In steps, so that maps of few sizes are computed: for each new one, libraries prepare anew.
    start, stop = max(0, int(first) - _MARGIN) // _STEP, -(-(int(last) + _MARGIN) // _STEP)
    return slice(start * _STEP, min(size, stop * _STEP))
