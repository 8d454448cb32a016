"""The training loop: the same for one process and for many, interrupted at any moment, resumed to the same losses."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import numpy as np
import torch

from hodor_cli.errors import DataError, InputError, UsageError
from hodor_cli.runtime.free_cores import FreeCores
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.samples.batches import Batches, make_loader
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import schedule
from hodor_cli.training.damage import Hardship
from hodor_cli.training.launch import HalfDone, Process, uninterrupted
from hodor_cli.training.plan import Plan
from hodor_cli.training.recipe import check_same
from hodor_cli.training.run_folder import TrainingState, read_state, restore_state, save_state
from hodor_cli.training.sheets import write_predictions
from hodor_cli.training.step import Learner, rate_at
from hodor_cli.training.watching import HeldOut, Report
from hodor_cli.weights.checkpoint import save_checkpoint

#: On a few pictures, a smaller gain of mean IoU may be chance.
_CLEAR_GAIN = 0.01


def fit(process: Process, plan: Plan) -> TrainingState:
    """Train a network in this process and leave checkpoints in the plan's folder, which exists.

    Writes `last.safetensors` (the averaged weights if the settings ask for an average), `best.safetensors` where there
    is a validation, `metrics.csv`, and `training_state.safetensors`, from which a run is resumed with the same data in
    the same order. Ctrl-C leaves the state of the last whole iteration, a second one that of the last save.

    Args:
        process: this process, which makes and learns from its share of every batch.
        plan: all settings, the data, the network, the folder, whether to resume, how often to save, and what to call.
    Returns:
        How far the run came, and its scores.
    Raises:
        TrainingError for a loss or gradient that is not a number, naming the sample; OutputError if nothing can be
        written; UsageError if a run with other settings is resumed, or the batch cannot be shared by the processes.
    """
    if process.device.type == "cpu":
        keep_freed_memory()  # maps of one iteration are as large as those of the next: a fifth of the time
    config, options, end = plan.config, plan.run, plan.config.iterations
    weights = [source.weight for source in plan.record.data] or None
    batches = Batches(plan.sets, config.batches, weights, seed=config.seed, rank=process.rank, world=process.world)
    learner = Learner(plan.model or plan.first_model(), config, process)
    run = _Run(learner, plan)
    if len(set(process.gather(learner.done))) > 1:
        raise UsageError(
            f"the processes do not see the same run in {options.out}; choose with `out` a folder that all machines"
            " share"
        )
    try:
        run.measure_before()
        with ExitStack() as stack:
            over, report = False, None
            if process.is_first and learner.done < end:
                report = stack.enter_context(closing(Report(plan, learner.done)))
                if isinstance(plan.callbacks.progress, AbstractContextManager):
                    stack.enter_context(plan.callbacks.progress)
            cores = stack.enter_context(FreeCores(stack.enter_context(learner.in_two_threads())))
            loader = make_loader(
                batches, learner.done, end, workers=options.workers, pinned=process.device.type == "cuda"
            )
            while learner.done < end and not over:
                cores.adjust()
                began = time.perf_counter()
                batch = next(loader)
                waited = time.perf_counter() - began
                run.warn_of(batch["unread"])
                # Other processes would not hear of a second Ctrl-C, or would take one for two.
                with uninterrupted(run.stopping if process.world == 1 else None):
                    # One seed per iteration and process: dropout then needs no saved random state.
                    seed = np.random.SeedSequence([config.seed, learner.done, process.rank]).generate_state(1)[0]
                    torch.manual_seed(int(seed))
                    rate = rate_at(config.learning_rate, learner.done, end)
                    steps = schedule(config.schedule, learner.done, config.sequence)
                    losses, predictions = learner.step(batch, rate, steps, Hardship.drawn(config, learner.done))
                    done = learner.done
                    if report is not None:
                        progress = report.write(done, losses, rate, began, waited)
                if report is not None:
                    report.tell(progress)
                if plan.callbacks.validate is not None and (done % options.val_every == 0 or done == end):
                    run.validate(report)
                over = plan.until is not None and any(process.gather(time.time() >= plan.until))
                if report is not None and (done in (1, end) or over or done % options.sheet_every == 0):
                    write_predictions(plan.folder.sheets / f"{done:06d}.png", batch, predictions)
                if done % options.save_every == 0 and done < end and not over:
                    run.save()
        run.compare()
        run.save()
    except HalfDone:
        raise
    except (KeyboardInterrupt, DataError, InputError):
        with uninterrupted():
            run.interrupted()
        raise
    return run.state


class _Run:
    """A run's learner and its state: how good the network is, what was saved, and what was said."""

    def __init__(self, learner: Learner, plan: Plan) -> None:
        """Continues from the folder's state, if there is one and the plan says so."""
        self.learner, self.plan, self.process = learner, plan, learner.process
        self.config, self.folder, self.callbacks = plan.config, plan.folder, plan.callbacks
        self.state = TrainingState(0, plan.config.to_dict(), model=learner.model.config.to_dict())
        self.saved = -1
        self.unread: set[str] = set()
        self.held_out: HeldOut | None = None
        if self.process.is_first and self.config.held_out:
            self.held_out = HeldOut(plan.apart or plan.sets, self.config, apart=bool(plan.apart))
        earlier = read_state(self.folder.root) if plan.run.resume else None
        if earlier is not None:
            check_same(plan.config, TrainConfig.from_dict(earlier.config))
            restore_state(self.folder.root, learner.model, learner.optimiser, learner.average)
            learner.done = self.saved = earlier.iteration
            self.state.best, self.state.before = earlier.best, earlier.before

    def measure_before(self) -> None:
        """Measure the network on what is held out, if it has learned nothing yet; the other processes wait."""
        if self.held_out is not None:
            self.warn_of(self.held_out.unread)
            if self.learner.done == 0:
                self.state.before = self.held_out.measure(self.learner)
        self.process.barrier()

    def warn_of(self, unread: list[str]) -> None:
        """Warn of each file that cannot be read, once."""
        for sentence in unread:
            if sentence not in self.unread:
                self.callbacks.warn(f"{sentence}; training continues without it")
        self.unread.update(unread)

    def validate(self, report: Report | None) -> None:
        """Score the network in the first process, and keep it if it is the best so far; the others wait."""
        validate = self.callbacks.validate
        if report is not None and validate is not None:
            score = validate(self.learner.learned.eval())
            if not math.isnan(score):
                report.events.note(self.learner.done, validation=score)
            if score > self.state.best:
                self.state.best = score
                self._save_checkpoint(self.folder.best, score=score)
            self.learner.model.train()
        self.process.barrier()

    def compare(self) -> None:
        """Say whether the network got better on what is held out."""
        before = self.state.before
        if self.held_out is None or before is None:
            return
        after = self.state.after = self.held_out.measure(self.learner)
        change = f"mean IoU {before:.3f} at the start and {after:.3f} now, on {self.held_out.name}"
        if round(after, 3) > round(before, 3):  # as the sentence shows them
            self.callbacks.note(f"the network got better: {change}" if after - before >= _CLEAR_GAIN else change)
        else:
            self.callbacks.warn(
                f"the network did not get better: {change}; train longer, or with another `learning_rate`"
            )

    def stopping(self) -> None:
        """Say what Ctrl-C in an iteration does, and what another one does."""
        kept = f"only the first {self.saved} iterations" if self.saved > 0 else "nothing of this run"
        self.callbacks.note(f"training stops after this iteration; Ctrl-C again stops now and keeps {kept}")

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
            self._save_checkpoint(self.folder.last)
        if not alone:
            self.process.barrier()

    def _save_checkpoint(self, path: Path, **more: float) -> None:
        run = self.plan.record.shareable()
        details = {"training": self.config.to_dict(), "run": run, "iteration": self.learner.done, **more}
        save_checkpoint(path, self.learner.learned, details)
