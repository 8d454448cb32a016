"""Finds the samples whose loss or gradient is not a number."""

from __future__ import annotations

import torch
from torch import Tensor

from hodor_cli.errors import TrainingError
from hodor_cli.samples.sample import Batch
from hodor_cli.training.cycles import Objective, Step, inputs_of
from hodor_cli.training.damage import Hardship
from hodor_cli.training.launch import Process


def not_a_number(
    objective: Objective, process: Process, batch: Batch, number: int, steps: tuple[Step, ...], hardship: Hardship
) -> TrainingError:
    """The error of iteration `number`, which names the samples whose loss or gradient is not a number.

    Every process must call this: each tries its own samples one by one, then they exchange the results. objective: not
    wrapped for several processes, because the wrapped one would wait for the others.
    """
    parameters = list(objective.parameters())
    if not all(map(_finite, parameters)):
        return TrainingError(
            f"the weights are no longer finite in iteration {number}; train again with a lower `learning_rate`"
        )
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    faults: dict[str, str] = {}  # sample -> "loss" or "gradient"
    for i, name in enumerate(batch["names"]):
        total = objective(*inputs_of(batch, process.device, i, i + 1), steps, hardship)[0].total
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
        if not _finite(total):
            faults[name] = "loss"
        elif not all(_finite(gradient) for gradient in gradients if gradient is not None):
            faults[name] = "gradient"
    found = process.gather((faults, batch["names"]))
    guilty = {name: what for part, _ in found for name, what in part.items()}
    names = ", ".join(name for _, part in found for name in part)
    what = "loss" if "loss" in guilty.values() else "gradient"
    return TrainingError(
        f"the {what} is not a number in iteration {number}, at {', '.join(guilty) or f'the batch of {names}'}; look"
        " at it with `preview_samples`, or start a new run from the last checkpoint (`weights`) with a lower"
        " `learning_rate`"
    )


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all().item())
