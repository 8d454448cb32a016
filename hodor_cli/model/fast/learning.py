"""Layers that learn in float32 on a CPU, because their gradients in bfloat16 have slow general kernels alone."""

from __future__ import annotations

from torch import Tensor, nn

from hodor_cli.model.mobilenet import Conv
from hodor_cli.runtime.device import without_autocast


class _InFloat(nn.Module):
    """Computes in float32 where it learns on a CPU, and returns a map of the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor
        if self.learns_fast() or not x.requires_grad or x.device.type != "cpu":
            found = super().forward(x)
            return found
        with without_autocast(x.device):
            found = super().forward(x.float())
        return found.to(x.dtype)

    def learns_fast(self) -> bool:
        """Whether the gradient in bfloat16 has a kernel of its own."""
        return False


class FloatConv2d(_InFloat, nn.Conv2d):
    """A convolution that learns in float32 on a CPU if it is depthwise and of stride 2 or larger than 3x3."""

    def learns_fast(self) -> bool:
        return self.groups == 1 or (self.stride[0] == 1 and self.kernel_size[0] <= 3)


class FloatConv(FloatConv2d, Conv):
    """The same, padded as the ImageNet weights expect."""


class FloatGroupNorm(_InFloat, nn.GroupNorm):
    """A group norm that learns in float32 on a CPU."""
