"""Deformable convolution v1 (Dai et al., ICCV 2017) in pure PyTorch: 3x3, stride 1, padding 1, one offset group."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def deform_conv2d(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x with a 3x3 kernel whose nine points are each moved by an offset, different at every pixel.

    Args:
        x: (B, C, H, W).
        offsets: (B, 18, H, W), (dy, dx) in pixels for each kernel point, row-major. x is zero outside the map.
        weight: (O, C, 3, 3).
        bias: (O,) or None.
    Returns:
        (B, O, H, W).
    """
    batch, channels, height, width = x.shape
    # Half-precision positions would be off by whole pixels at the right and bottom of a map.
    moved = offsets.to(torch.promote_types(offsets.dtype, torch.float32)).view(batch, 9, 2, height, width)
    point = torch.arange(9, device=x.device)
    rows = torch.arange(height, device=x.device)[:, None] + (point // 3 - 1)[:, None, None]  # (9, H, 1)
    columns = torch.arange(width, device=x.device) + (point % 3 - 1)[:, None, None]  # (9, 1, W)
    # Everything two pixels outside or farther is zero; clamped there, the numbers stay finite.
    row = (moved[:, :, 0] + rows).clamp(-2, height + 1)
    column = (moved[:, :, 1] + columns).clamp(-2, width + 1)
    # `grid_sample` counts (x, y) from -1 to 1 between the outer edges of the corner pixels.
    grid = torch.stack(((2 * column + 1) / width - 1, (2 * row + 1) / height - 1), dim=-1)
    grid = grid.reshape(batch, 9 * height, width, 2)
    sampled = F.grid_sample(x.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    sampled = sampled.to(x.dtype).view(batch, channels * 9, height * width)
    y = weight.reshape(-1, channels * 9).to(sampled.dtype) @ sampled
    if bias is not None:
        y = y + bias.to(y.dtype)[:, None]
    return y.view(batch, -1, height, width)


class DeformConv(nn.Module):
    """A deformable 3x3 convolution that predicts its own offsets: (B, C, H, W) -> (B, C, H, W).

    sampled: the number of channels to which the map is reduced before it is sampled, None to sample all. The cost of
    sampling and of the product with the kernel is proportional to it.
    """

    def __init__(self, *, channels: int, sampled: int | None = None) -> None:
        super().__init__()
        self.reduce = None if sampled is None else nn.Conv2d(channels, sampled, 1, bias=False)
        self.offsets = nn.Conv2d(channels, 18, 3, padding=1)
        self.weight = nn.Parameter(torch.empty(channels, sampled or channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        # Starts as an ordinary convolution.
        for parameter in self.offsets.parameters():
            nn.init.zeros_(parameter)
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        reduced = x if self.reduce is None else self.reduce(x)
        return self.convolve(reduced, self.offsets(x))

    def convolve(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Convolve a map (B, S, H, W) with these offsets (B, 18, H, W)."""
        return deform_conv2d(x, offsets, self.weight, self.bias)
