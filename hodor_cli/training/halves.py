"""Both halves of a batch at once, in two threads of our own.

On a CPU PyTorch's threads wait for each other after every small operation. Two threads that each learn from half of the
batch, with half of PyTorch's threads, wait for each other once per iteration.
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
    """Whether learning from both halves of a batch at once gives the same gradient as from one after the other.

    It does not where something is drawn, because both threads would draw from the same generator, and where a loss
    compares the samples of a whole batch. It is for one process on a CPU; a `micro_batch` says how much to run at once.
    """
    draws = dropout or config.damage_cue or config.wrong_cue
    whole = config.contrast or config.micro_batch or config.batch_size == 1
    return not (draws or whole) and process.world == 1 and process.device.type == "cpu"


def objective_in_halves(objective: nn.Module, second: SecondThread, *given: Any) -> tuple[Losses, list[Prediction]]:
    """What an `Objective` gives for a batch of at least two samples, of which each thread takes half.

    given: what the objective is called with. The gradient of the losses' total is known already; that of a single one
    is not. The same in every run, whichever thread is faster.
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
    """The losses of `count` samples, at least two, of which each thread takes half.

    learn: called for the samples from `begin` to `end`; gives their part of the losses (K,). What is returned is the
    sum of both parts, and the gradient of its own sum is known already.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]

    def half(begin: int, end: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        losses = learn(begin, end)
        # Not `backward`, with which both threads would add to the same tensors.
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
    """Values whose sum has a gradient that is known already."""

    @staticmethod
    def forward(context: Any, values: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        context.gradients = gradients
        return values.clone()

    @staticmethod
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        factor = outer[0][0]  # all are the same, because a sum was differentiated
        return None, None, *(known if known is None else known * factor for known in context.gradients)
