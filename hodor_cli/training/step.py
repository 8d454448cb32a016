"""One iteration: forward and backward over the micro-batches, then one step of the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hodor_cli.training.cycles import Prediction
from hodor_cli.training.faults import not_a_number
from hodor_cli.training.losses import Losses
from hodor_cli.training.objective import INPUTS, Objective
from hodor_cli.training.process import TrainingProcess
from hodor_cli.training.samples.loader import Batch


def training_step(
    objective: Objective,
    wrapped: nn.Module,
    optimiser: torch.optim.Optimizer,
    process: TrainingProcess,
    batch: Batch,
    arguments: tuple[Any, ...],
    *,
    micro: int,
    clip_norm: float | None,
    iteration: int,
) -> tuple[Tensor, list[Prediction]]:
    """Do iteration `iteration` (from 0) on this process's share of the batch.

    objective, wrapped: the objective itself and as `process` wrapped it. arguments: what it takes after the inputs.
    micro: samples at once; their gradients add up to those of the whole batch.
    Returns (cross-entropy, DICE, IoU) over all processes, a tensor (3,), and the predictions of the first micro-batch.
    Raises TrainingError for a loss or gradient that is no number; the weights are then as they were.
    """
    optimiser.zero_grad(set_to_none=True)
    parts: list[Tensor] = []
    predictions: list[Prediction] = []
    count = len(batch["names"])
    for begin in range(0, count, micro):
        inputs = [batch[name][begin : begin + micro].to(process.device, non_blocking=True) for name in INPUTS]
        share = len(inputs[0]) / count
        with process.accumulate(wrapped, enabled=begin + micro < count):
            losses: Losses
            losses, made = wrapped(*inputs, *arguments)
            process.backward(losses.total * share)
        parts.append(torch.stack([value.detach() for value in losses]) * share)
        predictions = predictions or made
    values = process.mean(torch.stack(parts).sum(dim=0))
    # Without a limit the gradient stays as it is; its norm says whether it is a number. Losses and gradients are those
    # of all processes, so that all stop in the same iteration; looked at once, so that a GPU is waited for once.
    limit = float("inf") if clip_norm is None else clip_norm
    norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), limit)
    if not torch.isfinite(norm + values[:2].sum()).item():
        optimiser.zero_grad(set_to_none=True)
        raise not_a_number(objective, batch, process, arguments, iteration)
    optimiser.step()
    return values, predictions
