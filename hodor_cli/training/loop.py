"""The training loop: the same for one process and for many, interrupted at any moment and resumed to the same losses."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hodor_cli.data.loader import Batch, make_loader
from hodor_cli.data.samplers import TrainingSet
from hodor_cli.errors import TrainingError, UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.training.checkpointing import RunState, read_run, restore_run, save_run
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Prediction, schedule
from hodor_cli.training.losses import Losses
from hodor_cli.training.metrics import MetricsFile
from hodor_cli.training.objective import Objective
from hodor_cli.training.optimiser import WeightAverage, make_optimiser, rate_at, set_rate
from hodor_cli.training.process import SingleProcess, TrainingProcess
from hodor_cli.weights.checkpoint import save_checkpoint

_INPUTS = ("frames", "masks", "valid", "presence")


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run is: `iteration` of `iterations` done, losses of the last one, speed, and the loader's share of time."""

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


def train(
    model: Hodor,
    sets: list[TrainingSet],
    config: TrainConfig,
    folder: Path,
    *,
    set_weights: list[float] | None = None,
    process: TrainingProcess | None = None,
    resume: bool = False,
    save_every: int = 200,
    workers: int = 2,
    metadata: dict[str, Any] | None = None,
    hooks: TrainingHooks | None = None,
    stop_after: int | None = None,
) -> Hodor:
    """Train a model and leave checkpoints in a folder.

    Writes `last.safetensors` (the averaged weights if the settings ask for an average), `best.safetensors` where there
    is a validation, `metrics.csv`, and `training_state.safetensors`, from which `resume` goes on with the same data in
    the same order.

    Args:
        model: the network to start from.
        sets: training sets, drawn from with `set_weights`.
        config: all settings.
        folder: where everything is written.
        process: how the work is distributed; None for this process alone.
        resume: go on from the folder's state; without any, begin.
        save_every: iterations between two states.
        workers: processes that make samples; 0 makes them here.
        metadata: JSON values to be saved with the checkpoints.
        hooks: progress, sheets and validation.
        stop_after: end this call after so many iterations, as an interruption would (the state is saved).
    Returns:
        The trained model, with the weights that were saved.
    Raises:
        TrainingError for a loss that is no number, naming the sample; OutputError if nothing can be written.
    """
    process = process or SingleProcess()
    hooks = hooks or TrainingHooks()
    batches = dataclasses.replace(config.batches, batch_size=config.batch_size)
    micro = _micro_batch(config, process.world)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast on a CPU
    objective = Objective(model, supervise=config.supervise).train()
    optimiser = make_optimiser(objective, config)
    wrapped, optimiser = process.setup(objective, optimiser)
    average = WeightAverage(model.named_parameters(), config.average) if config.average is not None else None

    state = read_run(folder) if resume else None
    first, best = 0, -1.0
    if state is not None:
        _check_same(config, state.values["config"])
        restore_run(folder, model, optimiser, average)
        first, best = state.iteration, state.values["best"]
    metrics = MetricsFile(folder / "metrics.csv", keep=first) if process.is_first else None
    last = config.iterations if stop_after is None else min(config.iterations, first + stop_after)
    loader = make_loader(
        sets,
        batches,
        weights=set_weights,
        seed=config.seed,
        start_iteration=first,
        end_iteration=last,
        rank=process.rank,
        world=process.world,
        workers=workers,
    )
    details = {"training": config.to_dict(), **(metadata or {})}

    def save(iteration: int, *, final: bool = False) -> None:
        if process.is_first:
            values = {"config": config.to_dict(), "best": best}
            save_run(folder, model, optimiser, average, RunState(iteration, values))
            with _averaged(model, average):
                save_checkpoint(folder / "last.safetensors", model, {**details, "iteration": iteration})
        process.barrier()

    clock = _Clock()
    batch_iterator = iter(loader)
    for iteration in range(first, last):
        clock.waiting()
        batch = next(batch_iterator)
        clock.working()
        rate = rate_at(config.learning_rate, iteration, config.iterations)
        set_rate(optimiser, rate)
        torch.manual_seed(_seed(config.seed, iteration, process.rank))
        drawn = np.random.default_rng([config.seed, iteration, 7]).random(2)
        dropped = bool(drawn[0] < config.drop_cue), bool(drawn[1] < config.drop_history)
        steps = schedule(config.schedule, iteration, config.sequence)

        optimiser.zero_grad(set_to_none=True)
        parts: list[Losses] = []
        predictions: list[Prediction] = []
        for begin in range(0, len(batch["names"]), micro):
            rows = slice(begin, begin + micro)
            inputs = [batch[name][rows].to(process.device, non_blocking=True) for name in _INPUTS]
            share = len(inputs[0]) / len(batch["names"])
            with process.accumulate(wrapped, enabled=begin + micro < len(batch["names"])):
                losses, made = wrapped(*inputs, steps, *dropped)
                if not torch.isfinite(losses.total.detach()).item():
                    raise _not_a_number(wrapped, batch, rows, process, steps, dropped, iteration)
                process.backward(losses.total * share)
            parts.append(Losses(*(value.detach() * share for value in losses)))
            predictions = predictions or made
        if config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(objective.parameters(), config.clip_norm)
        optimiser.step()
        if average is not None:
            average.update(model.named_parameters(), iteration)

        done = iteration + 1
        values = process.mean(torch.stack([torch.stack(list(part)) for part in parts]).sum(dim=0))
        clock.done(config.batch_size)
        report = TrainingProgress(
            iteration=done,
            iterations=config.iterations,
            loss=float(values[0] + values[1]),
            cross_entropy=float(values[0]),
            dice=float(values[1]),
            iou=float(values[2]),
            learning_rate=rate,
            samples_per_second=clock.rate,
            seconds_left=(config.iterations - done) * config.batch_size / max(clock.rate, 1e-9),
            loader_wait=clock.wait_share,
        )
        if metrics is not None:
            metrics.write(report)
        if hooks.progress is not None and process.is_first:
            hooks.progress(report)
        if hooks.sheet is not None and process.is_first and (done % hooks.sheet_every == 0 or done == 1):
            hooks.sheet(done, batch, predictions)
        if hooks.validate is not None and (done % hooks.validate_every == 0 or done == config.iterations):
            best = _validate(model, average, process, hooks.validate, folder, best, details, done)
        if done % save_every == 0 or done == last:
            save(done)
    if first >= last:
        save(first)
    with _averaged(model, average, keep=True):
        return model.eval()


