"""The training loop: the same for one process and for many, interrupted at any moment, resumed to the same losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import numpy as np
import torch

from hodor_cli.errors import DataError, InputError, UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.free_cores import FreeCores
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.samples.batches import Batches, make_loader
from hodor_cli.samples.sample import Batch
from hodor_cli.training.average import holding
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Hardship, Prediction, schedule
from hodor_cli.training.launch import Process, uninterrupted
from hodor_cli.training.options import TrainingProgress
from hodor_cli.training.plan import Plan
from hodor_cli.training.recipe import check_same
from hodor_cli.training.run_folder import TrainingState, read_state, restore_state, save_state
from hodor_cli.training.step import Learner, rate_at
from hodor_cli.training.watching import COLUMNS, Clock, Events, HeldOut, MetricsFile, outlook, write_predictions
from hodor_cli.weights.checkpoint import save_checkpoint


def train(process: Process, plan: Plan) -> TrainingState:
    """Train a network in this process and leave checkpoints in the plan's folder, which exists.

    Writes `last.safetensors` (the averaged weights if the settings ask for an average), `best.safetensors` where there
    is a validation, `metrics.csv`, and `training_state.safetensors`, from which a run is resumed with the same data in
    the same order. Ctrl-C leaves the state of the last whole iteration.

    Args:
        process: this process, which makes and learns from its share of every batch.
        plan: all settings, the data, the network, the folder, whether to resume, how often to save, whom to tell.
    Returns:
        How far the run came, and its scores.
    Raises:
        TrainingError for a loss or gradient that is not a number, naming the sample; OutputError if nothing can be
        written; UsageError if a run with other settings is resumed, or the batch cannot be shared by the processes.
    """
    if process.device.type == "cpu":
        keep_freed_memory()  # maps of one iteration are as large as those of the next: a fifth of the time
    config, progress, pinned = plan.config, plan.callbacks.progress, process.device.type == "cuda"
    weights = [source.weight for source in plan.record.data] or None
    batches = Batches(
        plan.sets, config.batches, weights=weights, seed=config.seed, rank=process.rank, world=process.world
    )
    held_out = None
    if process.is_first and config.held_out:
        held_out = HeldOut(plan.apart or plan.sets, config, apart=bool(plan.apart))
    job = _Job(Learner(plan.model or plan.first_model(), config, process), plan, held_out)
    first = job.learner.done
    if len(set(process.gather(first))) > 1:
        raise UsageError(
            f"the processes do not see the same run in {plan.run.out}; choose with `out` a folder that all machines"
            " share"
        )
    with ExitStack() as stack:
        if process.is_first and isinstance(progress, AbstractContextManager):
            stack.enter_context(progress)
        try:
            job.measure_before()
            if first < config.iterations:
                job.train_on(
                    make_loader(batches, first, config.iterations, workers=plan.run.workers, pin_memory=pinned)
                )
            job.compare()
            job.save()
        except (KeyboardInterrupt, DataError, InputError):
            with uninterrupted():
                job.interrupted()
            raise
    return job.state


class _Job:
    """A run in progress: the learner, its plan, and what is known about it."""

    def __init__(self, learner: Learner, plan: Plan, held_out: HeldOut | None) -> None:
        """Continues from the folder's state, if there is one and the plan says so."""
        self.learner, self.plan, self.held_out = learner, plan, held_out
        self.config, self.folder, self.callbacks = plan.config, plan.folder, plan.callbacks
        self.process = learner.process
        self.state = TrainingState(0, plan.config.to_dict(), model=learner.model.config.to_dict())
        self.saved = -1
        self.unread: set[str] = set()
        earlier = read_state(self.folder.root) if plan.run.resume else None
        if earlier is not None:
            check_same(plan.config, TrainConfig.from_dict(earlier.config))
            restore_state(self.folder.root, learner.model, learner.optimiser, learner.average)
            learner.done = self.saved = earlier.iteration
            self.state.best, self.state.before = earlier.best, earlier.before

    def measure_before(self) -> None:
        """Measure the network on what is held out, if it has learned nothing yet; the other processes wait."""
        if self.held_out is not None:
            self._warn_of(self.held_out.unread)
            if self.learner.done == 0:
                self.state.before = self.held_out.measure(self.learner)
        self.process.barrier()

    def train_on(self, batches: Iterator[Batch]) -> None:
        """Do the iterations that are left, or as many as the time allows."""
        learner, run, callbacks, end = self.learner, self.plan.run, self.callbacks, self.config.iterations
        clock, over = Clock(), False
        with ExitStack() as stack:
            events = metrics = None
            if self.process.is_first:
                events = stack.enter_context(closing(Events(self.folder.events, learner.done)))
                metrics = stack.enter_context(closing(MetricsFile(self.folder.metrics, keep=learner.done)))
            cores = stack.enter_context(FreeCores(stack.enter_context(learner.in_two_threads())))
            while learner.done < end and not over:
                cores.adjust()
                clock.start()
                batch = next(batches)
                clock.has_batch()
                self._warn_of(batch["unread"])
                with uninterrupted():
                    progress, predictions = self._iteration(batch, clock)
                    if metrics is not None:
                        metrics.write(progress)
                if events is not None:
                    if learner.done % events.every == 0:
                        events.note(learner.done, **{name: getattr(progress, name) for name in COLUMNS[1:]})
                    self._tell(progress, clock)
                if callbacks.validate is not None and (learner.done % run.val_every == 0 or learner.done == end):
                    if events is not None:
                        self._validate(callbacks.validate, events)
                    self.process.barrier()
                until = self.plan.until
                over = until is not None and any(self.process.gather(time.time() >= until))
                wanted = learner.done in (1, end) or over or learner.done % run.sheet_every == 0
                if events is not None and wanted:
                    write_predictions(self.folder.sheets / f"{learner.done:06d}.png", batch, predictions)
                if learner.done % run.save_every == 0 and learner.done < end and not over:
                    self.save()

    def _warn_of(self, unread: list[str]) -> None:
        """Warn of each file that cannot be read, once."""
        for sentence in unread:
            if sentence not in self.unread:
                self.callbacks.warn(f"{sentence}; training continues without it")
        self.unread.update(unread)

    def _tell(self, progress: TrainingProgress, clock: Clock) -> None:
        """Report an iteration; after three of them also how long the rest will take."""
        if self.callbacks.progress is not None:
            self.callbacks.progress(progress)
        if clock.iterations == 3:
            for sentence in outlook(progress, self.config, self.plan.until):
                self.callbacks.note(sentence)

    def _iteration(self, batch: Batch, clock: Clock) -> tuple[TrainingProgress, list[Prediction]]:
        config, iteration = self.config, self.learner.done
        rate = rate_at(config.learning_rate, iteration, config.iterations)
        # One seed per iteration and process: dropout then needs no saved random state.
        seed = np.random.SeedSequence([config.seed, iteration, self.process.rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        steps = schedule(config.schedule, iteration, config.sequence)
        values, predictions = self.learner.step(batch, rate, steps, Hardship.drawn(config, iteration))
        cross_entropy, dice, iou = values.tolist()[:3]
        clock.done(config.batch_size)
        needed = (config.iterations - self.learner.done) * config.batch_size / max(clock.rate, 1e-9)
        allowed = float("inf") if self.plan.until is None else max(0.0, self.plan.until - time.time())
        progress = TrainingProgress(
            iteration=self.learner.done,
            iterations=config.iterations,
            loss=cross_entropy + dice,
            cross_entropy=cross_entropy,
            dice=dice,
            iou=iou,
            learning_rate=rate,
            samples_per_second=clock.rate,
            seconds_left=min(needed, allowed),
            loader_wait=clock.wait_share,
            limited=allowed < needed,
        )
        return progress, predictions

    def _validate(self, validate: Callable[[Hodor], float], events: Events) -> None:
        with holding(self.learner.model, self.learner.learned):
            score = validate(self.learner.model.eval())
            if not math.isnan(score):
                events.note(self.learner.done, validation=score)
            if score > self.state.best:
                self.state.best = score
                self._save_checkpoint(self.folder.best, score=score)
        self.learner.model.train()

    def compare(self) -> None:
        """Say whether the network got better on what is held out."""
        before = self.state.before
        if self.held_out is None or before is None:
            return
        after = self.state.after = self.held_out.measure(self.learner)
        change = f"mean IoU {before:.3f} at the start and {after:.3f} now, on {self.held_out.name}"
        if round(after, 3) > round(before, 3):  # as the sentence shows them
            self.callbacks.note(f"the network got better: {change}")
        else:
            self.callbacks.warn(
                f"the network did not get better: {change}; train longer, or with another `learning_rate`"
            )

    def interrupted(self) -> None:
        """Save the last whole iteration; the other processes may be gone."""
        if self.process.is_first:
            if self.learner.done != self.saved:
                self.save(alone=True)
            self.callbacks.note(
                f"interrupted after iteration {self.learner.done} of {self.config.iterations}; {self.folder.root} keeps"
                " what was learned: the same command with `resume` continues"
            )

    def save(self, *, alone: bool = False) -> None:
        """Write the state and the newest checkpoint. alone: without waiting for the other processes."""
        learner = self.learner
        self.state.iteration = self.saved = learner.done
        if self.process.is_first:
            save_state(self.folder.root, self.state, learner.model, learner.optimiser, learner.average)
            with holding(learner.model, learner.learned):
                self._save_checkpoint(self.folder.last)
        if not alone:
            self.process.barrier()

    def _save_checkpoint(self, path: Path, **more: float) -> None:
        run = self.plan.record.shareable()
        details = {"training": self.config.to_dict(), "run": run, "iteration": self.learner.done, **more}
        save_checkpoint(path, self.learner.model, details)
