"""Which sample made the loss, or a gradient, something other than a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hodor_cli.errors import TrainingError
from hodor_cli.runtime.device import autocast
from hodor_cli.training.objective import INPUTS, Objective
from hodor_cli.training.process import TrainingProcess
from hodor_cli.training.samples.loader import Batch


def not_a_number(
    objective: Objective, batch: Batch, process: TrainingProcess, arguments: tuple[Any, ...], iteration: int
) -> TrainingError:
    """The error that names the samples of a batch which alone give a loss or a gradient that is no number.

    Every process must call it: each looks at its own samples, and all then know of all.
    objective: not wrapped for several processes, which would wait for each other. arguments: what follows the inputs.
    iteration: from 0.
    """
    if not all(_finite(value) for value in objective.parameters()):
        return TrainingError(
            f"the weights are no longer numbers in iteration {iteration + 1}: an earlier step broke them; train"
            " again with a lower --learning-rate"
        )
    guilty: dict[str, str] = {}  # sample -> what of it is no number
    for i, name in enumerate(batch["names"]):
        inputs = [batch[key][i : i + 1].to(process.device) for key in INPUTS]
        with autocast(process.device, process.dtype):
            fault = _fault(objective, inputs, arguments)
        if fault:
            guilty[name] = fault
    found = process.gather((guilty, batch["names"]))
    guilty = {name: fault for part, _ in found for name, fault in part.items()}
    names = [name for _, part in found for name in part]
    what = "loss" if "loss" in guilty.values() else "gradient"
    where = ", ".join(guilty) if guilty else f"the batch of {', '.join(names)}"
    return TrainingError(
        f"the {what} is not a number in iteration {iteration + 1}, at {where};"
        " look at it with `hodor data preview`, or begin anew from the last checkpoint (--weights) with a lower"
        " --learning-rate"
    )


def _fault(objective: Objective, inputs: list[Tensor], arguments: tuple[Any, ...]) -> str:
    """What of it is no number, "loss" or "gradient"; "" if it is sound."""
    losses, _ = objective(*inputs, *arguments)
    if not _finite(losses.total.detach()):
        return "loss"
    gradients = torch.autograd.grad(losses.total, list(objective.parameters()), allow_unused=True)
    return "" if all(_finite(gradient) for gradient in gradients if gradient is not None) else "gradient"


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all().item())
