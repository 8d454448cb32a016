"""Both halves of a batch at once, in two threads of our own.

On a CPU PyTorch's threads wait for each other after every small operation. Two threads that each learn from half of the
batch, with half of PyTorch's threads, wait for each other once per iteration.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hodor_cli.runtime.second_thread import SecondThread
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Hardship, Prediction, Step
from hodor_cli.training.launch import Process
from hodor_cli.training.losses import Losses


class _Half(NamedTuple):
    """What a half gave, its losses and gradients already weighted by its share of the batch."""

    losses: Tensor
    predictions: list[Prediction]
    gradients: tuple[Tensor | None, ...]


def can_be_halved(config: TrainConfig, process: Process, dropout: float) -> bool:
    """Whether the halves of a batch give the same gradient at once, in one process on a CPU, as one after the other.

    Not where something is drawn, because both threads would draw from the same generator, nor where a loss compares the
    samples of a whole batch. A `micro_batch` says how much is to be run at once.
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
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]

    def learn(begin: int, end: int) -> _Half:
        share = (end - begin) / count
        losses: Losses
        losses, predictions = objective(*(part[begin:end] for part in inputs), steps, hardship)
        # Not `backward`, with which both threads would add to the same tensors.
        gradients = torch.autograd.grad(losses.total * share, parameters, allow_unused=True)
        return _Half(torch.stack([value.detach() for value in losses]) * share, predictions, gradients)

    middle = (count + 1) // 2
    later = second.start(learn, middle, count)
    first, other = learn(0, middle), later.result()
    for parameter, one, two in zip(parameters, first.gradients, other.gradients, strict=True):
        given = [gradient for gradient in (one, two) if gradient is not None]
        if given:
            # In the parameter's own order of memory, which the optimiser takes for granted.
            parameter.grad = torch.empty_like(parameter).copy_(given[0])
            for other_half in given[1:]:
                parameter.grad += other_half
    predictions = [
        Prediction(one.frame, torch.cat((one.logits, two.logits)), torch.cat((one.target, two.target)))
        for one, two in zip(first.predictions, other.predictions, strict=True)
    ]
    return first.losses + other.losses, predictions
