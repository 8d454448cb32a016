"""Decoding a part of a frame as the whole frame would be.

Not in the paper. What the decoder computes for a pixel depends on the pixels around it and on descriptors. Two things
are of the whole frame: where the pixel lies in it, and the means and deviations of the group norms. The latter change
slowly through a video, so those of an earlier frame that was decoded as a whole serve.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Region(NamedTuple):
    """Rows and columns of a map, and the height and width of the whole map."""

    rows: slice
    columns: slice
    whole: tuple[int, int]

    @staticmethod
    def all_of(height: int, width: int) -> Region:
        """The whole of a map."""
        return Region(slice(0, height), slice(0, width), (height, width))

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
        """This part of a table (H * W, C), a row for each pixel."""
        return table.unflatten(0, self.whole)[self.rows, self.columns].flatten(0, 1)


class Norms:
    """Applies the group norms of a decoder that sees one frame, in the order in which the frame passes them.

    Without known statistics each norm uses those of its input, as usual, and they are kept. With them, each norm uses
    what another frame's was.
    """

    def __init__(self, known: Tensor | None = None) -> None:
        """known: the `statistics` of another frame."""
        self._known, self._place = known, 0
        self._found: list[Tensor] = []

    def apply(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """x (1, C, H, W) normalised."""
        if self._known is None:
            pixels = x.shape[2] * x.shape[3]
            normalised, mean, share = torch.native_group_norm(
                x.float(), norm.weight, norm.bias, 1, norm.num_channels, pixels, norm.num_groups, norm.eps
            )
            self._found.append(torch.cat((mean, share)))
            return normalised
        here = slice(self._place, self._place + norm.num_groups)
        self._place = here.stop
        mean, share = self._known[:, here].repeat_interleave(norm.num_channels // norm.num_groups, dim=1)
        scale = share * norm.weight
        shift = norm.bias - mean * scale
        return torch.addcmul(shift[:, None, None].to(x.dtype), x, scale[:, None, None].to(x.dtype))

    @property
    def statistics(self) -> Tensor:
        """(2, G) float32: the mean and 1 / deviation of each group of all norms."""
        return torch.cat(self._found, dim=1)
