"""Position codes that are kept, with their strengths, in the form in which they are added to a map."""

from __future__ import annotations

import torch
from torch import Tensor

from hodor_cli.model.fast.fused import Deriving
from hodor_cli.model.position import PositionCodes
from hodor_cli.model.region import Region


class KeptCodes(PositionCodes, Deriving):
    """Position codes that, without gradients, are computed once for each size and dtype of map."""

    def forward(self, x: Tensor, region: Region | None = None) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(x, region)
        region = region or Region.all_of(*x.shape[-2:])
        kept = self.derived(
            [self.gain], lambda: [self.codes(region.whole, x.dtype)], (x.dtype, torch.Size(region.whole))
        )
        return x + region.of(kept[0])
