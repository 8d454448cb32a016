"""MobileNetV2 (Sandler et al., CVPR 2018) with its batch norms folded into the convolutions."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A convolution padded as the ImageNet weights expect: stride 2 pads right and bottom only."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.stride[0] == 1 else F.pad(x, (0, 1, 0, 1)))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter by depthwise 3x3, project by 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Conv(inputs, hidden) if expansion != 1 else None
        self.depthwise = Conv(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.project = Conv(hidden, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> the last map (B, C, H/s, W/s) of each stride s = 4, 8, 16, 32.

    with_finest: also return the last map of stride 2, before the others.
    """

    def __init__(
        self, *, groups: tuple[tuple[int, int, int, int], ...], stem_channels: int, with_finest: bool = False
    ) -> None:
        super().__init__()
        self.stem = Conv(3, stem_channels, kernel=3, stride=2)
        blocks: list[InvertedResidual] = []
        last_of_stride: dict[int, int] = {}
        inputs, total_stride = stem_channels, 2
        for expansion, outputs, count, stride in groups:
            for i in range(count):
                block_stride = stride if i == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, expansion=expansion, stride=block_stride))
                inputs, total_stride = outputs, total_stride * block_stride
                last_of_stride[total_stride] = len(blocks) - 1
        self.blocks = nn.ModuleList(blocks)
        strides = (2, 4, 8, 16, 32) if with_finest else (4, 8, 16, 32)
        self.outputs = tuple(last_of_stride[stride] for stride in strides)
        self.out_channels = tuple(blocks[i].project.out_channels for i in self.outputs)

    def stages(self) -> list[list[nn.Module]]:
        """The layers of each stage: those up to the map at stride 4, then those from each map to the next."""
        ends = [i + 1 for i in self.outputs[-4:]]
        first: list[nn.Module] = [self.stem, *self.blocks[: ends[0]]]
        return [first, *([*self.blocks[a:b]] for a, b in pairwise(ends))]

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(frames), inplace=True)
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.outputs:
                maps.append(x)
        return maps
