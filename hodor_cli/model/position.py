"""Sinusoidal position of a map's pixels, as in DETR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hodor_cli.model.constants import cached_constant


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
