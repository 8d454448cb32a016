"""Matching in tiles and blocks, so that the scores stay in a core's cache."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.model.matching import FARTHEST, Matcher
from hodor_cli.model.region import Region
from hodor_cli.model.types import Affinity, KeyedMasks
from hodor_cli.runtime.constants import cached_constant
from hodor_cli.runtime.device import autocast_dtype

#: How many cells are matched with the whole reference frame at a time.
_BLOCK = 1024
#: The least sum of weights to divide by.
_LEAST = torch.finfo(torch.bfloat16).tiny
#: Side, in cells, of the tiles that are matched with their surroundings in the previous frame.
TILE = 8


class TiledMatcher(Matcher):
    """A matcher that computes no scores for cells out of reach, and computes scores in half precision under autocast.

    Scores of up to 40 have steps of 1/4 in bfloat16. So the score of a perfect match is subtracted within the matrix
    product, before rounding: cells that match well score near 0, where the steps are smallest. As no score is above 0,
    bfloat16, which has the range of float32, needs no softmax with its search for the highest: `_weights` takes powers
    of 2, which are the fastest.
    """

    def affinity(self, keys: Tensor, source: Tensor, region: Region | None = None) -> Affinity:
        return super().affinity(keys, _in_use(source), region)

    def carried(self, affinity: Affinity, masks: Tensor, region: Region | None = None) -> tuple[Tensor, Tensor]:
        return super().carried(affinity, masks.to(affinity.weights.dtype), region)

    def anywhere(self, coarse: Tensor, source: KeyedMasks, keys: Tensor | None = None) -> Tensor:
        return super().anywhere(coarse, KeyedMasks(*map(_in_use, source)), keys)

    def _affinity(self, keys: Tensor, source: Tensor, region: Region) -> tuple[Tensor, Tensor, Region]:
        """Match the cells of each tile with those of the tile and its surroundings."""
        height, width = region.whole
        rows, columns = (slice(side.start // TILE, -(-side.stop // TILE)) for side in region[:2])
        of_all_tiles = (
            _cells(height, width, 0, keys.device),
            _cells(height, width, self.reach, keys.device),
            _nearness(height, width, self.sigma, self.reach, keys.device, source.dtype),
        )
        inside, around, near = (values[rows, columns].flatten(0, 1) for values in of_all_tiles)
        queries = _rows(self._scaled(keys, source.dtype), inside)  # (B, tiles, TILE ** 2, K)
        answers = _rows(source, around)  # (B, tiles, (TILE + 2 reach) ** 2, K)
        scores = self._scores_of(queries.flatten(0, 1), answers.flatten(0, 1)).unflatten(0, queries.shape[:2]) + near
        best = scores.amax(dim=-1)[:, None].float()  # (B, 1, tiles, TILE ** 2)
        best = best - self.log_scale.exp() if scores.dtype == torch.float32 else best / _base(scores.dtype)
        covered = (slice(TILE * side.start, TILE * side.stop) for side in (rows, columns))
        tiles = Region(next(covered), next(covered), region.whole)
        return _weights(scores), _untiled(best, tiles), tiles

    def _carried(self, affinity: Affinity, masks: Tensor) -> Tensor:
        tiles = affinity.region
        rows, columns = (slice(side.start // TILE, side.stop // TILE) for side in tiles[:2])
        around = _cells(*tiles.whole, self.reach, masks.device)[rows, columns].flatten(0, 1)
        return _untiled(_weighted(affinity.weights, _rows(masks, around)).transpose(1, 2).float(), tiles)

    def _anywhere(self, coarse: Tensor, source: KeyedMasks) -> Tensor:
        """Match cells with the whole frame in blocks."""
        scaled = self._scaled(coarse, source.keys.dtype)
        queries, answers = (x.flatten(2).transpose(1, 2) for x in (scaled, source.keys))
        masks = source.masks.flatten(2).transpose(1, 2)
        parts = 1 + self.colours
        blocks = (self._scores_of(some, answers, parts) for some in queries.split(_BLOCK, dim=1))
        return torch.cat([_weighted(_weights(scores), masks) for scores in blocks], dim=-1).float()

    def _again(self, carried: Tensor, cells: Tensor, keys: Tensor, source: KeyedMasks) -> Tensor:
        """Match only these cells."""
        if torch.compiler.is_compiling():  # shapes in an exported graph cannot depend on values
            return super()._again(carried, cells, keys, source)
        chosen = cells.flatten().nonzero()[:, 0]
        found = self._anywhere(keys.flatten(2)[..., chosen], source)
        return carried.flatten(2).index_copy(2, chosen, found).unflatten(2, keys.shape[2:])

    def _scaled(self, keys: Tensor, dtype: torch.dtype) -> Tensor:
        return (keys * (self.log_scale.exp() * _base(dtype))).to(dtype)

    def _scores_of(self, queries: Tensor, answers: Tensor, parts: int = 1) -> Tensor:
        """queries (B, Q, K) and answers (B, S, K) -> (B, Q, S); in half precision, a perfect match scores 0.

        parts: of how many unit vectors a key consists.
        """
        if queries.dtype == torch.float32:
            return queries @ answers.transpose(1, 2)
        # The same for all, so it changes no weight.
        perfect = (parts * _base(queries.dtype) * self.log_scale.detach().exp()).to(queries.dtype)
        perfect = perfect.expand(len(queries), queries.shape[1], answers.shape[1])
        return torch.baddbmm(perfect, queries, answers.transpose(1, 2), beta=-1)


def _in_use(values: Tensor) -> Tensor:
    """Keys or masks in autocast's dtype."""
    return values.to(autocast_dtype(values.device) or values.dtype)


