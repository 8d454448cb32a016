"""What a run tells while it goes on, and what may be done around its loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hodor_cli.model.hodor import Hodor
from hodor_cli.training.cycles import Prediction
from hodor_cli.training.samples.loader import Batch


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run is: `iteration` of `iterations` done, losses of the last one, speed, the loader's share of time."""

    iteration: int
    iterations: int
    loss: float
    cross_entropy: float
    dice: float
    iou: float
    learning_rate: float
    samples_per_second: float
    seconds_left: float
    loader_wait: float


@dataclass(frozen=True)
class TrainingHooks:
    """What happens around the loop, every `..._every` iterations; all optional.

    `progress` is called after every iteration, `sheet` with the batch and its predictions, `validate` with the model
    that would be saved, returning a score (higher is better) by which the best checkpoint is kept.
    """

    progress: Callable[[TrainingProgress], None] | None = None
    sheet: Callable[[int, Batch, list[Prediction]], None] | None = None
    sheet_every: int = 500
    validate: Callable[[Hodor, int], float] | None = None
    validate_every: int = 1000
