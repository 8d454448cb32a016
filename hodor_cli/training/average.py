"""The running average of a network's weights, which is better than the weights of the last iteration."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """An exponential running average with a short memory at first. network: a copy, in evaluation mode, that has it."""

    def __init__(self, model: Network, decay: float) -> None:
        self.decay, self.network = decay, copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Network, iteration: int) -> None:
        """Add the weights after iteration `iteration` (from 0)."""
        decay = min(self.decay, (iteration + 1) / (iteration + 10))
        # A few kernels on a GPU instead of hundreds.
        torch._foreach_lerp_(list(self.network.parameters()), list(model.parameters()), 1 - decay)
