"""The training loop, for one process or many; it can be interrupted at any moment and resumed with the same losses."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hodor_cli.errors import DataError, DeviceError, InputError, UsageError
from hodor_cli.runtime.free_cores import FreeCores
from hodor_cli.runtime.interrupts import HalfDone, terminated_like_ctrl_c, uninterrupted
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.runtime.second_thread import SecondThread, second_thread
from hodor_cli.samples.batches import Batches
from hodor_cli.samples.loader import explained_workers, make_loader
from hodor_cli.samples.sample import Batch
from hodor_cli.training.cycles import Objective, Prediction, Step, inputs_of, schedule
from hodor_cli.training.damage import Hardship
from hodor_cli.training.faults import not_a_number
from hodor_cli.training.halves import can_be_halved, objective_in_halves
from hodor_cli.training.launch import Process
from hodor_cli.training.learner import Learner, freeze_stages, rate_at
from hodor_cli.training.plan import Plan
from hodor_cli.training.run_folder import TrainingState, read_state, restore_state, save_state
from hodor_cli.training.watching import HeldOut, Report, write_predictions
from hodor_cli.weights.checkpoint import save_checkpoint

_CLEAR_GAIN = 0.01  # on a few pictures, a smaller gain of mean IoU may be chance


@terminated_like_ctrl_c()
def fit(process: Process, plan: Plan) -> TrainingState:
    """Train a network in this process and write checkpoints to the plan's folder, which must exist.

    Writes `last.safetensors` (the averaged weights if the settings ask for an average), `best.safetensors` if there is
    a validation, `metrics.csv`, and `training_state.safetensors`, from which a run is resumed with the same data in the
    same order. Ctrl-C or SIGTERM saves the state of the last whole iteration; a second one keeps that of the last save.

    Args:
        process: this process, which makes and learns from its share of every batch.
        plan: all settings, the data, the network, the folder, whether to resume, how often to save, and what to call.
    Returns:
        The number of iterations done, and the scores.
    Raises:
        TrainingError for a loss or gradient that is not a number, naming the sample; OutputError if nothing can be
        written; UsageError if the processes cannot share the batch evenly, or do not see the same folder.
    """
    if process.device.type == "cpu":
        keep_freed_memory()  # saves a fifth of the time, because all iterations need the same amounts
    run, config = _Run(process, plan), plan.config
    objective, micro = run.objective, config.micro_batch_in(process.world)
    try:
        run.measure_before()
        run.validate()  # a kill may have ended the last validation
        with second_thread(can_be_halved(config, process, run.dropout)) as second, closing(run.batches(second)) as left:
            if second is not None:
                objective, micro = partial(objective_in_halves, objective, second), config.batch_size
            for batch in left:
                # Of several processes, some might miss a second Ctrl-C, or take one for two.
                with uninterrupted(run.stopping if process.world == 1 else None):
                    drawn, count = run.draw(), len(batch["names"])
                    values, predictions = torch.zeros(4, device=process.device), list[Prediction]()
                    for begin in range(0, count, micro):  # the gradients of the micro-batches add up
                        inputs = inputs_of(batch, process.device, begin, begin + micro)
                        share = len(inputs[0]) / count
                        with process.accumulate(objective, enabled=begin + micro < count):
                            losses, made = objective(*inputs, drawn.steps, drawn.hardship)
                            (losses.total * share).backward()
                        values, predictions = values + losses.values * share, predictions or made
                    run.update(batch, drawn, process.mean(values), predictions)
        run.compare()
        run.save()
    except (KeyboardInterrupt, DataError, DeviceError, InputError, RuntimeError) as error:
        if "by peer" in str(error) or not isinstance(error, HalfDone | RuntimeError):  # gloo's, if a process was killed
            with uninterrupted():
                run.interrupted()
        raise
    return run.state


class _Drawn(NamedTuple):
    """How an iteration learns: the learning rate, the steps of its cycles, and what makes them harder."""

    rate: float
    steps: tuple[Step, ...]
    hardship: Hardship


class _Run:
    """A run in one process: the network in training, its scores, and what was saved and reported."""

    def __init__(self, process: Process, plan: Plan) -> None:
        """Resume from the folder's state, if there is one and the plan says so."""
        config, model = plan.config, plan.model or plan.first_model()
        self.process, self.plan, self.config = process, plan, config
        self.folder, self.callbacks, self.dropout = plan.folder, plan.callbacks, model.config.dropout
        shares, rank, world = [source.weight for source in plan.record.data], process.rank, process.world
        self._batches = Batches(plan.sets, config.batches, shares, seed=config.seed, rank=rank, world=world)
        freeze_stages(model.backbone, config.frozen_stages)
        self.local = Objective(model, supervise=config.supervise, contrast=config.contrast, dtype=process.dtype).train()
        self.learner = Learner(model, config, process.device)
        #: `local`, made ready to exchange gradients with the other processes.
        self.objective: Any = process.setup(self.local)
        self.state = TrainingState(0, config.to_dict(), model=model.config.to_dict())
        self.report: Report | None = None
        self.over, self.unreadable = False, set[str]()
        self.held_out: HeldOut | None = None
        if process.is_first and config.held_out:
            self.held_out = HeldOut(plan.held_out or plan.sets, config, process, separate=bool(plan.held_out))
        earlier = read_state(self.folder.root) if plan.run.resume else None
        if earlier is not None:
            restore_state(self.folder.root, self.learner)
            self.learner.done = self.state.iteration = earlier.iteration
            self.state.best, self.state.before, self.state.validated = earlier.best, earlier.before, earlier.validated
        if len(set(process.gather(self.learner.done))) > 1:
            raise UsageError(f"the processes do not see the same run in {plan.run.out}; all machines must share `out`")

    def batches(self, second: SecondThread | None) -> Generator[Batch, None, None]:
        """The remaining batches, up to the time limit. second: a thread that shares the cores with this one."""
        learner, end, workers = self.learner, self.config.iterations, self.plan.run.workers
        with ExitStack() as stack:
            if self.process.is_first and learner.done < end:
                self.report = stack.enter_context(closing(Report(self.plan, learner.done)))
                if isinstance(self.callbacks.progress, AbstractContextManager):
                    stack.enter_context(self.callbacks.progress)
            cores = stack.enter_context(FreeCores(1 if second is None else 2))
            pinned = self.process.device.type == "cuda"
            loader = make_loader(self._batches, learner.done, end, workers=workers, pinned=pinned)
            while learner.done < end and not self.over:
                cores.adjust()
                self.began = time.perf_counter()
                with explained_workers():
                    batch = next(loader)
                self.waited = time.perf_counter() - self.began
                self.warn_of(batch["unreadable"])
                yield batch

    def draw(self) -> _Drawn:
        """How the next iteration learns. All seeds follow from its number, so no random state needs to be saved."""
        config, done = self.config, self.learner.done
        seed = np.random.SeedSequence([config.seed, done, self.process.rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        rate = rate_at(config.learning_rate, done, config.iterations)
        return _Drawn(rate, schedule(config.schedule, done, config.sequence), Hardship.drawn(config, done))

    def update(self, batch: Batch, drawn: _Drawn, losses: Tensor, predictions: list[Prediction]) -> None:
        """Take an optimiser step; then report, and validate, draw a sheet and save when due.

        losses: (cross-entropy, DICE, IoU, contrast) over all processes, so that all raise TrainingError together.
        """
        if not self.learner.update(drawn.rate, losses[:2]):
            raise not_a_number(self.local, self.process, batch, self.learner.done + 1, drawn.steps, drawn.hardship)
        done, end, options = self.learner.done, self.config.iterations, self.plan.run
        if self.report is not None:
            self.report.write(done, losses, drawn.rate, self.began, self.waited)
        self.validate()
        self.over = self.plan.until is not None and any(self.process.gather(time.time() >= self.plan.until))
        if self.report is not None and (done in (1, end) or self.over or done % options.sheet_every == 0):
            write_predictions(self.folder.sheets / f"{done:06d}.png", batch, predictions)
        if done % options.save_every == 0 and done < end and not self.over:
            self.save()

    def measure_before(self) -> None:
        """Measure the network on the held-out pictures before the first iteration; the other processes wait."""
        if self.held_out is not None:
            self.warn_of(self.held_out.unreadable)
            if self.learner.done == 0:
                self.state.before = self.held_out.measure(self.learner.learned)
        self.process.barrier()

    def warn_of(self, unreadable: list[str]) -> None:
        """Warn once about each file that cannot be read."""
        for sentence in sorted({*unreadable} - self.unreadable):
            self.callbacks.warn(f"{sentence}; training continues without it")
        self.unreadable.update(unreadable)

    def validate(self) -> None:
        """If due, save, score the network in the first process, and keep it if it is the best; the others wait."""
        validate, done = self.callbacks.validate, self.learner.done
        due = done != self.state.validated and (done % self.plan.run.val_every == 0 or done == self.config.iterations)
        if validate is None or not due:
            return
        self.save()  # a validation may take long, and a kill must not lose what was learned
        if self.process.is_first:
            score = validate(self.learner.learned.eval())
            if self.report is not None and not math.isnan(score):
                self.report.events.note(done, validation=score)
            if score > self.state.best:
                self.state.best = score
                self._save_checkpoint(self.folder.best, score=score)
            self.learner.model.train()
        self.state.validated = done
        self.process.barrier()

    def compare(self) -> None:
        """Report whether the network got better on the held-out pictures."""
        if self.held_out is None or (before := self.state.before) is None:
            return
        after = self.state.after = self.held_out.measure(self.learner.learned)
        change = f"mean IoU {before:.3f} at the start and {after:.3f} now, on {self.held_out.name}"
        if round(after, 3) > round(before, 3):  # as the sentence shows them
            clear = after - before >= _CLEAR_GAIN
            self.callbacks.note(f"the network {'got better' if clear else 'is about as good as before'}: {change}")
        else:
            self.callbacks.warn(f"the network did not get better: {change}; train longer or change `learning_rate`")

    def stopping(self) -> None:
        """Explain what this Ctrl-C does, and what another one would do."""
        kept = f"only the first {saved} iterations" if (saved := self.state.iteration) else "nothing of this run"
        self.callbacks.note(f"training stops after this iteration; Ctrl-C again stops now and keeps {kept}")

    def interrupted(self) -> None:
        """Save the last whole iteration; the other processes may be gone."""
        if self.process.is_first:
            self.save(wait=False)
            done, root = self.learner.done, self.folder.root
            where = f"after iteration {done} of {self.config.iterations}; {root} holds its state"
            self.callbacks.note(f"interrupted {where}: run the same command with `resume` to continue")

    def save(self, *, wait: bool = True) -> None:
        """Write the state and the newest checkpoint. wait: for the other processes."""
        self.state.iteration = self.learner.done
        if self.process.is_first:
            save_state(self.folder.root, self.state, self.learner)
            self._save_checkpoint(self.folder.last)
        if wait:
            self.process.barrier()

    def _save_checkpoint(self, path: Path, **more: float) -> None:
        run, done = self.plan.record.shareable(), self.learner.done
        details = {"training": self.config.to_dict(), "run": run, "iteration": done, **more}
        save_checkpoint(path, self.learner.learned, details)
