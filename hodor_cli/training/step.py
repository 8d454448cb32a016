"""One step of training: the loss of a batch, its gradient, the optimiser's update."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager

import torch
from torch import Tensor

from hodor_cli.errors import TrainingError
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.mobilenet import MobileNetV2
from hodor_cli.model.swin import Swin
from hodor_cli.runtime.second_thread import SecondThread
from hodor_cli.samples.sample import Batch
from hodor_cli.training.average import WeightAverage
from hodor_cli.training.config import LearningRate, TrainConfig
from hodor_cli.training.cycles import Objective, Prediction, Step
from hodor_cli.training.damage import Hardship
from hodor_cli.training.halves import can_be_halved, learn_in_two_threads
from hodor_cli.training.launch import Process
from hodor_cli.training.losses import Losses


class Learner:
    """A network in training, with its objective, optimiser and running average.

    The model is moved to the device of `process`, in which it learns.
    """

    def __init__(self, model: Hodor, config: TrainConfig, process: Process) -> None:
        # Moved first, because the optimiser keeps its moments where the parameters are.
        model.to(device=process.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast on a CPU
        freeze_stages(model.backbone, config.frozen_stages)
        self.model, self.process, self.clip_norm = model, process, config.clip_norm
        self.micro = config.micro_batch_in(process.world)
        self.objective = Objective(model, supervise=config.supervise, contrast=config.contrast, dtype=process.dtype)
        self.objective.train()
        backbone = list(model.backbone.parameters())
        inside = {id(parameter) for parameter in backbone}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in inside]
        self.optimiser = torch.optim.AdamW(
            [{"params": rest, "factor": 1.0}, {"params": backbone, "factor": config.backbone_rate}],
            lr=config.learning_rate.peak,
            weight_decay=config.weight_decay,
            fused=process.device.type in ("cpu", "cuda"),
        )
        self._wrapped = process.setup(self.objective)
        self.average = None if config.average is None else WeightAverage(model, config.average)
        self._halved = can_be_halved(config, process, model.config.dropout)
        self._second: SecondThread | None = None
        self.done = 0

    @contextmanager
    def in_two_threads(self) -> Iterator[int]:
        """Learn from both halves of each batch at once inside the block, if that is possible and PyTorch has several
        threads. Gives the number of threads, 1 or 2, that share those of PyTorch."""
        if not self._halved or torch.get_num_threads() == 1:
            yield 1
            return
        try:
            with closing(SecondThread()) as self._second:
                yield 2
        finally:
            self._second = None

    def step(
        self, batch: Batch, rate: float, steps: tuple[Step, ...], hardship: Hardship
    ) -> tuple[Tensor, list[Prediction]]:
        """Learn from this process's share of a batch; `done` counts the steps.

        rate: the learning rate. steps, hardship: the cycles and what makes them harder.
        Returns (cross-entropy, DICE, IoU, contrast) over all processes, a tensor (4,), and the predictions of the first
        micro-batch, in two threads of all samples. Raises TrainingError for a loss or gradient that is not a number;
        the weights do not change then.
        """
        set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        predictions: list[Prediction] = []
        values, count = torch.zeros(4, device=self.process.device), len(batch["names"])
        if self._second is not None and count > 1:
            inputs = self.inputs(batch)
            values, predictions = learn_in_two_threads(self.objective, inputs, steps, hardship, self._second)
        else:
            for begin in range(0, count, self.micro):  # the gradients of the micro-batches add up
                inputs = self.inputs(batch, begin, begin + self.micro)
                share = len(inputs[0]) / count
                with self.process.accumulate(self._wrapped, enabled=begin + self.micro < count):
                    losses: Losses
                    losses, made = self._wrapped(*inputs, steps, hardship)
                    self.process.backward(losses.total * share)
                values += torch.stack([value.detach() for value in losses]) * share
                predictions = predictions or made
        values = self.process.mean(values)
        # Also without a limit the norm is needed: it says whether the gradient is a number. Losses and gradients are
        # those of all processes, so all of them stop in the same iteration. One check for all waits for a GPU once.
        limit = float("inf") if self.clip_norm is None else self.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), limit)
        if not torch.isfinite(norm + values[:2].sum()).item():
            self.optimiser.zero_grad(set_to_none=True)
            raise self._not_a_number(batch, steps, hardship)
        self.optimiser.step()
        if self.average is not None:
            self.average.update(self.model, self.done)
        self.done += 1
        return values, predictions

    def inputs(self, batch: Batch, begin: int = 0, end: int | None = None) -> list[Tensor]:
        """What the objective takes of some samples of a batch."""
        names = ("frames", "masks", "valid", "presence")
        return [batch[name][begin:end].to(self.process.device, non_blocking=True) for name in names]

    @property
    def learned(self) -> Hodor:
        """The network that is the result so far: the one with averaged weights, or the model if there is no average."""
        return self.model if self.average is None else self.average.network

    def _not_a_number(self, batch: Batch, steps: tuple[Step, ...], hardship: Hardship) -> TrainingError:
        """The error, which names the samples whose loss or gradient is not a number.

        Every process must call it. Each tries its own samples one by one, and then they exchange what they found.
        """
        number, parameters = self.done + 1, list(self.objective.parameters())
        if not all(map(_finite, parameters)):
            return TrainingError(
                f"the weights are no longer numbers in iteration {number}: an earlier step broke them; train again with"
                " a lower `learning_rate`"
            )
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        faults: dict[str, str] = {}  # sample, and what of it is not a number
        for i, name in enumerate(batch["names"]):
            # Not wrapped for several processes, which would wait for each other.
            total = self.objective(*self.inputs(batch, i, i + 1), steps, hardship)[0].total
            gradients = torch.autograd.grad(total, trained, allow_unused=True)
            if not _finite(total):
                faults[name] = "loss"
            elif not all(_finite(gradient) for gradient in gradients if gradient is not None):
                faults[name] = "gradient"
        found = self.process.gather((faults, batch["names"]))
        guilty = {name: what for part, _ in found for name, what in part.items()}
        names = ", ".join(name for _, part in found for name in part)
        what = "loss" if "loss" in guilty.values() else "gradient"
        return TrainingError(
            f"the {what} is not a number in iteration {number}, at {', '.join(guilty) or f'the batch of {names}'}; look"
            " at it with `preview_samples`, or begin anew from the last checkpoint (`weights`) with a lower"
            " `learning_rate`"
        )


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all().item())


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


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate, each with its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
