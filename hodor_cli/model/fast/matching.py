"""Matching tile by tile and block by block, so that scores stay in a core's cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.model.constants import cached_constant
from hodor_cli.model.matching import FARTHEST, Matcher
from hodor_cli.model.region import Region
from hodor_cli.model.types import KeyedMasks
from hodor_cli.runtime.device import autocast_dtype

#: Cells that are matched with the whole reference frame at once.
_BLOCK = 128
#: Side, in cells, of the tiles that are matched with their surroundings in the previous frame.
TILE = 8


class TiledMatcher(Matcher):
    """A matcher that computes no score of cells out of reach, and scores in half precision where that is in use.

    Scores of up to 40 have steps of 1/4 in bfloat16. So what a perfect match scores is subtracted within the product,
    before it is rounded: cells that match well score near 0, where the steps are smallest.
    """

    def nearby(self, keys: Tensor, source: KeyedMasks, region: Region | None = None) -> tuple[Tensor, Tensor]:
        return super().nearby(keys, _in_use(source, keys), region)

    def anywhere(self, keys: Tensor, source: KeyedMasks) -> Tensor:
        return super().anywhere(keys, _in_use(source, keys))

    def _nearby(self, keys: Tensor, source: KeyedMasks, region: Region | None) -> tuple[Tensor, Tensor]:
        """Tile by tile: the cells of a tile are matched with those of the tile and its surroundings."""
        height, width = keys.shape[-2:]
        tiles = _tiles(height, width, self.sigma, self.reach, keys.device, source.keys.dtype)
        rows, columns = (slice(0, side) for side in tiles.sides)
        if region is not None:
            rows, columns = (slice(side.start // TILE, -(-side.stop // TILE)) for side in (region.rows, region.columns))
        asking, asked, near = (part.unflatten(0, tiles.sides)[rows, columns].flatten(0, 1) for part in tiles[:3])
        queries = _rows(self._scaled(keys, source.keys.dtype), asking)  # (B, tiles, TILE ** 2, K)
        answers = _rows(source.keys, asked)  # (B, tiles, (TILE + 2 reach) ** 2, K)
        masks = _rows(source.masks, asked)
        scores = self._scores(queries.flatten(0, 1), answers.flatten(0, 1)).unflatten(0, queries.shape[:2]) + near
        best = scores.amax(dim=-1)[:, None].float()  # (B, 1, tiles, TILE ** 2)
        best = best if scores.dtype != torch.float32 else best - self.log_scale.exp()
        corner, size = (rows.start * TILE, columns.start * TILE), (height, width)
        carried = _carried(masks, scores).transpose(1, 2).float()
        tile_rows = rows.stop - rows.start
        return _untiled(carried, tile_rows, corner, size), _untiled(best, tile_rows, corner, size)

    def _anywhere(self, keys: Tensor, source: KeyedMasks) -> Tensor:
        """Block by block: a block of scores stays in a core's cache."""
        height, width = keys.shape[-2:]
        coarse = self._scaled(self.every_second(keys), source.keys.dtype)
        queries, answers = (x.flatten(2).transpose(1, 2) for x in (coarse, source.keys))
        masks = source.masks.flatten(2).transpose(1, 2)
        blocks = [_carried(masks, self._scores(part, answers)) for part in queries.split(_BLOCK, dim=1)]
        carried = torch.cat(blocks, dim=-1).unflatten(-1, coarse.shape[-2:]).float()
        return F.interpolate(carried, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]

    def _scaled(self, keys: Tensor, dtype: torch.dtype) -> Tensor:
        return (keys * self.log_scale.exp()).to(dtype)

    def _scores(self, queries: Tensor, answers: Tensor) -> Tensor:
        """queries (B, Q, K) and answers (B, S, K) -> (B, Q, S); in half precision 0 is a perfect match."""
        if queries.dtype == torch.float32:
            return queries @ answers.transpose(1, 2)
        perfect = self.log_scale.detach().exp().to(queries.dtype)  # a softmax does not depend on it
        perfect = perfect.expand(len(queries), queries.shape[1], answers.shape[1])
        return torch.baddbmm(perfect, queries, answers.transpose(1, 2), beta=-1)


