"""The background grid: pixels of no object, split into 3 x 3 cells (HODOR, sec. 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import GRID_SIZE
from hodor_cli.runtime.constants import cached_constant


@cached_constant(maxsize=32)
def grid_cells(height: int, width: int, device: torch.device) -> Tensor:
    """(9, H, W) float32 indicator of each cell, row-major; the last row and column take the remainder."""

    def bands(size: int) -> Tensor:
        index = (torch.arange(size, device=device) // max(size // GRID_SIZE, 1)).clamp(max=GRID_SIZE - 1)
        return F.one_hot(index, GRID_SIZE).float().T  # (3, size)

    return torch.einsum("ah,bw->abhw", bands(height), bands(width)).flatten(0, 1)


def to_stride8(masks: Tensor) -> Tensor:
    """Full-resolution masks (B, N, H, W) to stride 8, bilinear without antialiasing: the mean of each middle 2 x 2."""
    height, width = masks.shape[-2:]
    return F.interpolate(masks, size=(height // 8, width // 8), mode="bilinear", align_corners=False)


def reference_masks(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Given masks (B, I, H, W) at full resolution -> object and background masks at stride 8.

    The background is everything outside the union of the masks, cut into cells at full resolution.
    """
    outside = 1 - masks.amax(dim=1, keepdim=True)
    background = outside * grid_cells(masks.shape[-2], masks.shape[-1], masks.device)
    return to_stride8(masks), to_stride8(background)


def predicted_masks(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted soft masks (B, I, h, w), already at stride 8 -> the same, and background masks (B, 9, h, w)."""
    outside = 1 - masks.sum(dim=1, keepdim=True)
    return masks, outside * grid_cells(masks.shape[-2], masks.shape[-1], masks.device)
