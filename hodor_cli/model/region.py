"""Decoding a part of a frame with nearly the same result as in the whole frame.

Not in the paper. What the decoder computes for a pixel depends on the pixels around it and on the descriptors. Only two
things depend on the whole frame: the pixel's position, and the statistics of the group norms. These change slowly
through a video, so the statistics of an earlier frame that was decoded as a whole are used.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Region(NamedTuple):
    """Rows and columns of a part of a map, and the height and width of the whole map."""

    rows: slice
    columns: slice
    whole: tuple[int, int]

    @staticmethod
    def all_of(height: int, width: int) -> Region:
        """The region that is the whole map."""
        return Region(slice(0, height), slice(0, width), (height, width))

    def covers(self, other: Region) -> bool:
        """Whether this region contains another one of a map of the same size."""
        sides = zip(self[:2], other[:2], strict=True)
        return self.whole == other.whole and all(own.start <= its.start and its.stop <= own.stop for own, its in sides)

    def doubled(self) -> Region:
        """The same part of a map of twice the resolution."""
        rows, columns = (slice(2 * side.start, 2 * side.stop) for side in (self.rows, self.columns))
        return Region(rows, columns, (2 * self.whole[0], 2 * self.whole[1]))

    def of(self, maps: Tensor) -> Tensor:
        """This part of maps (..., H, W)."""
        return maps[..., self.rows, self.columns]

    def alone(self, maps: Tensor) -> Tensor:
        """Whole maps (..., H, W) with zeros outside this part."""
        kept = torch.zeros_like(maps)
        self.of(kept).copy_(self.of(maps))
        return kept

    def of_pixels(self, table: Tensor) -> Tensor:
        """This part of a table (H * W, C) with a row for each pixel."""
        return table.unflatten(0, self.whole)[self.rows, self.columns].flatten(0, 1)


class Norms:
    """Applies the decoder's group norms to one frame, in the order in which the decoder uses them.

    Without known statistics, each norm computes those of its input as usual, and they are kept in `statistics`. With
    known ones, each norm uses the statistics that it had in another frame.
    """

    def __init__(self, known: Tensor | None = None) -> None:
        """known: the `statistics` of another frame."""
        self._known, self._used = known, 0
        self._computed: list[Tensor] = []

    def apply(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """x (1, C, H, W) normalised."""
        if self._known is None:
            pixels = x.shape[2] * x.shape[3]
            normalised, mean, inverse_std = torch.native_group_norm(
                x.float(), norm.weight, norm.bias, 1, norm.num_channels, pixels, norm.num_groups, norm.eps
            )
            self._computed.append(torch.cat((mean, inverse_std)))
            return normalised
        groups = self._known[:, self._used : self._used + norm.num_groups]
        self._used += norm.num_groups
        mean, inverse_std = groups.repeat_interleave(norm.num_channels // norm.num_groups, dim=1)
        scale = inverse_std * norm.weight
        shift = norm.bias - mean * scale
        return torch.addcmul(shift[:, None, None].to(x.dtype), x, scale[:, None, None].to(x.dtype))

    @property
    def statistics(self) -> Tensor:
        """(2, G) float32: the mean and the inverse standard deviation of all norms' groups."""
        return torch.cat(self._computed, dim=1)