def _in_use(source: KeyedMasks, keys: Tensor) -> KeyedMasks:
    """Keys and masks in the precision that is in use."""
    dtype = autocast_dtype(keys.device) or keys.dtype
    return KeyedMasks(source.keys.to(dtype), source.masks.to(dtype))


def _untiled(tiles: Tensor, rows: int, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Values (B, C, tiles, TILE ** 2) of some rows of tiles that begin at a corner, in maps (B, C, *size)."""
    maps = tiles.unflatten(3, (TILE, TILE)).unflatten(2, (rows, -1))
    maps = maps.transpose(3, 4).flatten(4, 5).flatten(2, 3)  # (B, C, rows * TILE, columns * TILE)
    below, right = size[0] - corner[0] - maps.shape[2], size[1] - corner[1] - maps.shape[3]
    return F.pad(maps, (corner[1], right, corner[0], below))  # where it is negative, `pad` crops


def _carried(masks: Tensor, scores: Tensor) -> Tensor:
    """Masks (..., S, I) of the cells matched with, weighted by scores (..., Q, S): (..., I, Q)."""
    weights = scores.softmax(dim=-1)
    if weights.dtype == torch.float32:
        # Few rows times many columns: up to ten times faster than the same product the other way round.
        return masks.transpose(-1, -2) @ weights.transpose(-1, -2)
    return (weights @ masks).transpose(-1, -2)  # and in half precision slower


def _rows(maps: Tensor, cells: Tensor) -> Tensor:
    """What maps (B, K, h, w) hold at cells (N, M): (B, N, M, K)."""
    # `index_select` copies whole rows, several times faster than `maps[:, cells]`.
    return maps.flatten(2).transpose(1, 2).index_select(1, cells.flatten()).unflatten(1, cells.shape)


class _Tiles(NamedTuple):
    """Where the cells of N tiles and of their surroundings lie in a flattened map of h * w cells.

    asking (N, TILE ** 2) and asked (N, (TILE + 2 reach) ** 2): cells of each tile, and those its cells may match with.
    near (N, TILE ** 2, (TILE + 2 reach) ** 2): the logarithm of a Gaussian of the distance; FARTHEST is out of reach.
    sides: rows and columns of tiles.
    """

    asking: Tensor
    asked: Tensor
    near: Tensor
    sides: tuple[int, int]


def _tiles(height: int, width: int, sigma: float, reach: int, device: torch.device, dtype: torch.dtype) -> _Tiles:
    rows, columns = -(-height // TILE), -(-width // TILE)
    return _Tiles(
        _cells(height, width, rows, columns, 0, device),
        _cells(height, width, rows, columns, reach, device),
        _nearness(height, width, sigma, reach, device, dtype),
        (rows, columns),
    )


def _places(size: int, tiles: int, margin: int, device: torch.device) -> Tensor:
    """(tiles, TILE + 2 margin): coordinates along one side, also those outside the map."""
    inside = torch.arange(-margin, TILE + margin, device=device)
    return TILE * torch.arange(tiles, device=device)[:, None] + inside


@cached_constant(maxsize=4)
def _cells(height: int, width: int, rows: int, columns: int, margin: int, device: torch.device) -> Tensor:
    y = _places(height, rows, margin, device).clamp(0, height - 1)
    x = _places(width, columns, margin, device).clamp(0, width - 1)
    return (y[:, None, :, None] * width + x[None, :, None, :]).view(rows * columns, -1)


@cached_constant(maxsize=2)  # some MB each
def _nearness(height: int, width: int, sigma: float, reach: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    def along(size: int) -> Tensor:
        """(tiles, TILE, TILE + 2 reach): the same along one side."""
        tiles = -(-size // TILE)
        own, other = _places(size, tiles, 0, device)[:, :, None], _places(size, tiles, reach, device)[:, None]
        distance = (own - other).float()
        out = (distance.abs() > reach) | (other < 0) | (other >= size)
        return (-distance.square() / (2 * sigma**2)).masked_fill(out, FARTHEST)

    y, x = along(height), along(width)
    near = y[:, None, :, None, :, None] + x[None, :, None, :, None, :]
    return near.clamp(min=FARTHEST).reshape(-1, TILE**2, near.shape[-2] * near.shape[-1]).to(dtype)
