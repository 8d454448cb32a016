"""From logits at stride 4 to a label map at the frame's own size.

Logits are upsampled to the network's input, softmax turns them into probabilities, and these are resized to the frame:
from cells to points to pixels. So a pixel depends on at most 3 x 3 cells. Where one object is the likeliest in all of
them, or one background channel is above all objects, the label is known. Only the other cells, near outlines, are
upsampled. There, most pixels are known from their four points in the same way, and the rest are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.images.label_png import extents
from hodor_cli.runtime.preprocess import Geometry

#: The logits' stride.
_STRIDE = 4
#: Values in place of an object's slot, its place among the objects: no object, and not known yet.
_NOTHING, _UNCLEAR = -1, -2


def label_map(
    logits: Tensor, geometry: Geometry, object_ids: list[int], *, background: int = NUM_NON_OBJECT, others: int = 0
) -> tuple[np.ndarray, dict[int, float]]:
    """The id of the likeliest channel at each pixel of the frame, 0 for background, and the objects' confidence.

    Args:
        logits: (1, O + B + I, padded height / 4, padded width / 4), the objects' channels last.
        geometry: how the frame became the network's input.
        object_ids: I ids, in the channels' order.
        background: B, the number of background channels, the likeliest of which competes with the objects.
        others: O, the number of channels before these, which take a share of the probability and compete with none.
    Returns:
        Label map (H, W) uint16, and each object's mean probability over the points of its mask (0 if it has none).
        Points that need no upsampling count with the probability of their cell.
    """
    maps, size, device = logits[0].float(), geometry.scaled, logits.device
    rivals, objects = maps[others:].split((background, len(object_ids)))
    values, slots = _highest(objects)
    inside = tuple(slice(0, -(-side // _STRIDE)) for side in size)  # what follows is padding
    cells = _known(values - rivals, slots)[inside]
    labels = np.zeros(geometry.original, dtype=np.uint16)
    box = _box(cells != _NOTHING)
    if box is None:
        return labels, dict.fromkeys(object_ids, 0.0)
    # Slots below 0 index the ids from the end.
    ids = torch.tensor([*object_ids, _UNCLEAR, 0], dtype=torch.int32, device=device)
    points = ids[cells.long()].repeat_interleave(_STRIDE, 0).repeat_interleave(_STRIDE, 1)[: size[0], : size[1]]
    y, x = _true_places(points == _UNCLEAR)
    near = _Upsampled.around(maps, (others, background), size, y, x)
    points[y, x] = ids[near.slots(y, x).long()]

    parts = (slice(_STRIDE * part.start, _STRIDE * part.stop) for part in box)
    sides = zip(size, geometry.original, parts, strict=True)
    rows, columns = (_Side.of(here, wanted, device).inside(part) for here, wanted, part in sides)
    pixels = points.index_select(1, columns.first).index_select(0, rows.first)
    at = _true_places(pixels == _UNCLEAR)
    pixels[at] = ids[near.likeliest_at(*_corners(rows, columns, *at))]
    labels[rows.window, columns.window] = pixels.cpu().numpy()

    chances, edge, count = (values - maps.logsumexp(dim=0)).exp()[inside], near.place[y, x], len(object_ids)
    inner, outer = _by_slot(cells, chances, count), _by_slot(near.likeliest[edge], near.values[edge], count)
    sums, counts = _STRIDE**2 * inner + outer
    return labels, dict(zip(object_ids, (sums / counts.clip(min=1)).tolist(), strict=True))


def areas(labels: np.ndarray, object_ids: list[int]) -> dict[int, int]:
    """The number of pixels of each object in a label map (H, W); few objects are counted faster one by one."""
    if len(object_ids) <= 4:
        return {i: int(np.count_nonzero(labels == i)) for i in object_ids}
    found = extents(labels)
    return {i: found[i][0] if i in found else 0 for i in object_ids}


@dataclass(frozen=True)
class _Side:
    """How N consecutive pixels of one grid are interpolated from the cells of another, along a side.

    first: (N,) int64, the first of each pixel's two cells. share: (N,), the weight of the next one. cells: how many
    there are. start: the first pixel.
    """

    first: Tensor
    share: Tensor
    cells: int
    start: int = 0

    @classmethod
    def of(cls, cells: int, pixels: int, device: torch.device) -> _Side:
        centres = torch.arange(pixels, dtype=torch.float32, device=device) + 0.5
        position = (centres * (cells / pixels) - 0.5).clamp(min=0)
        first = position.long()
        return cls(first, position - first, cells)

    def inside(self, part: slice) -> _Side:
        """The pixels whose first cell is in a part of the side."""
        start, stop = (int((self.first < end).sum()) for end in (part.start, part.stop))
        return _Side(self.first[start:stop], self.share[start:stop], self.cells, start)

    @property
    def window(self) -> slice:
        return slice(self.start, self.start + len(self.first))


@dataclass(frozen=True)
class _Upsampled:
    """Probabilities at M points.

    place: (h, w) int32, the place of each of them among the M; undefined for other points. rivals: (B, M), of the
    background channels. highest: (1 + I, M), the highest of these, and those of the objects. values: (M,), the highest
    of the objects. likeliest: (M,) int16, the slot of that object, or another number below _NOTHING for each background
    channel if one of them is the likeliest.
    """

    place: Tensor
    rivals: Tensor
    highest: Tensor
    values: Tensor
    likeliest: Tensor

    @staticmethod
    def around(maps: Tensor, split: tuple[int, int], size: tuple[int, int], y: Tensor, x: Tensor) -> _Upsampled:
        """Upsample logits (C, H, W) at N points and at their neighbours at the right, below, and diagonally between.

        split: the numbers of channels that only share the probability, and of the background. size: (h, w), in points.
        """
        wanted = torch.zeros(size, dtype=torch.bool, device=maps.device)
        wanted[_block(y, x, size)] = True
        y, x = _true_places(wanted)
        place = torch.empty(size, dtype=torch.int32, device=maps.device)
        place[y, x] = torch.arange(len(y), dtype=torch.int32, device=maps.device)
        rows, columns = (_Side.of(side, _STRIDE * side, maps.device) for side in maps.shape[1:])
        logits = _interpolated(maps, *_corners(rows, columns, y, x))
        # Along rows of memory, softmax takes several times as long.
        probabilities = logits.t().contiguous().softmax(dim=0)[split[0] :]
        rivals, objects = probabilities[: split[1]], probabilities[split[1] :]
        (top, channels), (values, slots) = _highest(rivals), _highest(objects)
        likeliest = slots.where(values > top, _NOTHING - 1 - channels)
        return _Upsampled(place, rivals, torch.cat((top[None], objects)), values, likeliest)

    def slots(self, y: Tensor, x: Tensor) -> Tensor:
        """(N,) int16: the slot of all pixels between each point and its neighbours, `_UNCLEAR` where they may differ.

        Between points of two background channels, an object may win.
        """
        block = self.place[_block(y, x, self.place.shape)]
        found = self.likeliest[block]
        differ = (found != found[0]).any(dim=0)
        # In an interpolated pixel, the background's maximum is at least a quarter of its interpolated maxima.
        far = (4 * self.values <= self.highest[0])[block].all(dim=0)
        return found[0].clamp(min=_NOTHING).masked_fill(differ, _UNCLEAR).masked_fill(far, _NOTHING)

    def likeliest_at(self, cells: Tensor, weights: Tensor) -> Tensor:
        """(N,): the slot of the likeliest object at N pixels, if it beats the background; arguments as of `_corners`.

        The background's maximum per point is interpolated first, which gives at least the true maximum. All background
        channels are interpolated only where it could decide.
        """
        places = self.place.flatten()[cells]
        mixed = _interpolated(self.highest, places, weights)
        values, slots = mixed[:, 1:].max(dim=1)
        shown = values > mixed[:, 0]
        close = (~shown & (4 * values > mixed[:, 0])).nonzero()[:, 0]
        shown[close] = values[close] > _interpolated(self.rivals, places[close], weights[close]).amax(dim=1)
        return slots.masked_fill(~shown, _NOTHING)


def _known(above: Tensor, slots: Tensor) -> Tensor:
    """(h, w) int16: the slot of all pixels in each cell of the logits, `_UNCLEAR` where they may differ.

    above: (B, h, w), how far the likeliest object is above each background channel. slots: (h, w), of that object.
    """
    slots = slots.masked_fill((above <= 0).any(dim=0), _NOTHING)
    ends = _highest_around(torch.stack((slots, -slots)).float())
    differ = (slots == _NOTHING) | (ends[0] != -ends[1])
    below = (_highest_around(above) < 0).any(dim=0)
    return slots.masked_fill(differ, _UNCLEAR).masked_fill(below, _NOTHING)


def _box(cells: Tensor) -> tuple[slice, slice] | None:
    """The rows and columns of the true cells (h, w); None if no cell is true."""
    rows, columns = (cells.any(dim=1 - dim).nonzero()[:, 0].tolist() for dim in range(2))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows else None


def _true_places(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true pixels (H, W)."""
    if pixels.device.type != "cpu":
        y, x = pixels.nonzero(as_tuple=True)
        return y, x
    flat = torch.from_numpy(np.flatnonzero(pixels.numpy()))  # for sparse pixels several times faster than PyTorch
    return flat // pixels.shape[1], flat % pixels.shape[1]


