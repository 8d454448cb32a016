"""A network in training: the optimiser's step, the running average of the weights, and the learning rate."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from hodor_cli.model.mobilenet import MobileNetV2
from hodor_cli.model.swin import Swin
from hodor_cli.training.config import LearningRate, TrainConfig

Network = TypeVar("Network", bound=nn.Module)


class Learner(Generic[Network]):
    """A network in training, with its optimiser and running average. `done` counts the steps.

    The model is moved to the device. backbone: the parameters that learn at `backbone_rate`; those of the model whose
    names do not begin with "backbone." learn at the full rate.
    """

    def __init__(
        self, model: Network, config: TrainConfig, device: torch.device, backbone: Iterable[nn.Parameter]
    ) -> None:
        # Moved first, because the optimiser keeps its moments where the parameters are.
        model.to(device=device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast on a CPU
        self.model, self.clip_norm, self.done = model, config.clip_norm, 0
        rest = [value for name, value in model.named_parameters() if not name.startswith("backbone.")]
        self.optimiser = torch.optim.AdamW(
            [{"params": rest, "factor": 1.0}, {"params": list(backbone), "factor": config.backbone_rate}],
            weight_decay=config.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        self.average = None if config.average is None else WeightAverage(model, config.average)

    @property
    def learned(self) -> Network:
        """The network that is the result so far: the one with averaged weights, or the model if there is no average."""
        return self.model if self.average is None else self.average.network

    def update(self, rate: float, losses: Tensor) -> bool:
        """Take a step at this learning rate along the gradient that the parameters have, which is then dropped.

        Returns False where the gradient or a loss is not a number; the weights do not change then.
        """
        # Also without a limit the norm is needed: it says whether the gradient is a number. One check for all waits for
        # a GPU once.
        limit = float("inf") if self.clip_norm is None else self.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        finite = bool(torch.isfinite(norm + losses.sum()).item())
        if finite:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            self.optimiser.step()
            if self.average is not None:
                self.average.update(self.model, self.done)
            self.done += 1
        self.optimiser.zero_grad(set_to_none=True)
        return finite


class WeightAverage(Generic[Network]):
    """The running average of a network's weights, which is better than the weights of the last iteration: exponential,
    with a short memory at first. network: a copy, in evaluation mode, that has it."""

    def __init__(self, model: Network, decay: float) -> None:
        self.decay, self.network = decay, copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Network, iteration: int) -> None:
        """Add the weights after iteration `iteration` (from 0)."""
        decay = min(self.decay, (iteration + 1) / (iteration + 10))
        # A few kernels on a GPU instead of hundreds.
        torch._foreach_lerp_(list(self.network.parameters()), list(model.parameters()), 1 - decay)


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


def freeze_stages(backbone: Swin | MobileNetV2, count: int) -> None:
    """Train all stages of the backbone but the first `count`."""
    for number, stage in enumerate(backbone.stages()):
        for layer in stage:
            layer.requires_grad_(number >= count)
