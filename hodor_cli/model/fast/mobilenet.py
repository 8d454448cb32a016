"""MobileNetV2's layers as fused convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.model.fast.fused import Deriving, fused_conv, fused_dtype, laid_out
from hodor_cli.model.mobilenet import InvertedResidual, MobileNetV2


class FusedResidual(InvertedResidual, Deriving):
    """A block that computes its activations and its sum within the convolutions, not in separate passes."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = fused_dtype(x)
        if dtype is None:
            return super().forward(x)
        convs = [conv for conv in (self.expand, self.depthwise, self.project) if conv is not None]
        biases = [conv.bias for conv in convs if conv.bias is not None]

        def make() -> list[Tensor]:
            return [*(_weight(conv, x, dtype) for conv in convs), *(bias.to(dtype) for bias in biases)]

        parts = self.derived([*(conv.weight for conv in convs), *biases], make, (dtype, x.shape))
        *widening, (project, weight, bias) = zip(convs, parts, parts[len(convs) :], strict=False)
        y = x = x.to(dtype)
        for conv, kernel, shift in widening:
            y = fused_conv(y, conv, kernel, shift, relu6=True)
        return fused_conv(y, project, weight, bias, added=x if self.residual else None)


class FusedMobileNet(MobileNetV2, Deriving):
    """A backbone whose stem is fused as well, and leaves its map in the memory layout that the first block reads."""

    def stem_map(self, frames: Tensor) -> Tensor:
        dtype, (weight, bias) = fused_dtype(frames), self.stem.parameters()
        if dtype is None:
            return super().stem_map(frames)

        def make() -> list[Tensor]:
            return [_weight(self.stem, frames, dtype), bias.to(dtype)]

        kernel, shift = self.derived([weight, bias], make, (dtype, frames.shape))
        return fused_conv(frames.to(dtype), self.stem, kernel, shift, relu6=True)


def _weight(conv: nn.Conv2d, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight of a convolution of a `Conv`, laid out for maps as large as x."""
    # `fused_conv` pads all sides, a `Conv` with stride 2 only right and bottom. Zeros at the kernel's left and top make
    # up for that, and avoid padding a copy of the map.
    weight = conv.weight if conv.stride[0] == 1 else F.pad(conv.weight, (1, 0, 1, 0))
    return laid_out(weight.to(dtype), conv, (len(x), weight.shape[1] * conv.groups, *x.shape[2:]))
