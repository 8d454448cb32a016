"""Which sample made the loss, or a gradient, something other than a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hodor_cli.data.loader import Batch
from hodor_cli.errors import TrainingError
from hodor_cli.training.objective import INPUTS, Objective


def not_a_number(
    objective: Objective, batch: Batch, device: torch.device, arguments: tuple[Any, ...], iteration: int, what: str
) -> TrainingError:
    """The error that names the samples of a batch which alone give a loss or a gradient that is no number.

    objective: not wrapped for several processes, which would wait for each other. arguments: what follows the inputs.
    iteration: from 0. what: "loss" or "gradient".
    """
    if not all(_finite(value) for value in objective.parameters()):
        return TrainingError(
            f"the weights are no longer numbers in iteration {iteration + 1}: an earlier step broke them; lower the"
            " learning rate and train again"
        )
    guilty = [
        name
        for i, name in enumerate(batch["names"])
        if not _sample_is_sound(objective, [batch[key][i : i + 1].to(device) for key in INPUTS], arguments)
    ]
    where = ", ".join(guilty) if guilty else f"the batch of {', '.join(batch['names'])}"
    return TrainingError(
        f"the {what} is not a number in iteration {iteration + 1}, at {where};"
        " look at it with `hodor data preview`, or lower the learning rate and --resume"
    )


def _sample_is_sound(objective: Objective, inputs: list[Tensor], arguments: tuple[Any, ...]) -> bool:
    losses, _ = objective(*inputs, *arguments)
    if not _finite(losses.total.detach()):
        return False
    gradients = torch.autograd.grad(losses.total, list(objective.parameters()), allow_unused=True)
    return all(_finite(gradient) for gradient in gradients if gradient is not None)


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all().item())
