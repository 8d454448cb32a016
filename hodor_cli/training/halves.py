"""Trains on both halves of a batch at the same time, in two threads.

On a CPU, PyTorch's threads wait for each other after every small operation. Two threads that each compute half of the
batch, with half of PyTorch's threads, wait for each other only once per iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hodor_cli.runtime.second_thread import SecondThread
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Prediction
from hodor_cli.training.launch import Process
from hodor_cli.training.losses import Losses


def can_be_halved(config: TrainConfig, process: Process, dropout: float) -> bool:
    """Whether both halves of a batch can be computed at the same time with the same gradient as one after the other.

    They cannot if something is drawn, because both threads would draw from the same generator, or if a loss compares
    the samples of a batch. Only for a single process on a CPU, and not if `micro_batch` is set.
    """
    draws = dropout or config.damage_cue or config.wrong_cue
    whole = config.contrast or config.micro_batch or config.batch_size == 1
    return not (draws or whole) and process.world == 1 and process.device.type == "cpu"


def objective_in_halves(objective: nn.Module, second: SecondThread, *given: Any) -> tuple[Losses, list[Prediction]]:
    """The result of an `Objective` for a batch of at least two samples; each thread computes half of them.

    given: the arguments of the objective. Only the total of the losses can be differentiated; its gradient is already
    computed. The result does not depend on which thread is faster.
    """
    *inputs, steps, hardship = given
    count = len(inputs[0])
    made: dict[int, list[Prediction]] = {}

    def learn(begin: int, end: int) -> Tensor:
        losses, made[begin] = objective(*(part[begin:end] for part in inputs), steps, hardship)
        return torch.stack(losses) * ((end - begin) / count)

    losses = learned_in_halves(learn, count, list(objective.parameters()), second)
    predictions = [
        Prediction(mine.frame, torch.cat((mine.logits, its.logits)), torch.cat((mine.target, its.target)))
        for mine, its in zip(*(made[begin] for begin in sorted(made)), strict=True)
    ]
    return Losses(*losses), predictions


def learned_in_halves(
    learn: Callable[[int, int], Tensor], count: int, parameters: list[nn.Parameter], second: SecondThread
) -> Tensor:
    """The losses (K,) of `count` samples, at least two; each thread computes half of them.

    learn: called as `learn(begin, end)`; returns what these samples contribute to the losses (K,). The result is the
    sum of both contributions; only its sum can be differentiated, whose gradient is already computed.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]

    def half(begin: int, end: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        losses = learn(begin, end)
        # Not `backward`, because both threads would add to the same tensors.
        return losses.detach(), torch.autograd.grad(losses.sum(), learning, allow_unused=True)

    middle = (count + 1) // 2
    later = second.start(half, middle, count)
    (first, gradients), (other, others) = half(0, middle), later.result()
    both = [
        mine if its is None else its if mine is None else mine + its
        for mine, its in zip(gradients, others, strict=True)
    ]
    losses: Tensor = _WithGradient.apply(first + other, both, *learning)  # type: ignore[no-untyped-call]
    return losses


class _WithGradient(torch.autograd.Function):
    """Values whose sum has a gradient that is already computed."""

    @staticmethod
    def forward(context: Any, values: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        context.gradients = gradients
        return values.clone()

    @staticmethod
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        factor = outer[0][0]  # all are the same, because a sum was differentiated
        return None, None, *(known if known is None else known * factor for known in context.gradients)
