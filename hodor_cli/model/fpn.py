"""Feature pyramid (Lin et al., CVPR 2017) down to strides 8 and 4, the two that the encoder and decoder read."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
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

    def __init__(self, *, inputs: tuple[int, ...], channels: int, stride4_channels: int, norm_groups: int) -> None:
        super().__init__()
        widths = (stride4_channels, channels)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in inputs)
        self.outputs = nn.ModuleList(Conv3x3(channels, width) for width in widths)
        self.norms = nn.ModuleList(nn.GroupNorm(norm_groups, width) for width in widths)

    def forward(self, maps: list[Tensor], fine_from: int = 0) -> tuple[Tensor, Tensor]:
        """Maps of B frames at strides 4..32 -> stride 4 of the frames from `fine_from` on, and stride 8 of all."""
        x, *coarse = (lateral(x) for lateral, x in zip(reversed(self.laterals[1:]), reversed(maps[1:]), strict=True))
        for finer in coarse:
            x = finer + F.interpolate(x, size=finer.shape[-2:], mode="nearest")
        stride4 = self._output4(maps[0][fine_from:], x[fine_from:])
        return self.norms[0](stride4), self.norms[1](self.outputs[1](x))

    def _output4(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The output convolution at stride 4 of lateral(fine) + upsampled coarse."""
        lateral, output = cast(nn.Conv2d, self.laterals[0]), cast(Conv3x3, self.outputs[0])
        twice = (2 * coarse.shape[-2], 2 * coarse.shape[-1])
        # With few channels of the backbone, half the operations: the sum of two convolutions, neither of all channels
        # at all pixels.
        if 4 * lateral.in_channels <= lateral.out_channels and fine.shape[-2:] == twice:
            return _conv_of_lateral(fine, lateral, output) + _conv_of_doubled(coarse, output.weight)
        return output(lateral(fine) + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"))


def _conv_of_lateral(x: Tensor, lateral: nn.Conv2d, output: nn.Conv2d) -> Tensor:
    """output(lateral(x)) for a 1x1 convolution and a 3x3 one with padding 1, as one 3x3 convolution."""
    # The lateral's bias is a channel of ones: outside the map, where the padding is, it is zero.
    mixing = lateral.weight.flatten(1)
    assert lateral.bias is not None
    mixing = torch.cat((mixing, lateral.bias[:, None]), dim=1)
    weight = torch.einsum("omyx,mi->oiyx", output.weight, mixing)
    return F.conv2d(F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0), weight, output.bias, padding=1)


def _conv_of_doubled(x: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution, padding 1, of x (B, C, h, w) upsampled to twice the size by repeating pixels.

    The three taps fall on two pixels of x, or for the next output on two others, so that a pixel of x reaches four rows
    and columns of the result: a transposed convolution, with 16 products for four outputs instead of 36.
    Returns (B, O, 2h, 2w).
    """
    first, second, third = weight.unbind(2)
    weight = torch.stack((third, second + third, first + second, first), dim=2)
    first, second, third = weight.unbind(3)
    weight = torch.stack((third, second + third, first + second, first), dim=3)
    return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2, padding=1)
