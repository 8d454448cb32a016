"""The training loop: the same for one process and for many, interrupted at any moment, resumed to the same losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hodor_cli.data.loader import make_loader
from hodor_cli.data.samplers import TrainingSet
from hodor_cli.errors import UsageError
from hodor_cli.inference.allocator import keep_freed_memory
from hodor_cli.model.hodor import Hodor
from hodor_cli.training.averaging import averaged
from hodor_cli.training.checkpointing import RunState, read_run, restore_run, save_run
from hodor_cli.training.clock import Clock
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Hardship, schedule
from hodor_cli.training.hooks import TrainingHooks, TrainingProgress
from hodor_cli.training.metrics import MetricsFile
from hodor_cli.training.objective import Objective
from hodor_cli.training.optimiser import WeightAverage, freeze_stages, make_optimiser, rate_at, set_rate
from hodor_cli.training.process import SingleProcess, TrainingProcess
from hodor_cli.training.settings import check_same
from hodor_cli.training.step import training_step
from hodor_cli.training.time_limit import TimeLimit
from hodor_cli.weights.checkpoint import save_checkpoint

LAST_FILE = "last.safetensors"
BEST_FILE = "best.safetensors"
METRICS_FILE = "metrics.csv"


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
    limit: TimeLimit | None = None,
) -> Hodor:
    """Train a model and leave checkpoints in a folder.

    Writes `last.safetensors` (the averaged weights if the settings ask for an average), `best.safetensors` where there
    is a validation, `metrics.csv`, and `training_state.safetensors`, from which `resume` goes on with the same data in
    the same order.

    Args:
        model: the network to start from.
        sets: training sets, drawn from with `set_weights`.
        config: all settings.
        folder: where everything is written; it exists.
        process: how the work is distributed; None for this process alone.
        resume: go on from the folder's state; without any, begin.
        save_every: iterations between two states.
        workers: processes that make samples; 0 makes them here.
        metadata: JSON values to be saved with the checkpoints.
        hooks: progress, sheets and validation.
        limit: end this call likewise when the time is over.
        stop_after: end this call after so many iterations, as an interruption would (the state is saved).
    Returns:
        The trained model, with the weights that were saved.
    Raises:
        TrainingError for a loss or gradient that is no number, naming the sample; OutputError if nothing can be
        written; UsageError if `resume` finds a run with other settings, or the batch cannot be shared by the processes.
    """
    process = process or SingleProcess()
    hooks = hooks or TrainingHooks()
    batches = dataclasses.replace(config.batches, batch_size=config.batch_size)
    micro = micro_batch(config, process.world)
    if process.device.type == "cpu":
        keep_freed_memory()  # maps of one iteration are as large as those of the next: a fifth of the time
    # On its device before the optimiser is made, which is another one on some devices.
    model.to(device=process.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast on a CPU
    freeze_stages(model, config.frozen_stages)
    objective = Objective(model, supervise=config.supervise, contrast=config.contrast).train()
    optimiser: torch.optim.Optimizer = make_optimiser(objective, config)
    wrapped, optimiser = process.setup(objective, optimiser)
    average = WeightAverage(model.named_parameters(), config.average) if config.average is not None else None

    state = read_run(folder) if resume else None
    first, best = 0, -1.0
    if state is not None:
        check_same(config, state.values["config"])
        restore_run(folder, model, optimiser, average)
        first, best = state.iteration, state.values["best"]
    if len(set(process.gather(first))) > 1:
        raise UsageError(
            f"the processes do not see the same run in {folder}; choose with -o a folder that all machines share"
        )
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
        pin_memory=process.device.type == "cuda",
    )
    metrics = MetricsFile(folder / METRICS_FILE, keep=first) if process.is_first else None
    details = {"training": config.to_dict(), **(metadata or {})}

    def save(iteration: int) -> None:
        if process.is_first:
            values = {"config": config.to_dict(), "best": best, "model": model.config.to_dict()}
            save_run(folder, model, optimiser, average, RunState(iteration, values))
            with averaged(model, average):
                save_checkpoint(folder / LAST_FILE, model, {**details, "iteration": iteration})
        process.barrier()

    clock = Clock()
    batch_iterator = iter(loader)
    for iteration in range(first, last):
        clock.waiting()
        batch = next(batch_iterator)
        clock.working()
        rate = rate_at(config.learning_rate, iteration, config.iterations)
        set_rate(optimiser, rate)
        torch.manual_seed(_seed(config.seed, iteration, process.rank))
        drawn = np.random.default_rng([config.seed, iteration, 7]).random(2)
        hardship = Hardship(
            bool(drawn[0] < config.drop_cue),
            bool(drawn[1] < config.drop_history),
            config.damage_cue,
            config.wrong_cue,
        )
        arguments = (schedule(config.schedule, iteration, config.sequence), hardship)

        losses, predictions = training_step(
            objective, wrapped, optimiser, process, batch, arguments,
            micro=micro, clip_norm=config.clip_norm, iteration=iteration,
        )  # fmt: skip
        if average is not None:
            average.update(model.named_parameters(), iteration)

        done = iteration + 1
        values = losses.tolist()
        clock.done(config.batch_size)
        report = TrainingProgress(
            iteration=done,
            iterations=config.iterations,
            loss=values[0] + values[1],
            cross_entropy=values[0],
            dice=values[1],
            iou=values[2],
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
            best = _validate(model, average, process, hooks.validate, folder / BEST_FILE, best, details, done)
        over = limit is not None and limit.reached(process)
        if done % save_every == 0 or done == last or over:
            save(done)
        if over:
            break
    if first >= last:
        save(first)
    if metrics is not None:
        metrics.close()
    with averaged(model, average, keep=True):
        return model.eval()


def micro_batch(config: TrainConfig, world: int) -> int:
    """Samples that go through the network of one of `world` processes at once. Raises UsageError for uneven shares."""
    if config.batch_size % world:
        raise UsageError(f"--batch-size {config.batch_size} cannot be shared evenly by {world} processes")
    share = config.batch_size // world
    micro = min(config.micro_batch or share, share)
    if share % micro:
        raise UsageError(
            f"--micro-batch {micro} does not divide the {share} samples that each of {world} processes has of"
            f" --batch-size {config.batch_size}"
        )
    return micro


def _validate(
    model: Hodor,
    average: WeightAverage | None,
    process: TrainingProcess,
    validate: Callable[[Hodor, int], float],
    file: Path,
    best: float,
    details: dict[str, Any],
    iteration: int,
) -> float:
    score = best
    if process.is_first:
        with averaged(model, average):
            score = validate(model.eval(), iteration)
            if score > best:
                save_checkpoint(file, model, {**details, "iteration": iteration, "score": score})
        model.train()
    process.barrier()
    return max(best, score)


def _seed(seed: int, iteration: int, rank: int) -> int:
    """One seed per iteration and process: dropout then needs no saved random state."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])
