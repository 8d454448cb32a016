"""The feature pyramid's output at stride 4, without computing a map with all channels at that stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hodor_cli.model.fast.fused import Deriving, fused_conv, fused_dtype, laid_out
from hodor_cli.model.fpn import FeaturePyramid


class FoldedPyramid(FeaturePyramid, Deriving):
    """A pyramid whose output at stride 4 is the sum of two smaller convolutions.

    output(lateral(fine) + upsampled) = output(lateral(fine)) + output(upsampled). The first term is one convolution of
    the backbone's few channels. In the second, at most four of the nine pixels under the kernel differ, so it is a 2x2
    convolution for each of the four pixels that a cell becomes.
    """

    def fine_output(self, fine: Tensor, x: Tensor) -> Tensor:
        lateral, output = self.laterals[0], self.outputs[0]
        dtype = fused_dtype(x)
        if dtype is None or fine.shape[2:] != (2 * x.shape[2], 2 * x.shape[3]):
            return super().fine_output(fine, x)
        assert isinstance(lateral, nn.Conv2d) and isinstance(output, nn.Conv2d)
        assert lateral.bias is not None and output.bias is not None
        weights = lateral.weight, lateral.bias, output.weight, output.bias

        def make() -> list[Tensor]:
            weight, shift, kernel, bias = weights
            direct = torch.einsum("omyx,mi->oiyx", kernel, weight[:, :, 0, 0])
            quarters = torch.cat([part for half in _halves(kernel, 2) for part in _halves(half, 3)])
            layouts = (laid_out(part.to(dtype), output, like.shape) for part, like in ((direct, fine), (quarters, x)))
            return [*layouts, bias.to(dtype), shift.to(dtype)[:, None, None]]

        direct, quarters, bias, shift = self.derived(weights, make, (dtype, x.shape))
        # The lateral's bias is added here, so that it reaches every pixel but not the zeros around the map.
        parts = fused_conv(x.to(dtype) + shift, output, quarters, None)
        return fused_conv(fine.to(dtype), output, direct, bias, added=_woven(parts))


def _halves(weight: Tensor, side: int) -> list[Tensor]:
    """Three weights along a side as two weights each, for the first and the second of two equal, upsampled pixels."""
    first, middle, last = weight.unbind(side)
    return [torch.stack((first, middle + last), side), torch.stack((first + middle, last), side)]


def _woven(parts: Tensor) -> Tensor:
    """The four pixels of each cell, (B, 4 C, h + 1, w + 1) from its upper left neighbours on -> (B, C, 2 h, 2 w)."""
    rows = parts.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))  # (B, h + 1, w + 1, 2, 2, C)
    height, width = parts.shape[2] - 1, parts.shape[3] - 1
    woven = parts.new_empty(len(parts), height, 2, width, 2, rows.shape[-1])
    for y in range(2):
        for x in range(2):
            woven[:, :, y, :, x] = rows[:, y : y + height, x : x + width, y, x]
    return woven.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
