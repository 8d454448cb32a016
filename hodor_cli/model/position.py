"""Where a map's pixels lie: sinusoids as in DETR, and codes that tell places apart more finely."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hodor_cli.model.constants import cached_constant
from hodor_cli.model.region import Region

#: Periods along a side of the map, of the slowest and of the fastest wave of `place_codes`.
_SLOWEST, _FASTEST = 0.25, 8.0
#: Strength of the codes before any training; maps have about unit variance after their normalisation.
_START = 0.3


@cached_constant(maxsize=32)
def sinusoidal_position(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """(H * W, C) float32: C/2 features of y, then C/2 of x; sine at even and cosine at odd channels.

    Coordinates count from 1 and are scaled to 2 pi over the map; channel i has the frequency
    10000 ** (-2 (i // 2) / (C/2)).
    """
    half = channels // 2
    index = torch.arange(half, device=device)
    frequency = 10000.0 ** (-2 * torch.div(index, 2, rounding_mode="floor") / half)

    def features(size: int) -> Tensor:
        coordinate = torch.arange(1, size + 1, dtype=torch.float32, device=device)
        coordinate = coordinate / (size + 1e-6) * 2 * math.pi
        angle = coordinate[:, None] * frequency
        return torch.where(index % 2 == 0, angle.sin(), angle.cos())

    y, x = features(height), features(width)
    y = y[:, None].expand(height, width, half)
    x = x[None].expand(height, width, half)
    return torch.cat((y, x), dim=-1).reshape(height * width, channels)


@cached_constant(maxsize=32)
def place_codes(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """(H * W, C) float32: C/2 waves of y, then C/2 of x, sine and cosine in turn.

    From a quarter of a period to eight along the map, evenly on the logarithmic scale, so that sums of few channels
    are high in one place and low elsewhere. Places are shares of the map, whatever its size.
    """
    half = channels // 2
    index = torch.arange(half, device=device)
    share = torch.div(index, 2, rounding_mode="floor") / max(half // 2 - 1, 1)
    frequency = 2 * math.pi * _SLOWEST * (_FASTEST / _SLOWEST) ** share

    def waves(size: int) -> Tensor:
        place = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size - 0.5
        angle = place[:, None] * frequency
        return torch.where(index % 2 == 0, angle.sin(), angle.cos())

    y = waves(height)[:, None].expand(height, width, half)
    x = waves(width)[None].expand(height, width, half)
    return torch.cat((y, x), dim=-1).reshape(height * width, channels)


class PlaceCodes(nn.Module):
    """Adds codes of where each pixel lies to a map, each channel with its own learned strength."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), _START))

    def forward(self, x: Tensor, region: Region | None = None) -> Tensor:
        """(B, C, h, w), a whole map or this part of one -> the same shape."""
        height, width = x.shape[-2:]
        if region is None:
            region = Region.all_of(height, width)
        codes = region.of_pixels(place_codes(*region.whole, len(self.gain), x.device)) * self.gain
        # Channels last in memory, as the maps are.
        return x + codes.view(1, height, width, -1).permute(0, 3, 1, 2).to(x.dtype)
