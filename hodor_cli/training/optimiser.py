"""The optimiser, its learning rate over the iterations, and the running average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hodor_cli.model.hodor import Hodor
from hodor_cli.training.config import LearningRate, TrainConfig


def rate_at(settings: LearningRate, iteration: int, iterations: int) -> float:
    """The learning rate of an iteration, counted from 0."""
    if iteration < settings.warmup:
        return settings.peak * (iteration + 1) / settings.warmup
    if settings.decay == "steps":
        return settings.peak * settings.factor ** sum(iteration >= milestone for milestone in settings.milestones)
    if settings.decay == "cosine":
        share = (iteration - settings.warmup) / max(iterations - settings.warmup, 1)
        return settings.peak * (settings.floor + (1 - settings.floor) * (1 + math.cos(math.pi * min(share, 1))) / 2)
    return settings.peak


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters, the backbone with its own factor on the rate; fused where the device can."""
    backbone: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (backbone if ".backbone." in f".{name}" else rest).append(parameter)
    groups = [{"params": rest, "factor": 1.0}, {"params": backbone, "factor": config.backbone_rate}]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=config.learning_rate.peak, weight_decay=config.weight_decay, fused=fused)


def freeze_stages(model: Hodor, count: int) -> None:
    """Keep the first stages of the backbone as they are; all later ones are trained."""
    for number, stage in enumerate(model.backbone.stages()):
        for layer in stage:
            layer.requires_grad_(number >= count)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate, each with its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


class WeightAverage:
    """An exponential running average of parameters, with a short memory at first."""

    def __init__(self, named: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in named}

    @torch.no_grad()
    def update(self, named: Iterable[tuple[str, Tensor]], iteration: int) -> None:
        """Take in the weights after iteration `iteration` (from 0)."""
        decay = min(self.decay, (iteration + 1) / (iteration + 10))
        kept, new = [], []
        for name, value in named:
            kept.append(self.values[name])
            new.append(value.detach())
        torch._foreach_lerp_(kept, new, 1 - decay)  # a few kernels on a GPU instead of hundreds


@contextmanager
def averaged(model: nn.Module, average: WeightAverage | None, *, keep: bool = False) -> Iterator[None]:
    """The model holds its averaged weights inside the block, and after it with `keep`; nothing happens without any."""
    if average is None:
        yield
        return
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    put_weights(model, average.values)
    try:
        yield
    finally:
        if not keep:
            put_weights(model, own)


@torch.no_grad()
def put_weights(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy parameters, by name, into the model."""
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
