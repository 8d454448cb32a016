"""What a run reports: speed, metrics.csv, TensorBoard events, how good it is on held-out pictures, callbacks."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from hodor_cli.files import ELSEWHERE, replacing, writing_file
from hodor_cli.runtime.device import autocast
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import schedule
from hodor_cli.training.options import Callbacks, TrainingProgress
from hodor_cli.training.run_folder import DISK
from hodor_cli.training.samples.batches import BatchPlanner
from hodor_cli.training.samples.sample import Batch
from hodor_cli.training.samples.sets import TrainingSet
from hodor_cli.training.step import INPUTS, Learner, holding

_COLUMNS = (
    "iteration", "loss", "cross_entropy", "dice", "iou", "learning_rate", "samples_per_second", "loader_wait",
)  # fmt: skip
#: Iterations between two entries in the TensorBoard events.
_EVENTS_EVERY = 10
#: Weight of the newest iteration in the running means of the clock.
_NEW = 0.05


class Clock:
    """Samples per second, and the share of time spent waiting for the loader, as running means over the iterations."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.wait_share = 0.0
        self.iterations = 0

    def wait_for(self, batches: Iterator[Batch]) -> Batch:
        """An iteration begins, with the next batch."""
        self._started = time.perf_counter()
        batch = next(batches)
        self._waited = time.perf_counter()
        return batch

    def done(self, samples: int) -> None:
        """The iteration is over."""
        now = time.perf_counter()
        duration = max(now - self._started, 1e-9)
        rate, share = samples / duration, (self._waited - self._started) / duration
        self.iterations += 1
        # The first iteration starts the workers and warms everything up: it says nothing about those after it.
        new = 1.0 if self.iterations <= 2 else max(_NEW, 1 / (self.iterations - 1))
        self.rate += new * (rate - self.rate)
        self.wait_share += new * (share - self.wait_share)


def in_words(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `3 h 20 min`, `5 days 2 h`."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


class Events:
    """TensorBoard events, if it is installed; otherwise nothing.

    They are written in this thread, because TensorBoard's own writer does it in another, which hides a full disk.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._file: IO[bytes] | None = None
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        except (ImportError, AttributeError, TypeError):  # absent, or at odds with the protobuf beside it
            return
        self._path = folder / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        with writing_file(self._path, ELSEWHERE):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb", buffering=0)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # Events that an interrupted run had written past its saved state are dropped.
        self._write(Event(wall_time=time.time(), step=first + 1, session_log=SessionLog(status=SessionLog.START)))

    def progress(self, progress: TrainingProgress) -> None:
        """Note the losses and the speed of an iteration, every tenth. Raises OutputError."""
        if progress.iteration % _EVENTS_EVERY == 0:
            self._note(progress.iteration, {name: getattr(progress, name) for name in _COLUMNS[1:]})

    def score(self, iteration: int, score: float) -> None:
        """Note the score of a validation. Raises OutputError."""
        self._note(iteration, {"validation": score})

    def _note(self, step: int, values: Mapping[str, float]) -> None:
        if self._file is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        noted = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=noted)))

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        with writing_file(self._path, ELSEWHERE):
            RecordWriter(self._file).write(event.SerializeToString())

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


class MetricsFile:
    """`metrics.csv`, one line per iteration; lines beyond the iteration that is resumed from are dropped first."""

    def __init__(self, path: Path, *, keep: int) -> None:
        kept: list[dict[str, str]] = []
        if keep and path.is_file():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                lines = (line.replace("\0", "") for line in file)
                kept = [row for row in csv.DictReader(lines) if (row.get("iteration") or "").isdecimal()]
            kept = [row for row in kept if int(row["iteration"]) <= keep]
        self.path = path
        with writing_file(path, DISK):
            with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", restval="")
                writer.writeheader()
                writer.writerows(kept)
            self._file = path.open("a", newline="", buffering=1, encoding="utf-8")
        self._writer = csv.DictWriter(self._file, _COLUMNS, extrasaction="ignore")

    def write(self, progress: TrainingProgress) -> None:
        """Add the line of an iteration. Raises OutputError when the disk is full."""
        values = progress._asdict()
        with writing_file(self.path, DISK):
            self._writer.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in values.items()})

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class HeldOut:
    """Samples on which a network is measured before and after training: mean IoU of the cycles' predictions.

    apart: whether they are kept out of training; otherwise there were too few, and it learns from them. name: what they
    are, for a sentence.
    """

    def __init__(self, sets: Sequence[TrainingSet], config: TrainConfig, *, apart: bool) -> None:
        self.config = config
        self._planner = BatchPlanner(sets, config.batches, seed=config.seed)
        items = [(number, item) for number, dataset in enumerate(sets) for item in range(len(dataset))]
        count = min(config.held_out, len(items))
        self._chosen = [items[place * len(items) // count] for place in range(count)]  # evenly among them
        self._batches: list[Batch] = []
        self.name = f"{count} held-out pictures" if apart else f"{count} training pictures, too few to hold some out"

    @torch.no_grad()
    def measure(self, learner: Learner) -> float:
        """Mean IoU, 0..1, of the weights that would be saved. The network is as before afterwards."""
        if not self._batches:
            plans = [self._planner.plan_of([chosen], number) for number, chosen in enumerate(self._chosen)]
            self._batches = [self._planner.batch(plan) for plan in plans]
        objective, process, training = learner.objective, learner.process, learner.model.training
        steps = schedule(self.config.schedule, 0, self.config.sequence)
        ious = []
        with holding(learner.model, learner.learned):
            objective.eval()
            for batch in self._batches:
                inputs = [batch[name].to(process.device) for name in INPUTS]
                with autocast(process.device, process.dtype):
                    ious.append(float(objective(*inputs, steps)[0].iou))
        objective.train(training)
        return sum(ious) / len(ious)


@dataclass(frozen=True)
class Hooks:
    """What accompanies the loop; all optional.

    callbacks: the caller's. held_out: measured at the start and at the end, in the process that writes the files.
    until: when to stop, in seconds since 1970, which the processes of all machines share. details: JSON values that are
    saved with the checkpoints.
    """

    callbacks: Callbacks = field(default_factory=Callbacks)
    held_out: HeldOut | None = None
    until: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
