"""From probabilities to a label map at the frame's own size.

A pixel of the frame interpolates four cells of the probability maps. Where one object is the likeliest in all four, or
no object comes close to that in any, the label is known without interpolating. Only the remaining pixels, near
outlines, are interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.runtime.preprocess import Geometry, four_times

#: An object whose logit minus another channel's is below this in a cell is never the likeliest in a pixel interpolated
#: from it: a little less than log(1/4), see `label_map`.
_MATTERS = -1.4
#: Values in place of an object's slot, its place among the channels: no object, and cells that differ.
_NOTHING, _UNCLEAR = -1, -1000


def label_map_of_logits(
    logits: Tensor, geometry: Geometry, object_ids: list[int]
) -> tuple[np.ndarray, dict[int, float]]:
    """As `label_map`, from logits (1, 10 + I, padded height / 4, padded width / 4), upsampled only near objects."""
    rivals, objects = logits.split((NUM_NON_OBJECT, len(object_ids)), dim=1)
    # A channel far above all objects in a cell and in its neighbours is above them in every pixel between these.
    above = _highest_around(objects.amax(dim=1, keepdim=True) - rivals).amin(dim=1)[0]
    box = _box(above > _MATTERS)
    if box is None:
        return np.zeros(geometry.original, dtype=np.uint16), dict.fromkeys(object_ids, 0.0)
    finer = four_times(logits[..., box[0], box[1]]).softmax(dim=1)
    return label_map(finer, geometry, object_ids, origin=(4 * box[0].start, 4 * box[1].start))


def label_map(
    probabilities: Tensor,
    geometry: Geometry,
    object_ids: list[int],
    *,
    background: int = NUM_NON_OBJECT,
    origin: tuple[int, int] = (0, 0),
) -> tuple[np.ndarray, dict[int, float]]:
    """The id of the likeliest channel at each pixel of the frame, 0 for background, and the objects' confidence.

    Args:
        probabilities: (1, B + I, padded height, padded width) of the catch-all, the background cells and the objects,
            or a part of these maps, with no object outside of it.
        geometry: how the frame became the network's input.
        object_ids: I ids, in the channels' order.
        background: B, the number of channels before the objects.
        origin: where the part begins, (row, column).
    Returns:
        Label map (H, W) uint16, and the mean probability inside each object's mask (0 where it has none).
    """
    height, width = (max(0, size - start) for size, start in zip(geometry.scaled, origin, strict=True))
    channels = probabilities[0, :, :height, :width]
    labels = np.zeros(geometry.original, dtype=np.uint16)
    # In an interpolated pixel, the background's maximum is at least a quarter of its interpolated per-cell maxima.
    far = 4 * channels[background:].amax(dim=0) <= channels[:background].amax(dim=0)
    box = _box(~far)
    if box is None:
        return labels, dict.fromkeys(object_ids, 0.0)
    parts = (slice(start + part.start, start + part.stop) for start, part in zip(origin, box, strict=True))
    sides = zip(parts, geometry.scaled, geometry.original, strict=True)
    rows, columns = (_Taps.of(*side, channels.device) for side in sides)
    rivals, objects = channels[:, box[0], box[1]].split((background, len(object_ids)))
    (merged, cells), (values, slots) = _highest(rivals), _highest(objects)
    # Below _NOTHING, each background channel has its own number: between cells of two of them, an object may win.
    blocks = _common(slots.where(values > merged, _NOTHING - 1 - cells))
    known_far = (blocks < _NOTHING) & (blocks != _UNCLEAR) | (_common(far[box].short()) == 1)
    blocks.masked_fill_(known_far, _NOTHING)

    y, x = _true_places(_spread(blocks == _UNCLEAR, rows, columns))
    mixed, found = _decided(rivals, merged, objects, rows.at(y), columns.at(x))
    known = blocks.clamp(min=_NOTHING)
    # _NOTHING is -1, so it reads the last id, 0. The ids are viewed as int16 because PyTorch hardly supports uint16.
    ids = torch.from_numpy(np.array([*object_ids, 0], dtype=np.uint16).view(np.int16)).to(known.device)
    pixels = _spread(ids[known.long()], rows, columns)
    pixels[y, x] = ids[found]
    labels[rows.window, columns.window] = pixels.cpu().numpy().view(np.uint16)

    known = known.flatten()
    sums = _by_slot(found, mixed, object_ids) + _by_slot(known, _sums(values, rows, columns), object_ids)
    counts = _by_slot(found, None, object_ids) + _by_slot(known, rows.counts()[:, None] * columns.counts(), object_ids)
    return labels, dict(zip(object_ids, (sums / counts.clip(min=1)).tolist(), strict=True))


def areas(labels: np.ndarray, object_ids: list[int]) -> dict[int, int]:
    """The number of pixels of each object in a label map (H, W); for few objects faster than counting all values."""
    if len(object_ids) <= 8:
        return {i: int(np.count_nonzero(labels == i)) for i in object_ids}
    counts = np.bincount(labels.ravel(), minlength=max(object_ids) + 1)
    return {i: int(counts[i]) for i in object_ids}


@dataclass(frozen=True)
class _Taps:
    """How N consecutive pixels along a side of the frame are interpolated from cells.

    first, second: (N,) int64, the two cells of each pixel. share: (N,), the weight of the second. cells: how many there
    are. start: the first pixel.
    """

    first: Tensor
    second: Tensor
    share: Tensor
    cells: int
    start: int = 0

    @classmethod
    def of(cls, part: slice, cells: int, pixels: int, device: torch.device) -> _Taps:
        """The pixels whose first cell lies in a part of the side; cells are numbered from the part's start."""
        position = ((torch.arange(pixels, device=device) + 0.5) * (cells / pixels) - 0.5).clamp(min=0)
        first = position.long()
        inside = (first >= part.start) & (first < part.stop)
        start, share, first = int((first < part.start).sum()), (position - first)[inside], first[inside] - part.start
        count = part.stop - part.start
        return cls(first, (first + 1).clamp(max=count - 1), share, count, start)

    @property
    def window(self) -> slice:
        return slice(self.start, self.start + len(self.first))

    def at(self, index: Tensor) -> _Taps:
        """The pixels at an index (M,)."""
        first, second, share = (values.index_select(0, index) for values in (self.first, self.second, self.share))
        return _Taps(first, second, share, self.cells, self.start)

    def counts(self) -> Tensor:
        """(cells,): the number of pixels whose first cell it is."""
        return torch.bincount(self.first, minlength=self.cells)

    def weights(self) -> tuple[Tensor, Tensor]:
        """(cells,) twice: the summed weights of the first and of the second cell, over the same pixels."""
        none = self.share.new_zeros(self.cells)
        return none.index_add(0, self.first, 1 - self.share), none.index_add(0, self.first, self.share)


