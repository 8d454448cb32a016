"""Deformable convolution as a gather of weighted rows and one matrix product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.runtime.constants import cached_constant


class GatheredDeformConv(DeformConv):
    """A deformable convolution that takes all its samples in one gather.

    With gradients, it uses the plain form if the map it samples is reduced to few channels: its gradient is faster.
    """

    def convolve(self, x: Tensor, offsets: Tensor) -> Tensor:
        if self.reduce is not None and torch.is_grad_enabled():
            return super().convolve(x, offsets)
        return gathered_deform_conv2d(x, offsets, self.weight, self.bias)


def gathered_deform_conv2d(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `deform_conv2d`, by a gather and one matrix product.

    The gather is `embedding_bag`: each sample is a weighted sum of the four rows (pixels) around it. CPUs and GPUs (MPS
    since PyTorch 2.10) fuse that operation, and its gradient reaches both the map and, through the bilinear weights,
    the offsets.
    """
    batch, channels, height, width = x.shape
    # Half-precision positions would be off by whole pixels at the right and bottom of a map.
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    rows, weights = _bilinear_rows(offsets, height, width)
    # The table has a border of zeros around the map, so that points outside need no special case.
    table = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2, 1, 2)).reshape(-1, channels)
    sampled = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights.to(table.dtype))
    sampled = sampled.view(batch, height * width, 9 * channels)
    kernel = weight.permute(0, 2, 3, 1).reshape(-1, 9 * channels).to(sampled.dtype)
    y = F.linear(sampled, kernel, None if bias is None else bias.to(sampled.dtype))
    return y.transpose(1, 2).unflatten(2, (height, width))  # channels last in memory


def _bilinear_rows(offsets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Row indices into the flattened, padded map (B, H + 3, W + 3), and bilinear weights; both (B * H * W * 9, 4).

    The map is padded with one row and column of zeros before it and two after it. Positions farther out are clamped.
    """
    batch, device = len(offsets), offsets.device
    moved = offsets.permute(0, 2, 3, 1).unflatten(3, (9, 2))  # without a copy if channels are last in memory
    y = moved[..., 0] + _point_rows(height, device)
    x = moved[..., 1] + _point_columns(width, device)
    y, x = y.clamp(0, height + 1), x.clamp(0, width + 1)
    top, left = y.detach().floor(), x.detach().floor()
    down, right = y - top, x - left
    both = down * right
    weights = torch.stack((1 - down - right + both, right - both, down - both, both), dim=-1)
    # Where an offset is NaN, so is the result; the row must still be one of the table.
    rows = (top.int().clamp(min=0) * (width + 3) + left.int().clamp(min=0))[..., None]
    return (rows + _corners(batch, height, width, device)).reshape(-1, 4), weights.reshape(-1, 4)


@cached_constant(maxsize=32)
def _point_rows(height: int, device: torch.device) -> Tensor:
    """(H, 1, 9): the row of each kernel point in the padded map, for each row of the map."""
    return (torch.arange(height, device=device)[:, None] + torch.arange(9, device=device) // 3)[:, None]


@cached_constant(maxsize=32)
def _point_columns(width: int, device: torch.device) -> Tensor:
    """(W, 9): the column of each kernel point in the padded map, for each column of the map."""
    return torch.arange(width, device=device)[:, None] + torch.arange(9, device=device) % 3


@cached_constant(maxsize=32)
def _corners(batch: int, height: int, width: int, device: torch.device) -> Tensor:
    """(B, 1, 1, 1, 4) int32: the rows of the four pixels at the upper left of each flattened, padded map."""
    maps = torch.arange(batch, device=device, dtype=torch.int32) * ((height + 3) * (width + 3))
    step = torch.arange(2, device=device, dtype=torch.int32)
    return maps.view(-1, 1, 1, 1, 1) + (step[:, None] * (width + 3) + step).flatten()
