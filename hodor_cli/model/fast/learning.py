"""Layers that train in float32 on a CPU, because PyTorch has only slow general kernels for their bfloat16 gradients."""

from __future__ import annotations

from torch import Tensor, nn

from hodor_cli.model.mobilenet import Conv
from hodor_cli.runtime.device import without_autocast


class _InFloat(nn.Module):
    """Computes in the weights' dtype when it trains on a CPU, and returns a map of the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.learns_fast() or not x.requires_grad or x.device.type != "cpu":
            y = super().forward(x)
            return y
        with without_autocast(x.device):
            y = super().forward(x.to(self.get_parameter("weight").dtype))
        return y.to(x.dtype)

    def learns_fast(self) -> bool:
        """Whether the bfloat16 gradient has a fast kernel."""
        return False


class FloatConv2d(_InFloat, nn.Conv2d):
    """A convolution that trains in float32 on a CPU if it is depthwise with stride 2 or a kernel larger than 3x3."""

    def learns_fast(self) -> bool:
        return self.groups == 1 or (self.stride[0] == 1 and self.kernel_size[0] <= 3)


class FloatConv(FloatConv2d, Conv):
    """The same, padded as the ImageNet weights expect."""


class FloatGroupNorm(_InFloat, nn.GroupNorm):
    """A group norm that trains in float32 on a CPU."""