class _Clock:
    """Samples per second and the share of time spent waiting for the loader, over the recent iterations."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.wait_share = 0.0
        self._started = self._waited = time.perf_counter()

    def waiting(self) -> None:
        self._started = time.perf_counter()

    def working(self) -> None:
        self._waited = time.perf_counter()

    def done(self, samples: int) -> None:
        now = time.perf_counter()
        rate = samples / (now - self._started)
        share = (self._waited - self._started) / (now - self._started)
        self.rate = rate if self.rate == 0 else 0.95 * self.rate + 0.05 * rate
        self.wait_share = 0.95 * self.wait_share + 0.05 * share


class _averaged:  # noqa: N801 (a context manager, named as it reads)
    """The model holds its averaged weights inside the block (and after it, with `keep`)."""

    def __init__(self, model: Hodor, average: WeightAverage | None, *, keep: bool = False) -> None:
        self.model, self.average, self.keep = model, average, keep
        self.own: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        if self.average is not None:
            named = dict(self.model.named_parameters())
            self.own = {name: value.detach().clone() for name, value in named.items()}
            self._put(self.average.values)

    def __exit__(self, *_: object) -> None:
        if self.average is not None and not self.keep:
            self._put(self.own)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])


def _validate(
    model: Hodor,
    average: WeightAverage | None,
    process: TrainingProcess,
    validate: Callable[[Hodor, int], float],
    folder: Path,
    best: float,
    details: dict[str, Any],
    iteration: int,
) -> float:
    score = best
    if process.is_first:
        with _averaged(model, average):
            score = validate(model.eval(), iteration)
            if score > best:
                save_checkpoint(
                    folder / "best.safetensors", model, {**details, "iteration": iteration, "score": score}
                )
        model.train()
    process.barrier()
    return max(best, score)


def _micro_batch(config: TrainConfig, world: int) -> int:
    if config.batch_size % world:
        raise UsageError(f"--batch-size {config.batch_size} cannot be shared evenly by {world} processes")
    share = config.batch_size // world
    micro = min(config.micro_batch or share, share)
    if share % micro:
        raise UsageError(f"--micro-batch {micro} does not divide the {share} samples of each process")
    return micro


def _seed(seed: int, iteration: int, rank: int) -> int:
    """One seed per iteration and process: dropout then needs no saved random state."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])


def _check_same(config: TrainConfig, saved: dict[str, Any]) -> None:
    own = TrainConfig.from_dict(TrainConfig.from_dict(saved).to_dict()).to_dict()
    # A run may be made longer or shorter; the rest decides what the iterations done so far were.
    free = ("iterations", "micro_batch")
    different = [key for key, value in config.to_dict().items() if own.get(key) != value and key not in free]
    if different:
        raise UsageError(
            f"--resume with other settings than the run began with ({', '.join(different)});"
            " give the same ones or train into another folder"
        )


def _not_a_number(
    objective: torch.nn.Module,
    batch: Batch,
    rows: slice,
    process: TrainingProcess,
    steps: tuple[Any, ...],
    dropped: tuple[bool, bool],
    iteration: int,
) -> TrainingError:
    """Find the sample whose loss is no number."""
    guilty = batch["names"][rows]
    for i in range(rows.start, min(rows.stop, len(batch["names"]))):
        with torch.no_grad():
            inputs = [batch[name][i : i + 1].to(process.device) for name in _INPUTS]
            losses, _ = objective(*inputs, steps, *dropped)
        if not torch.isfinite(losses.total).item():
            guilty = [batch["names"][i]]
            break
    return TrainingError(
        f"the loss is not a number in iteration {iteration + 1}, at {', '.join(guilty)};"
        " look at that sample with `hodor data preview`, or lower the learning rate and --resume"
    )
