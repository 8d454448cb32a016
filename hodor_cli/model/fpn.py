"""Feature pyramid (Lin et al., CVPR 2017) down to strides 8 and 4, the two that the encoder and decoder read."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.model.winograd import Conv3x3


class Maps(NamedTuple):
    """What `extract` makes of frames: everything that later steps need and no mask changes.

    stride4 (B, C, H/4, W/4) and stride8 (B, C, H/8, W/8); keys (B, K, H/8, W/8) for matching, or None for models
    without a correspondence cue.
    """

    stride4: Tensor
    stride8: Tensor
    keys: Tensor | None = None


class FeaturePyramid(nn.Module):
    """Backbone maps at strides 4..32 -> GroupNormed maps of one width at strides 4 and 8.

    The published checkpoints also hold output convolutions for strides 16 and 32; nothing reads them.
    """

    def __init__(
        self, *, inputs: tuple[int, ...], channels: int, stride4_channels: int, norm_groups: int
    ) -> None:
        super().__init__()
        widths = (stride4_channels, channels)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in inputs)
        self.outputs = nn.ModuleList(Conv3x3(channels, width) for width in widths)
        self.norms = nn.ModuleList(nn.GroupNorm(norm_groups, width) for width in widths)

    def forward(self, maps: list[Tensor], fine_from: int = 0) -> tuple[Tensor, Tensor]:
        """Maps of B frames at strides 4..32 -> stride 4 of the frames from `fine_from` on, and stride 8 of all."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, (maps[0][fine_from:], *maps[1:]), strict=True)]
        for i in reversed(range(len(levels) - 1)):
            coarser = levels[i + 1][fine_from:] if i == 0 else levels[i + 1]
            levels[i] = levels[i] + F.interpolate(coarser, size=levels[i].shape[-2:], mode="nearest")
        stride4, stride8 = (
            norm(conv(x)) for norm, conv, x in zip(self.norms, self.outputs, levels[:2], strict=True)
        )
        return stride4, stride8