def _highest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum over channels (C, ...), and the first channel that has it, int16; faster than `Tensor.max`, which
    computes the channel one by one."""
    values, count = maps.amax(dim=0), len(maps)
    numbers = torch.arange(count, 0, -1, dtype=torch.int16, device=maps.device).view(-1, *[1] * values.ndim)
    return values, count - ((maps == values) * numbers).amax(dim=0)


def _highest_around(maps: Tensor) -> Tensor:
    """The maximum over each cell of maps (..., h, w) and its eight neighbours; faster than pooling."""
    around = F.pad(maps, (1, 1, 1, 1), value=-math.inf)
    rows = torch.maximum(torch.maximum(around[..., :-2, :], around[..., 1:-1, :]), around[..., 2:, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _block(y: Tensor, x: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows and columns (4, N) of N cells and their neighbours at the right, below, and diagonally between."""
    below, right = (y + 1).clamp(max=size[0] - 1), (x + 1).clamp(max=size[1] - 1)
    return torch.stack((y, y, below, below)), torch.stack((x, right, x, right))


def _corners(rows: _Side, columns: _Side, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """For N pixels, the four cells around each in a flattened map, int64, and their weights, (N, 4) each."""
    cell_rows, cell_columns = _block(rows.first[y], columns.first[x], (rows.cells, columns.cells))
    down, right = rows.share[y], columns.share[x]
    both = down * right
    weights = torch.stack((1 - down - right + both, right - both, down - both, both), dim=1)
    return (cell_rows * columns.cells + cell_columns).t().contiguous(), weights


def _interpolated(maps: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """The weighted sums (N, C) of four cells each, (N, 4), of maps (C, ...)."""
    return F.embedding_bag(cells, maps.flatten(1).t().contiguous(), mode="sum", per_sample_weights=weights)


def _by_slot(slots: Tensor, values: Tensor, count: int) -> NDArray[np.float64]:
    """(2, count): for each slot, the sum of the values, and the number of them."""
    # NumPy adds in float64, which not every device has, and sums of float32 over a whole frame would be inexact.
    numbers = slots.clamp(min=_NOTHING).flatten().cpu().numpy() - _NOTHING
    weights = values.flatten().cpu().numpy()
    return np.stack([np.bincount(numbers, given, count + 1)[1:] for given in (weights, None)])
