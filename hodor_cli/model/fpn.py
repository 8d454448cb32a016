"""Feature pyramid (Lin et al., CVPR 2017) down to strides 8 and 4, the two that the encoder and decoder read."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Backbone maps at strides 4..32 -> group-normalised maps at strides 4 and 8.

    The published checkpoints also have output convolutions for strides 16 and 32, which are never used.
    """

    def __init__(self, *, inputs: tuple[int, ...], channels: int, stride4_channels: int, norm_groups: int) -> None:
        super().__init__()
        widths = (stride4_channels, channels)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in inputs)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, width, 3, padding=1) for width in widths)
        self.norms = nn.ModuleList(nn.GroupNorm(norm_groups, width) for width in widths)

    def forward(self, maps: list[Tensor], fine_from: int = 0) -> tuple[Tensor, Tensor]:
        """Maps of B frames at strides 4..32 -> stride 4 of the frames from `fine_from` on, and stride 8 of all."""
        fine, *coarser = maps
        laterals = list(self.laterals)[1:]  # PyTorch 2.4 exports no slice of the ModuleList itself
        x, *finer = (lateral(x) for lateral, x in zip(reversed(laterals), reversed(coarser), strict=True))
        for level in finer:
            x = level + F.interpolate(x, size=level.shape[-2:], mode="nearest")
        return self.norms[0](self.fine_output(fine[fine_from:], x[fine_from:])), self.norms[1](self.outputs[1](x))

    def fine_output(self, fine: Tensor, x: Tensor) -> Tensor:
        """The output at stride 4, from the backbone's map at stride 4 and the pyramid's at stride 8."""
        fine = self.laterals[0](fine)
        output: Tensor = self.outputs[0](fine + F.interpolate(x, size=fine.shape[-2:], mode="nearest"))
        return output
