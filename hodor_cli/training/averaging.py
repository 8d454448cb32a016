"""Putting averaged weights into a network, for a while or for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hodor_cli.training.optimiser import WeightAverage


@contextmanager
def averaged(model: nn.Module, average: WeightAverage | None, *, keep: bool = False) -> Iterator[None]:
    """The model holds its averaged weights inside the block, and after it with `keep`; nothing happens without any."""
    if average is None:
        yield
        return
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    _put(model, average.values)
    try:
        yield
    finally:
        if not keep:
            _put(model, own)


@torch.no_grad()
def _put(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
