"""The training loop: the same for one process and for many, interrupted at any moment, resumed to the same losses."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from hodor_cli.errors import UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.free_cores import FreeCores
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Hardship, Prediction, schedule
from hodor_cli.training.launch import Process
from hodor_cli.training.options import RunOptions, TrainingProgress
from hodor_cli.training.run_folder import RunFolder, TrainingState, read_state, restore_state, save_state
from hodor_cli.training.samples.batches import Batch, BatchPlanner
from hodor_cli.training.samples.loading import make_loader
from hodor_cli.training.settings import check_same
from hodor_cli.training.step import Learner, averaged, rate_at
from hodor_cli.training.watching import Clock, Hooks, MetricsFile, in_words
from hodor_cli.weights.checkpoint import save_checkpoint


def train(
    model: Hodor,
    planner: BatchPlanner,
    config: TrainConfig,
    folder: Path,
    run: RunOptions | None = None,
    process: Process | None = None,
    hooks: Hooks | None = None,
) -> Hodor:
    """Train a model and leave checkpoints in a folder.

    Writes `last.safetensors` (the averaged weights if the settings ask for an average), `best.safetensors` where there
    is a validation, `metrics.csv`, and `training_state.safetensors`, from which a run is resumed with the same data in
    the same order. Ctrl-C leaves the state of the last whole iteration.

    Args:
        model: the network to start from.
        planner: draws the batches.
        config: all settings.
        folder: where everything is written; it exists.
        run: whether to resume, how often to save, how many processes make samples.
        process: how the work is distributed; None for this process alone.
        hooks: progress, sheets and validation.
    Returns:
        The trained model, with the weights that were saved.
    Raises:
        TrainingError for a loss or gradient that is no number, naming the sample; OutputError if nothing can be
        written; UsageError if a run with other settings is resumed, or the batch cannot be shared by the processes.
    """
    run, process = run or RunOptions(), process or Process()
    if process.device.type == "cpu":
        keep_freed_memory()  # maps of one iteration are as large as those of the next: a fifth of the time
    job = _Job(Learner(model, config, process), config, RunFolder(folder), run, hooks or Hooks())
    if run.resume:
        job.resume()
    first = job.learner.done
    if len(set(process.gather(first))) > 1:
        raise UsageError(
            f"the processes do not see the same run in {folder}; choose with `out` a folder that all machines share"
        )
    try:
        job.measure_start()
        if first < config.iterations:
            loader = make_loader(
                planner, first, config.iterations, rank=process.rank, world=process.world, workers=run.workers,
                pin_memory=process.device.type == "cuda",
            )  # fmt: skip
            job.train_on(iter(loader))
        job.finish()
    except KeyboardInterrupt:
        job.interrupted()
        raise
    with averaged(model, job.learner.average, keep=True):
        return model.eval()


class _Job:
    """A run in progress: the learner, its folder, and the scores so far."""

    def __init__(self, learner: Learner, config: TrainConfig, folder: RunFolder, run: RunOptions, hooks: Hooks) -> None:
        self.learner, self.config, self.folder, self.run, self.hooks = learner, config, folder, run, hooks
        self.process = learner.process
        self.best = -1.0
        self.before: float | None = None
        self.after: float | None = None
        self.saved = -1
        self.details = {"training": config.to_dict(), **hooks.details}

    def resume(self) -> None:
        """Continue from the folder's state, if there is one."""
        state = read_state(self.folder.root)
        if state is not None:
            check_same(self.config, TrainConfig.from_dict(state.config))
            restore_state(self.folder.root, self.learner.model, self.learner.optimiser, self.learner.average)
            self.learner.done = self.saved = state.iteration
            self.best, self.before = state.best, state.before

    def train_on(self, batches: Iterator[Batch]) -> None:
        """Do the iterations that are left, or as many as the time allows."""
        config = self.config
        metrics = MetricsFile(self.folder.metrics, keep=self.learner.done) if self.process.is_first else None
        clock = Clock()
        with FreeCores() as cores:
            over = False
            while self.learner.done < config.iterations and not over:
                cores.adjust()
                over = self._train_once(batches, clock, metrics)
        if metrics is not None:
            metrics.close()

    def _train_once(self, batches: Iterator[Batch], clock: Clock, metrics: MetricsFile | None) -> bool:
        """One iteration and what follows it; returns whether the time is over."""
        config, hooks = self.config, self.hooks
        clock.waiting()
        batch = next(batches)
        clock.working()
        with _uninterrupted():
            report, predictions = self._iteration(batch, clock)
            if metrics is not None:
                metrics.write(report)
        done = self.learner.done
        if self.process.is_first:
            self._tell(report, clock)
            if hooks.sheet is not None and (done % self.run.sheet_every == 0 or done == 1):
                hooks.sheet(done, batch, predictions)
        if hooks.callbacks.validate is not None and (done % self.run.val_every == 0 or done == config.iterations):
            self._validate()
        over = hooks.until is not None and any(self.process.gather(time.time() >= hooks.until))
        if done % self.run.save_every == 0 and done < config.iterations and not over:
            self.save()
        return over

    def _iteration(self, batch: Batch, clock: Clock) -> tuple[TrainingProgress, list[Prediction]]:
        config, iteration = self.config, self.learner.done
        rate = rate_at(config.learning_rate, iteration, config.iterations)
        torch.manual_seed(_seed(config.seed, iteration, self.process.rank))
        steps = schedule(config.schedule, iteration, config.sequence)
        values, predictions = self.learner.step(batch, rate, steps, drawn_hardship(config, iteration))
        cross_entropy, dice, iou = values.tolist()[:3]
        clock.done(config.batch_size)
        report = TrainingProgress(
            iteration=self.learner.done,
            iterations=config.iterations,
            loss=cross_entropy + dice,
            cross_entropy=cross_entropy,
            dice=dice,
            iou=iou,
            learning_rate=rate,
            samples_per_second=clock.rate,
            seconds_left=(config.iterations - self.learner.done) * config.batch_size / max(clock.rate, 1e-9),
            loader_wait=clock.wait_share,
        )
        return report, predictions

    def _tell(self, report: TrainingProgress, clock: Clock) -> None:
        callbacks = self.hooks.callbacks
        if self.hooks.events is not None:
            self.hooks.events.progress(report)
        if callbacks.progress is not None:
            callbacks.progress(report)
        if clock.iterations == 3 and report.iteration < report.iterations:
            left = report.iterations - report.iteration
            callbacks.note(
                f"about {in_words(report.seconds_left)} for the {left} iterations that are left"
                f" ({report.samples_per_second:.1f} samples/s)"
            )

    def _validate(self) -> None:
        model, done, validate = self.learner.model, self.learner.done, self.hooks.callbacks.validate
        if self.process.is_first and validate is not None:
            with averaged(model, self.learner.average):
                score = validate(model.eval())
                if self.hooks.events is not None and not math.isnan(score):
                    self.hooks.events.score(done, score)
                if score > self.best:
                    self.best = score
                    save_checkpoint(self.folder.best, model, {**self.details, "iteration": done, "score": score})
            model.train()
        self.process.barrier()

    def measure_start(self) -> None:
        """Measure the network before it has learned anything."""
        if self.learner.done == 0 and self.hooks.held_out is not None and self.process.is_first:
            self.before = self.hooks.held_out.measure(self.learner.model, self.process)
        self.process.barrier()

    def finish(self) -> None:
        """Save, and say whether the network got better."""
        held_out = self.hooks.held_out
        if held_out is not None and self.process.is_first and self.before is not None:
            with averaged(self.learner.model, self.learner.average):
                self.after = held_out.measure(self.learner.model, self.process)
            change = f"mean IoU {self.before:.3f} at the start and {self.after:.3f} now, on {held_out.name}"
            if self.after > self.before:
                self.hooks.callbacks.note(f"the network got better: {change}")
            else:
                self.hooks.callbacks.warn(
                    f"the network did not get better: {change}; train longer, or with another `learning_rate`"
                )
        self.save()

    def interrupted(self) -> None:
        """Save the last whole iteration; the other processes may be gone."""
        if self.process.is_first:
            if self.learner.done != self.saved:
                self._write()
            self.hooks.callbacks.note(
                f"interrupted after iteration {self.learner.done} of {self.config.iterations}; {self.folder.root} keeps"
                " what was learned: the same command with `resume` continues"
            )

    def save(self) -> None:
        """Write the state and the newest checkpoint."""
        if self.process.is_first:
            self._write()
        self.process.barrier()

    def _write(self) -> None:
        learner, done = self.learner, self.learner.done
        state = TrainingState(
            done, self.config.to_dict(), self.best, learner.model.config.to_dict(), self.before, self.after
        )
        save_state(self.folder.root, state, learner.model, learner.optimiser, learner.average)
        with averaged(learner.model, learner.average):
            save_checkpoint(self.folder.last, learner.model, {**self.details, "iteration": done})
        self.saved = done


def drawn_hardship(config: TrainConfig, iteration: int) -> Hardship:
    """What makes an iteration harder, drawn for it alone."""
    drawn = np.random.default_rng([config.seed, iteration, 7]).random(2)
    return Hardship(
        bool(drawn[0] < config.drop_cue), bool(drawn[1] < config.drop_history), config.damage_cue, config.wrong_cue
    )


def _seed(seed: int, iteration: int, rank: int) -> int:
    """One seed per iteration and process: dropout then needs no saved random state."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C inside the block takes effect at its end, so that no iteration is left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield
    except Exception:
        if not caught:  # after Ctrl-C it may come from the other processes, which are gone
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if caught:
        raise KeyboardInterrupt
