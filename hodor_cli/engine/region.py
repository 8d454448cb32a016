"""Which part of a frame is decoded: where the objects can be, given where they were.

Objects stay near where they were (see `motion`), so pixels far from them are background and need no decoding. If an
object is not found in the region, or reaches its border, the whole frame is decoded instead. On six clips that took no
part in training, J&F is 84.8 both with regions, which are half of the frame on average, and without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.model.matching import FAR, PART
from hodor_cli.model.region import Region

#: Width, in cells of stride 8, of the margin that is decoded around the cells where an object can be.
_MARGIN = 2
#: How many cells most objects move at most from one frame to the next.
_AHEAD = 1
#: One frame out of this many, or more, is decoded as a whole.
_EVERY = 8
#: Regions start and end at multiples of this many cells.
_STEP = 4
#: A region that covers more than this share of the frame would not save enough time.
_LARGEST = 0.75


@dataclass(frozen=True)
class WholeFrame:
    """What is kept from the last frame that was decoded as a whole, for decoding regions of the next frames.

    object_ids: the objects decoded in it. norms: the decoder's `Norms.statistics`. age: how many frames
    before the next one it was.
    """

    object_ids: ObjectIds
    norms: Tensor
    age: int = 1

    def region(self, object_ids: ObjectIds, masks: Tensor, radii: Sequence[int]) -> Region | None:
        """The region of the next frame to decode; None for the whole frame.

        masks: (I, h, w) soft masks of the previous frame, at stride 8. radii: cells that each object may have moved.
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

    def region_ahead(self, object_ids: ObjectIds, masks: Tensor, radii: Sequence[int]) -> Region | None:
        """What `region` will most likely return for the frame after the next, or a little more."""
        later = replace(self, age=1 if self.age >= _EVERY else self.age + 1)
        larger = later.region(object_ids, masks, [radius + _AHEAD for radius in radii])
        return larger or later.region(object_ids, masks, radii)


def holds_all(logits: Tensor, region: Region) -> bool:
    """Whether every object is found in a region, and none touches a border beyond which the frame continues.

    logits: (1, 10 + I, 2h, 2w) of the region, at stride 4.
    """
    found = logits.softmax(dim=1)[0, NUM_NON_OBJECT:] > 0.5
    lines = found.any(dim=2), found.any(dim=1)  # the rows and the columns of each object
    if not bool(lines[0].any(dim=1).all()):
        return False
    for line, part, size in zip(lines, region[:2], region.whole, strict=True):
        first, *_, last = line.any(dim=0).tolist()
        if (first and part.start > 0) or (last and part.stop < size):
            return False
    return True


def in_whole_frame(logits: Tensor, region: Region) -> Tensor:
    """Logits (1, 10 + I, 2h, 2w) of the whole frame from those of a region; everything outside is background."""
    finer = region.doubled()
    (height, width), rows, columns = finer.whole, finer.rows, finer.columns
    around = (columns.start, width - columns.stop, rows.start, height - rows.stop)
    background, objects = logits[:, :NUM_NON_OBJECT], logits[:, NUM_NON_OBJECT:]
    return torch.cat((F.pad(background, around), F.pad(objects, around, value=-FAR)), dim=1)


def _range(lines: Tensor, radii: Sequence[int], size: int) -> slice | None:
    """The rows (or columns) that the objects can reach from their own, `lines` (I, size) bool; None if one has none."""
    first, last = size, 0
    for line, radius in zip(lines.cpu().numpy(), radii, strict=True):
        places = line.nonzero()[0]
        if not len(places):
            return None
        first, last = min(first, places[0] - radius), max(last, places[-1] + 1 + radius)
    # Rounded to steps, because libraries set up their convolutions again for each new size of map.
    start, stop = max(0, int(first) - _MARGIN) // _STEP, -(-(int(last) + _MARGIN) // _STEP)
    return slice(start * _STEP, min(size, stop * _STEP))
