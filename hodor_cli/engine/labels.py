"""From probabilities to a label map at the frame's own size.

A pixel of the frame mixes four cells of the probabilities. Where one object is the likeliest in all four, or none is
close to it in any, the result is known without mixing. Only the other pixels, near outlines, are mixed.
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
from hodor_cli.runtime.preprocess import Geometry, resize

#: Where the logarithm of an object's probability divided by any other channel's is below this, the object loses also
#: after mixing; a little less than log(1/4), see `label_map`.
_MATTERS = -1.4


def label_map_of_logits(
    logits: Tensor, geometry: Geometry, object_ids: list[int]
) -> tuple[np.ndarray, dict[int, float]]:
    """As `label_map`, from logits (1, 10 + I, padded height / 4, padded width / 4), which are resized near objects."""
    rivals, objects = logits.split((NUM_NON_OBJECT, len(object_ids)), dim=1)
    # A channel that is far above all objects in a cell and in those around it is above them in all that these mix.
    above = _highest_around(objects.amax(dim=1, keepdim=True) - rivals).amin(dim=1)[0]
    box = _box(above > _MATTERS)
    if box is None:
        return np.zeros(geometry.original, dtype=np.uint16), dict.fromkeys(object_ids, 0.0)
    near = logits[..., box[0], box[1]]
    finer = resize(near, (4 * near.shape[2], 4 * near.shape[3])).softmax(dim=1)
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
            or a part of that outside of which there is no object.
        geometry: how the frame became the network's input.
        object_ids: I ids, in the channels' order.
        background: B, the channels before the objects.
        origin: where the part begins, (row, column).
    Returns:
        Label map (H, W) uint16, and the mean probability inside each object's mask (0 where it has none).
    """
    height, width = (max(0, size - start) for size, start in zip(geometry.scaled, origin, strict=True))
    channels = probabilities[0, :, :height, :width]
    labels = np.zeros(geometry.original, dtype=np.uint16)
    # A resized pixel mixes four cells, and the maximum of what is mixed is at least a quarter of the mixed maxima.
    far = 4 * channels[background:].amax(dim=0) <= channels[:background].amax(dim=0)
    box = _box(~far)
    if box is None:
        return labels, dict.fromkeys(object_ids, 0.0)
    parts = (slice(start + part.start, start + part.stop) for start, part in zip(origin, box, strict=True))
    sides = zip(parts, geometry.scaled, geometry.original, strict=True)
    rows, columns = (_Taps.of(*side, channels.device) for side in sides)
    rivals, objects = channels[:, box[0], box[1]].split((background, len(object_ids)))
    merged, cells = rivals.max(dim=0)
    values, slots = objects.max(dim=0)
    blocks = _common(slots.where(values > merged, _NOTHING - 1 - cells).short())
    known_far = (blocks < _NOTHING) & (blocks != _UNCLEAR) | (_common(far[box].short()) == 1)
    blocks.masked_fill_(known_far, _NOTHING)

    y, x = _true_places(_spread(blocks == _UNCLEAR, rows, columns))
    mixed, found = _decided(rivals, merged, objects, rows.at(y), columns.at(x))
    known = blocks.clamp(min=_NOTHING)
    # The last id is that of _NOTHING, which is -1. PyTorch has 16 bits with a sign alone.
    ids = torch.from_numpy(np.array([*object_ids, 0], dtype=np.uint16).view(np.int16)).to(known.device)
    pixels = _spread(ids[known.long()], rows, columns)
    pixels[y, x] = ids[found]
    labels[rows.window, columns.window] = pixels.cpu().numpy().view(np.uint16)

    known = known.flatten()
    sums = _by_slot(found, mixed, object_ids) + _by_slot(known, _sums(values, rows, columns), object_ids)
    counts = _by_slot(found, None, object_ids) + _by_slot(known, rows.counts()[:, None] * columns.counts(), object_ids)
    return labels, dict(zip(object_ids, (sums / counts.clip(min=1)).tolist(), strict=True))


def areas(labels: np.ndarray, object_ids: list[int]) -> dict[int, int]:
    """The pixels of each object in a label map (H, W); faster for a few objects than counting every value there is."""
    if len(object_ids) <= 8:
        return {i: int(np.count_nonzero(labels == i)) for i in object_ids}
    counts = np.bincount(labels.ravel(), minlength=max(object_ids) + 1)
    return {i: int(counts[i]) for i in object_ids}


# In place of an object's slot.
_NOTHING, _UNCLEAR = -1, -1000


