"""Matching in tiles and blocks, so that the scores stay in a core's cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.model.constants import cached_constant
from hodor_cli.model.matching import FARTHEST, Matcher
from hodor_cli.model.region import Region
from hodor_cli.model.types import KeyedMasks
from hodor_cli.runtime.device import autocast_dtype

#: How many cells are matched with the whole reference frame at a time.
_BLOCK = 128
#: Side, in cells, of the tiles that are matched with their surroundings in the previous frame.
TILE = 8


class TiledMatcher(Matcher):
    """A matcher that computes no scores for cells out of reach, and computes scores in half precision under autocast.

    Scores of up to 40 have steps of 1/4 in bfloat16. So the score of a perfect match is subtracted within the matrix
    product, before rounding: cells that match well score near 0, where the steps are smallest.
    """

    def nearby(self, keys: Tensor, source: KeyedMasks, region: Region | None = None) -> tuple[Tensor, Tensor]:
        return super().nearby(keys, _in_use(source, keys), region)

    def anywhere(self, keys: Tensor, source: KeyedMasks) -> Tensor:
        return super().anywhere(keys, _in_use(source, keys))

    def _nearby(self, keys: Tensor, source: KeyedMasks, region: Region | None) -> tuple[Tensor, Tensor]:
        """Match the cells of each tile with those of the tile and its surroundings."""
        height, width = keys.shape[-2:]
        rows, columns = (
            slice(side.start // TILE, -(-side.stop // TILE)) for side in (region or Region.all_of(height, width))[:2]
        )
        of_all_tiles = (
            _cells(height, width, 0, keys.device),
            _cells(height, width, self.reach, keys.device),
            _nearness(height, width, self.sigma, self.reach, keys.device, source.keys.dtype),
        )
        inside, around, near = (values[rows, columns].flatten(0, 1) for values in of_all_tiles)
        queries = _rows(self._scaled(keys, source.keys.dtype), inside)  # (B, tiles, TILE ** 2, K)
        answers = _rows(source.keys, around)  # (B, tiles, (TILE + 2 reach) ** 2, K)
        masks = _rows(source.masks, around)
        scores = self._scores(queries.flatten(0, 1), answers.flatten(0, 1)).unflatten(0, queries.shape[:2]) + near
        best = scores.amax(dim=-1)[:, None].float()  # (B, 1, tiles, TILE ** 2)
        best = best if scores.dtype != torch.float32 else best - self.log_scale.exp()
        corner, size = (rows.start * TILE, columns.start * TILE), (height, width)
        carried = _carried(masks, scores).transpose(1, 2).float()
        tile_rows = rows.stop - rows.start
        return _untiled(carried, tile_rows, corner, size), _untiled(best, tile_rows, corner, size)

    def _anywhere(self, keys: Tensor, source: KeyedMasks) -> Tensor:
        """Match cells with the whole frame in blocks."""
        height, width = keys.shape[-2:]
        coarse = self._scaled(self.every_second(keys), source.keys.dtype)
        queries, answers = (x.flatten(2).transpose(1, 2) for x in (coarse, source.keys))
        masks = source.masks.flatten(2).transpose(1, 2)
        parts = 1 + self.colours
        blocks = [_carried(masks, self._scores(some, answers, parts)) for some in queries.split(_BLOCK, dim=1)]
        carried = torch.cat(blocks, dim=-1).unflatten(-1, coarse.shape[-2:]).float()
        return F.interpolate(carried, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]

    def _scaled(self, keys: Tensor, dtype: torch.dtype) -> Tensor:
        return (keys * self.log_scale.exp()).to(dtype)

    def _scores(self, queries: Tensor, answers: Tensor, parts: int = 1) -> Tensor:
        """queries (B, Q, K) and answers (B, S, K) -> (B, Q, S); in half precision, a perfect match scores 0.

        parts: of how many unit vectors a key consists.
        """
        if queries.dtype == torch.float32:
            return queries @ answers.transpose(1, 2)
        perfect = (parts * self.log_scale.detach().exp()).to(queries.dtype)  # the same for all, so softmax ignores it
        perfect = perfect.expand(len(queries), queries.shape[1], answers.shape[1])
        return torch.baddbmm(perfect, queries, answers.transpose(1, 2), beta=-1)


def _in_use(source: KeyedMasks, keys: Tensor) -> KeyedMasks:
    """Keys and masks in autocast's dtype."""
    dtype = autocast_dtype(keys.device) or keys.dtype
    return KeyedMasks(source.keys.to(dtype), source.masks.to(dtype))


def _untiled(tiles: Tensor, rows: int, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Values (B, C, tiles, TILE ** 2) of some rows of tiles, placed with their corner at `corner` in (B, C, *size)."""
    maps = tiles.unflatten(3, (TILE, TILE)).unflatten(2, (rows, -1))
    maps = maps.transpose(3, 4).flatten(4, 5).flatten(2, 3)  # (B, C, rows * TILE, columns * TILE)
    below, right = size[0] - corner[0] - maps.shape[2], size[1] - corner[1] - maps.shape[3]
    return F.pad(maps, (corner[1], right, corner[0], below))  # negative padding crops


def _carried(masks: Tensor, scores: Tensor) -> Tensor:
    """Masks (..., S, I) of the cells matched with, weighted by scores (..., Q, S): (..., I, Q)."""
    weights = scores.softmax(dim=-1)
    if weights.dtype == torch.float32:
        # In float32 up to ten times faster than the product below, in half precision slower.
        return masks.transpose(-1, -2) @ weights.transpose(-1, -2)
    return (weights @ masks).transpose(-1, -2)


def _rows(maps: Tensor, cells: Tensor) -> Tensor:
    """The values of maps (B, K, h, w) at cells (N, M): (B, N, M, K)."""
    # `index_select` copies whole rows, several times faster than `maps[:, cells]`.
    return maps.flatten(2).transpose(1, 2).index_select(1, cells.flatten()).unflatten(1, cells.shape)


def _coordinates(size: int, margin: int, device: torch.device) -> Tensor:
    """(tiles, TILE + 2 margin): the coordinates of each tile along one side, including those outside the map."""
    return torch.arange(0, size, TILE, device=device)[:, None] + torch.arange(-margin, TILE + margin, device=device)


@cached_constant(maxsize=4)
def _cells(height: int, width: int, margin: int, device: torch.device) -> Tensor:
    """(R, C, (TILE + 2 margin) ** 2): the indices, in a flattened map, of the cells of R x C tiles with a margin."""
    y = _coordinates(height, margin, device).clamp(0, height - 1)
    x = _coordinates(width, margin, device).clamp(0, width - 1)
    return (y[:, None, :, None] * width + x[None, :, None, :]).flatten(2)


@cached_constant(maxsize=2)  # some MB each
def _nearness(height: int, width: int, sigma: float, reach: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(R, C, TILE ** 2, (TILE + 2 reach) ** 2): the logarithm of a Gaussian of the distance between each cell of R x C
    tiles and those around it; FARTHEST out of reach."""

    def along(size: int) -> Tensor:
        """(tiles, TILE, TILE + 2 reach): the same along one side."""
        own, other = _coordinates(size, 0, device)[:, :, None], _coordinates(size, reach, device)[:, None]
        distance = (own - other).float()
        out = (distance.abs() > reach) | (other < 0) | (other >= size)
        return (-distance.square() / (2 * sigma**2)).masked_fill(out, FARTHEST)

    y, x = along(height), along(width)
    near = y[:, None, :, None, :, None] + x[None, :, None, :, None, :]
    return near.clamp(min=FARTHEST).flatten(4).flatten(2, 3).to(dtype)
