"""Copies of a network's weights: their running average, and a network that holds other weights for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]  # by parameter


class WeightAverage:
    """An exponential running average of parameters, with a short memory at first."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.values = decay, weights_of(model)

    @torch.no_grad()
    def update(self, model: nn.Module, iteration: int) -> None:
        """Add the weights after iteration `iteration` (from 0)."""
        decay = min(self.decay, (iteration + 1) / (iteration + 10))
        new = dict(model.named_parameters())
        # A few kernels on a GPU instead of hundreds.
        torch._foreach_lerp_(list(self.values.values()), [new[name] for name in self.values], 1 - decay)


def weights_of(model: nn.Module) -> Weights:
    """A copy of the parameters by name."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@torch.no_grad()
def put_weights(model: nn.Module, values: Weights) -> None:
    """Copy parameters, by name, into the model."""
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])


@contextmanager
def holding(model: nn.Module, values: Weights | None) -> Iterator[None]:
    """The model holds these weights inside the block; with None its own."""
    own = None if values is None else weights_of(model)
    if values is not None:
        put_weights(model, values)
    try:
        yield
    finally:
        if own is not None:
            put_weights(model, own)
