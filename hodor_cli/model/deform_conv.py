"""Deformable convolution v1 (Dai et al., ICCV 2017) in pure PyTorch: 3x3, stride 1, padding 1, one offset group."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def deform_conv2d(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x with a 3x3 kernel whose nine points are each moved by an offset, different at every pixel.

    A gather and one matrix product. The gather is `embedding_bag`: each sampled value is a weighted sum of the four
    rows (pixels) around it, which is the one operation that every backend fuses, and whose gradient reaches both the
    map and, through the bilinear weights, the offsets.

    Args:
        x: (B, C, H, W).
        offsets: (B, 18, H, W), (dy, dx) in pixels for each kernel point, row-major. Outside the map x counts as zero.
        weight: (O, C, 3, 3).
        bias: (O,) or None.
    Returns:
        (B, O, H, W).
    """
    batch, channels, height, width = x.shape
    # Positions in half precision would be off by whole pixels at the right and bottom of a map.
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    rows, weights = _bilinear_rows(offsets, height, width)
    table = x.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    sampled = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights.to(table.dtype))
    sampled = sampled.view(batch, height * width, 9 * channels)
    kernel = weight.permute(2, 3, 1, 0).reshape(9 * channels, -1).to(sampled.dtype)
    y = sampled @ kernel
    if bias is not None:
        y = y + bias.to(y.dtype)
    return y.transpose(1, 2).reshape(batch, -1, height, width)


def _bilinear_rows(offsets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows of the flattened (B * H * W) map and bilinear weights, both (B * H * W * 9, 4); outside, the weight is 0."""
    batch, device = len(offsets), offsets.device
    kernel_y, kernel_x = torch.meshgrid(torch.arange(-1, 2), torch.arange(-1, 2), indexing="ij")
    moved = offsets.view(batch, 9, 2, height, width).permute(0, 3, 4, 1, 2)  # (B, H, W, 9, 2)
    y = moved[..., 0] + torch.arange(height, device=device).view(-1, 1, 1) + kernel_y.flatten().to(device)
    x = moved[..., 1] + torch.arange(width, device=device).view(-1, 1) + kernel_x.flatten().to(device)
    # Farther out than one pixel nothing is sampled; the clamp keeps the integer conversion defined there.
    y, x = y.clamp(-2, height + 1), x.clamp(-2, width + 1)
    top, left = y.detach().floor(), x.detach().floor()
    down, right = y - top, x - left
    corner_y = torch.stack((top, top, top + 1, top + 1), dim=-1).long()
    corner_x = torch.stack((left, left + 1, left, left + 1), dim=-1).long()
    weights = torch.stack(((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right), dim=-1)
    inside = (corner_y >= 0) & (corner_y < height) & (corner_x >= 0) & (corner_x < width)
    weights = weights * inside
    rows = corner_y.clamp(0, height - 1) * width + corner_x.clamp(0, width - 1)
    rows = rows + (torch.arange(batch, device=device) * height * width).view(-1, 1, 1, 1, 1)
    return rows.view(-1, 4), weights.view(-1, 4)


class DeformConv(nn.Module):
    """A deformable 3x3 convolution that predicts its own offsets: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(channels, 18, 3, padding=1)
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        # Starts as an ordinary convolution.
        for parameter in self.offsets.parameters():
            nn.init.zeros_(parameter)
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return deform_conv2d(x, self.offsets(x), self.weight, self.bias)
