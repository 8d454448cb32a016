"""Positions of a map's pixels: sinusoids as in DETR, and codes that distinguish places more finely."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hodor_cli.model.region import Region
from hodor_cli.runtime.constants import cached_constant

#: Periods along a side of the map of the slowest and the fastest wave of `position_codes`.
_SLOWEST, _FASTEST = 0.25, 8.0
#: Strength of the codes before any training; maps have about unit variance after their normalisation.
_START = 0.3


@cached_constant(maxsize=32)
def sinusoidal_position(
    height: int, width: int, channels: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(H * W, C): C/2 features of y, then C/2 of x; sine at even and cosine at odd channels.

    Coordinates count from 1 and are scaled to 2 pi over the map; channel i has the frequency
    10000 ** (-2 (i // 2) / (C/2)).
    """
    half = channels // 2
    frequency = 10000.0 ** (-2 * torch.div(torch.arange(half, device=device), 2, rounding_mode="floor") / half)

    def coordinates(size: int) -> Tensor:
        return torch.arange(1, size + 1, dtype=torch.float32, device=device) / (size + 1e-6) * 2 * math.pi

    return _waves(coordinates(height), coordinates(width), frequency).to(dtype)


@cached_constant(maxsize=32)
def position_codes(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """(H * W, C) float32: C/2 waves of y, then C/2 of x; sine at even and cosine at odd channels.

    Frequencies are spaced evenly on a logarithmic scale from a quarter of a period along the map to eight periods, so
    that sums of a few channels are high in one place and low elsewhere. Coordinates are shares of the map's size.
    """
    half = channels // 2
    share = torch.div(torch.arange(half, device=device), 2, rounding_mode="floor") / max(half // 2 - 1, 1)
    frequency = 2 * math.pi * _SLOWEST * (_FASTEST / _SLOWEST) ** share

    def coordinates(size: int) -> Tensor:
        return (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size - 0.5

    return _waves(coordinates(height), coordinates(width), frequency)


def _waves(y: Tensor, x: Tensor, frequency: Tensor) -> Tensor:
    """(H * W, 2 F): F waves of the coordinates y (H,), then F of x (W,), sine at even and cosine at odd channels."""
    even = torch.arange(len(frequency), device=frequency.device) % 2 == 0
    size = len(y), len(x), len(frequency)
    y, x = (torch.where(even, angle.sin(), angle.cos()) for angle in (y[:, None] * frequency, x[:, None] * frequency))
    return torch.cat((y[:, None].expand(size), x[None].expand(size)), dim=-1).flatten(0, 1)


class PositionCodes(nn.Module):
    """Adds a code of each pixel's place to a map, with a learned strength per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), _START))

    def forward(self, x: Tensor, region: Region | None = None) -> Tensor:
        """(B, C, h, w), a whole map or its part in `region` -> the same shape."""
        height, width = x.shape[-2:]
        if region is None:
            region = Region.all_of(height, width)
        codes = region.of_pixels(position_codes(*region.whole, len(self.gain), x.device)) * self.gain
        # Channels last in memory, as the maps are.
        return x + codes.view(1, height, width, -1).permute(0, 3, 1, 2).to(x.dtype)
