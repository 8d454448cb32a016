"""Both halves of a batch at once, in two threads of our own.

On a CPU PyTorch's threads wait for each other after every small operation. Two threads that each learn from half of the
batch, with half of PyTorch's threads, wait for each other once per iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from hodor_cli.runtime.second_thread import SecondThread
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Prediction, Step
from hodor_cli.training.damage import Hardship
from hodor_cli.training.launch import Process
from hodor_cli.training.losses import Losses

Found = TypeVar("Found")


def can_be_halved(config: TrainConfig, process: Process, dropout: float) -> bool:
    """Whether learning from both halves of a batch at once gives the same gradient as from one after the other.

    It does not where something is drawn, because both threads would draw from the same generator, and where a loss
    compares the samples of a whole batch. It is for one process on a CPU; a `micro_batch` says how much to run at once.
    """
    draws = dropout or config.damage_cue or config.wrong_cue
    whole = config.contrast or config.micro_batch or process.world > 1 or process.device.type != "cpu"
    return not (draws or whole)


def learn_in_two_threads(
    objective: nn.Module, inputs: list[Tensor], steps: tuple[Step, ...], hardship: Hardship, second: SecondThread
) -> tuple[Tensor, list[Prediction]]:
    """Give the parameters, which have none yet, the gradient of a batch of at least two samples.

    objective, inputs, steps, hardship: as `Learner` has them.
    Returns the losses (4,) and the predictions of all samples. The same in every run, whichever thread is faster.
    """
    count = len(inputs[0])

    def learn(begin: int, end: int) -> tuple[Tensor, tuple[Tensor, list[Prediction]]]:
        losses: Losses
        losses, predictions = objective(*(part[begin:end] for part in inputs), steps, hardship)
        share = (end - begin) / count
        return losses.total * share, (torch.stack([value.detach() for value in losses]) * share, predictions)

    (first, one), (other, two) = learn_halves(learn, count, list(objective.parameters()), second)
    predictions = [
        Prediction(mine.frame, torch.cat((mine.logits, its.logits)), torch.cat((mine.target, its.target)))
        for mine, its in zip(one, two, strict=True)
    ]
    return first + other, predictions


def learn_halves(
    learn: Callable[[int, int], tuple[Tensor, Found]], count: int, parameters: list[nn.Parameter], second: SecondThread
) -> tuple[Found, Found]:
    """Give parameters, which have none yet, the gradient of `count` samples, at least two.

    learn: called for the samples from `begin` to `end`; their part of the loss, and what else they give.
    Returns what else the halves gave.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]

    def half(begin: int, end: int) -> tuple[tuple[Tensor | None, ...], Found]:
        loss, found = learn(begin, end)
        # Not `backward`, with which both threads would add to the same tensors.
        return torch.autograd.grad(loss, learning, allow_unused=True), found

    middle = (count + 1) // 2
    later = second.start(half, middle, count)
    (gradients, first), (others, other) = half(0, middle), later.result()
    for parameter, *both in zip(learning, gradients, others, strict=True):
        given = [gradient for gradient in both if gradient is not None]
        if given:
            # In the parameter's own order of memory, which the optimiser takes for granted.
            parameter.grad = torch.empty_like(parameter).copy_(given[0])
            for gradient in given[1:]:
                parameter.grad += gradient
    return first, other
