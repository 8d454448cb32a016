"""A network in training: the optimiser's step, the running average of the weights, and the learning rate."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from hodor_cli.model.hodor import Backbone
from hodor_cli.training.config import LearningRate, TrainConfig

Network = TypeVar("Network", bound=nn.Module)


class Learner(Generic[Network]):
    """A network in training, with its optimiser and running average. `done` counts the steps.

    The model is moved to the device. Its parameters in "backbone." learn at `backbone_rate`, the others at the full
    rate.
    """

    def __init__(self, model: Network, config: TrainConfig, device: torch.device) -> None:
        # Moved first, because the optimiser keeps its moments where the parameters are.
        model.to(device=device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast on a CPU
        self.model, self.clip_norm, self.done = model, config.clip_norm, 0
        parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for name, value in model.named_parameters():
            parts[name.startswith("backbone.")].append(value)
        self.optimiser = torch.optim.AdamW(
            [{"params": parts[0], "factor": 1.0}, {"params": parts[1], "factor": config.backbone_rate}],
            weight_decay=config.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        #: A copy with the running average of the weights, which is better than the weights of the last iteration.
        self.average = None if config.average is None else copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = config.average or 0.0

    @property
    def learned(self) -> Network:
        """The result so far: the network with averaged weights, or the model if there is no average."""
        return self.model if self.average is None else self.average

    def update(self, rate: float, losses: Tensor) -> bool:
        """Take an optimiser step at this learning rate, and clear the gradient.

        Returns False, and leaves the weights unchanged, if the gradient or a loss is not finite.
        """
        # Even without a limit, the norm shows whether the gradient is finite. A single check waits for a GPU only once.
        limit = float("inf") if self.clip_norm is None else self.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        finite = bool(torch.isfinite(norm + losses.sum()).item())
        if finite:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            self.optimiser.step()
            if self.average is not None:
                decay = min(self._decay, (self.done + 1) / (self.done + 10))  # a short memory at first
                with torch.no_grad():  # a few kernels on a GPU instead of hundreds
                    torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
            self.done += 1
        self.optimiser.zero_grad(set_to_none=True)
        return finite


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


def freeze_stages(backbone: Backbone, count: int) -> None:
    """Freeze the first `count` stages of the backbone, and train the others."""
    for number, stage in enumerate(backbone.stages()):
        for layer in stage:
            layer.requires_grad_(number >= count)
