"""Layers that learn in float32 on a CPU, where their gradients in bfloat16 take longer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.model.mobilenet import Conv
from hodor_cli.runtime.device import without_autocast


class FloatConv(Conv):
    """A convolution that learns in float32 on a CPU if it is depthwise and of stride 2.

    For its gradient in bfloat16 PyTorch takes a general kernel, which is three to seven times as slow.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1 or self.stride[0] == 1 or not _learns_on_cpu(x):
            return super().forward(x)
        with without_autocast(x.device):
            found = F.conv2d(self.padded(x).float(), self.weight, self.bias, self.stride, groups=self.groups)
        return found.to(x.dtype)


class FloatGroupNorm(nn.GroupNorm):
    """A group norm that learns in float32 on a CPU: in bfloat16 its gradient takes twice as long."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype) if _learns_on_cpu(x) else super().forward(x)


def _learns_on_cpu(x: Tensor) -> bool:
    return x.requires_grad and x.device.type == "cpu"