def _untiled(values: Tensor, tiles: Region) -> Tensor:
    """Values (B, C, T, TILE ** 2) of the T tiles in a region, placed in maps (B, C, *tiles.whole) of zeros."""
    maps = values.unflatten(3, (TILE, TILE)).unflatten(2, ((tiles.rows.stop - tiles.rows.start) // TILE, -1))
    maps = maps.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    height, width = tiles.whole
    around = (tiles.columns.start, width - tiles.columns.stop, tiles.rows.start, height - tiles.rows.stop)
    return F.pad(maps, around)  # negative padding crops


def _weights(scores: Tensor) -> Tensor:
    """Weights (..., Q, S) of the cells matched with; in bfloat16 they do not sum to 1."""
    return scores.exp2() if scores.dtype == torch.bfloat16 else scores.softmax(dim=-1)


def _weighted(weights: Tensor, masks: Tensor) -> Tensor:
    """Masks (..., S, I) of the cells matched with, weighted by `_weights` (..., Q, S): (..., I, Q)."""
    if weights.dtype == torch.float32:
        # In float32 up to ten times faster than the product below, in half precision slower.
        return masks.transpose(-1, -2) @ weights.transpose(-1, -2)
    if weights.dtype != torch.bfloat16:
        return (weights @ masks).transpose(-1, -2)
    ones = torch.ones_like(masks[..., :1])
    sums = (weights @ torch.cat((masks, ones), dim=-1)).float()
    # Where all weights are 0, the cell matches nothing, and no mask is carried to it.
    return (sums[..., :-1] / sums[..., -1:].clamp(min=_LEAST)).transpose(-1, -2)


def _base(dtype: torch.dtype) -> float:
    """What scores are multiplied by: 2 to that power is e, where `_weights` takes powers of 2."""
    return math.log2(math.e) if dtype == torch.bfloat16 else 1.0


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
        return (-distance.square() / (2 * sigma**2) * _base(dtype)).masked_fill(out, FARTHEST)

    y, x = along(height), along(width)
    near = y[:, None, :, None, :, None] + x[None, :, None, :, None, :]
    return near.clamp(min=FARTHEST).flatten(4).flatten(2, 3).to(dtype)
