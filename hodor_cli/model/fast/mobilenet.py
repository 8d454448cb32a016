"""MobileNetV2's blocks as fused convolutions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from hodor_cli.model.fast.fused import Deriving, fused_conv, fused_dtype, laid_out
from hodor_cli.model.mobilenet import InvertedResidual


class FusedResidual(InvertedResidual, Deriving):
    """A block that computes its activations and its sum within the convolutions, not in separate passes."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = fused_dtype(x)
        if dtype is None:
            return super().forward(x)
        convs = [conv for conv in (self.expand, self.depthwise, self.project) if conv is not None]
        biases = [conv.bias for conv in convs if conv.bias is not None]

        def make() -> list[Tensor]:
            weights = []
            for conv in convs:
                # `fused_conv` pads all sides, a `Conv` with stride 2 only right and bottom. Zeros at the kernel's left
                # and top make up for that, and avoid padding a copy of the map.
                weight = conv.weight if conv.stride[0] == 1 else F.pad(conv.weight, (1, 0, 1, 0))
                weights.append(laid_out(weight.to(dtype), conv, (len(x), weight.shape[1] * conv.groups, *x.shape[2:])))
            return [*weights, *(bias.to(dtype) for bias in biases)]

        parts = self.derived([*(conv.weight for conv in convs), *biases], make, (dtype, x.shape))
        *widening, (project, weight, bias) = zip(convs, parts, parts[len(convs) :], strict=False)
        y = x = x.to(dtype)
        for conv, kernel, shift in widening:
            y = fused_conv(y, conv, kernel, shift, relu6=True)
        return fused_conv(y, project, weight, bias, added=x if self.residual else None)