def _box(cells: Tensor) -> tuple[slice, slice] | None:
    """The rows and columns of the true cells (h, w), with a margin of one cell; None if no cell is true."""
    ends = [cells.any(dim=1 - dim).nonzero()[:, 0].tolist() for dim in range(2)]
    if not ends[0]:
        return None
    sides = zip(ends, cells.shape, strict=True)
    rows, columns = (slice(max(0, found[0] - 1), min(side, found[-1] + 2)) for found, side in sides)
    return rows, columns


def _spread(cells: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """At each pixel, the value of its first cell."""
    return cells.index_select(1, columns.first).index_select(0, rows.first)


def _true_places(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true pixels (H, W)."""
    if pixels.device.type != "cpu":
        y, x = pixels.nonzero(as_tuple=True)
        return y, x
    flat = torch.from_numpy(np.flatnonzero(pixels.numpy()))  # for sparse pixels several times faster than PyTorch
    return flat // pixels.shape[1], flat % pixels.shape[1]


def _highest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum of maps (C, h, w) at each cell, and the first channel that has it, int16; faster than `Tensor.max`,
    which computes the channel one by one."""
    values, count = maps.amax(dim=0), len(maps)
    numbers = torch.arange(count, 0, -1, dtype=torch.int16, device=maps.device)[:, None, None]
    return values, count - ((maps == values) * numbers).amax(dim=0)


def _highest_around(maps: Tensor) -> Tensor:
    """The maximum over each cell of maps (..., h, w) and its eight neighbours; faster than pooling."""
    around = F.pad(maps, (1, 1, 1, 1), value=-math.inf)
    rows = torch.maximum(torch.maximum(around[..., :-2, :], around[..., 1:-1, :]), around[..., 2:, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _after(cells: Tensor, dim: int) -> Tensor:
    """Each cell's successor along a dimension; the last cell is its own."""
    count = cells.shape[dim]
    return torch.cat((cells.narrow(dim, 1, count - 1), cells.narrow(dim, count - 1, 1)), dim)


def _common(cells: Tensor) -> Tensor:
    """(h, w): the value that each cell shares with its right, lower and diagonal neighbour, _UNCLEAR if they differ."""
    for dim in range(2):
        cells = cells.masked_fill(cells != _after(cells, dim), _UNCLEAR)
    return cells


def _by_slot(slots: Tensor, weights: Tensor | None, object_ids: list[int]) -> NDArray[np.floating | np.integer]:
    """For each object, the sum of the weights where `slots` is its slot, or without weights the count."""
    # NumPy adds in float64, which not every device has, and sums of float32 over a whole frame would be inexact.
    summed = None if weights is None else weights.flatten().cpu().numpy()
    return np.bincount(slots.cpu().numpy().astype(np.int64) + 1, summed, len(object_ids) + 1)[1:]


def _sums(values: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """For each block of four cells of a map (h, w), the sum of the pixels interpolated from them."""
    first, second = columns.weights()
    values = values * first + _after(values, 1) * second
    first, second = rows.weights()
    return values * first[:, None] + _after(values, 0) * second[:, None]


def _decided(rivals: Tensor, merged: Tensor, objects: Tensor, rows: _Taps, columns: _Taps) -> tuple[Tensor, Tensor]:
    """At N pixels: the highest probability of an object, and the object's slot if it beats the background.

    Only the maximum of the background channels, `rivals` (B, h, w), matters. `merged`, their maximum per cell, is
    interpolated first, which gives at least the true maximum. All of them are interpolated only where it could decide.
    """
    mixed = _sample(torch.cat((merged[None], objects)), rows, columns)
    values, slots = mixed[1:].max(dim=0)
    shown = values > mixed[0]
    close = (~shown & (4 * values > mixed[0])).nonzero()[:, 0]
    shown[close] = values[close] > _sample(rivals, rows.at(close), columns.at(close)).amax(dim=0)
    return values, slots.masked_fill(~shown, _NOTHING)


def _sample(maps: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """The values (C, N) of maps (C, h, w), resized to the frame, at N of its pixels."""
    cells, width = maps.flatten(1), maps.shape[2]

    def row(start: Tensor) -> Tensor:
        first, second = (cells.index_select(1, start + column) for column in (columns.first, columns.second))
        return torch.lerp(first, second, columns.share)

    return torch.lerp(row(rows.first * width), row(rows.second * width), rows.share)