@dataclass(frozen=True)
class _Taps:
    """Consecutive places along a side of the frame: the two of its cells that each of them mixes, and the share of the
    second. first, second: (N,) long. cells: how many there are. start: the first place."""

    first: Tensor
    second: Tensor
    share: Tensor
    cells: int
    start: int = 0

    @classmethod
    def of(cls, part: slice, cells: int, pixels: int, device: torch.device) -> _Taps:
        """The places in a part of a side's cells; the cells are numbered in that part."""
        place = ((torch.arange(pixels, device=device) + 0.5) * (cells / pixels) - 0.5).clamp(min=0)
        first = place.long()
        inside = (first >= part.start) & (first < part.stop)
        start, share, first = int((first < part.start).sum()), (place - first)[inside], first[inside] - part.start
        count = part.stop - part.start
        return cls(first, (first + 1).clamp(max=count - 1), share, count, start)

    @property
    def window(self) -> slice:
        return slice(self.start, self.start + len(self.first))

    def at(self, index: Tensor) -> _Taps:
        """Those of some of the places."""
        first, second, share = (values.index_select(0, index) for values in (self.first, self.second, self.share))
        return _Taps(first, second, share, self.cells, self.start)

    def counts(self) -> Tensor:
        """By first cell, (cells,): the number of places."""
        return torch.bincount(self.first, minlength=self.cells)

    def weights(self) -> tuple[Tensor, Tensor]:
        """By first cell, (cells,): the sums of the shares of the first and of the second cell."""
        none = self.share.new_zeros(self.cells)
        return none.index_add(0, self.first, 1 - self.share), none.index_add(0, self.first, self.share)


def _box(cells: Tensor) -> tuple[slice, slice] | None:
    """The rows and columns of the true cells (h, w), with one cell around them; None if there is none."""
    ends = [cells.any(dim=1 - dim).nonzero()[:, 0].tolist() for dim in range(2)]
    if not ends[0]:
        return None
    sides = zip(ends, cells.shape, strict=True)
    rows, columns = (slice(max(0, found[0] - 1), min(side, found[-1] + 2)) for found, side in sides)
    return rows, columns


def _spread(cells: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """At each pixel, what the first of the cells that it mixes holds."""
    return cells.index_select(1, columns.first).index_select(0, rows.first)


def _true_places(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true pixels (H, W)."""
    if pixels.device.type != "cpu":
        y, x = pixels.nonzero(as_tuple=True)
        return y, x
    flat = torch.from_numpy(np.flatnonzero(pixels.numpy()))  # few of many: several times faster than PyTorch
    return flat // pixels.shape[1], flat % pixels.shape[1]


def _highest_around(maps: Tensor) -> Tensor:
    """At each cell of maps (..., h, w), the highest of it and its eight neighbours; faster than pooling."""
    around = F.pad(maps, (1, 1, 1, 1), value=-math.inf)
    rows = torch.maximum(torch.maximum(around[..., :-2, :], around[..., 1:-1, :]), around[..., 2:, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _after(cells: Tensor, dim: int) -> Tensor:
    """For each cell the next one along a side, and for the last one itself."""
    count = cells.shape[dim]
    return torch.cat((cells.narrow(dim, 1, count - 1), cells.narrow(dim, count - 1, 1)), dim)


def _common(cells: Tensor) -> Tensor:
    """What a cell and those right of, below and diagonal to it have in common, _UNCLEAR if they differ: (h, w)."""
    for dim in range(2):
        cells = cells.masked_fill(cells != _after(cells, dim), _UNCLEAR)
    return cells


def _by_slot(slots: Tensor, weights: Tensor | None, object_ids: list[int]) -> NDArray[np.floating | np.integer]:
    """The sum of the weights, or the number, of each object's slot."""
    # NumPy adds in float64, which not every device has, and sums of float32 over a whole frame would be inexact.
    of = None if weights is None else weights.flatten().cpu().numpy()
    return np.bincount(slots.cpu().numpy().astype(np.int64) + 1, of, len(object_ids) + 1)[1:]


def _sums(values: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """For each block of four cells of a map (h, w), the sum of the pixels that mix them."""
    first, second = columns.weights()
    values = values * first + _after(values, 1) * second
    first, second = rows.weights()
    return values * first[:, None] + _after(values, 0) * second[:, None]


def _decided(rivals: Tensor, merged: Tensor, objects: Tensor, rows: _Taps, columns: _Taps) -> tuple[Tensor, Tensor]:
    """At N pixels: the highest probability of an object, and the object's slot if it beats the background.

    The background channels, `rivals` (B, h, w), only matter by their maximum. So `merged`, their maximum before mixing,
    is mixed first; that is at least the true maximum. All of them are mixed only where that could change the result.
    """
    mixed = _sample(torch.cat((merged[None], objects)), rows, columns)
    values, slots = mixed[1:].max(dim=0)
    shown = values > mixed[0]
    close = (~shown & (4 * values > mixed[0])).nonzero()[:, 0]
    shown[close] = values[close] > _sample(rivals, rows.at(close), columns.at(close)).amax(dim=0)
    return values, slots.masked_fill(~shown, _NOTHING)


def _sample(maps: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """What maps (C, h, w), resized to the frame, would hold at N pixels: (C, N)."""
    cells, width = maps.flatten(1), maps.shape[2]

    def row(start: Tensor) -> Tensor:
        first, second = (cells.index_select(1, start + column) for column in (columns.first, columns.second))
        return torch.lerp(first, second, columns.share)

    return torch.lerp(row(rows.first * width), row(rows.second * width), rows.share)
