"""What a run reports: speed, metrics.csv, TensorBoard events, how good it is on held-out pictures, callbacks."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from hodor_cli.files import ELSEWHERE, replacing, writing_file
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import schedule
from hodor_cli.training.options import Callbacks, TrainingProgress
from hodor_cli.training.run_folder import DISK
from hodor_cli.training.samples.batches import BatchPlanner
from hodor_cli.training.samples.sample import Batch
from hodor_cli.training.samples.sets import TrainingSet
from hodor_cli.training.step import Learner, holding

#: What is noted of every iteration.
COLUMNS = (
    "iteration", "loss", "cross_entropy", "dice", "iou", "learning_rate", "samples_per_second", "loader_wait",
)  # fmt: skip
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

    every = 10  # iterations between two entries

    def __init__(self, folder: Path, first: int) -> None:
        self._file: IO[bytes] | None = None
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except (ImportError, AttributeError, TypeError):  # absent, or at odds with the protobuf beside it
            return
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._path = folder / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        with writing_file(self._path, ELSEWHERE):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb", buffering=0)
        self._writer = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        # Events that an interrupted run had written past its saved state are dropped.
        self._write(step=first + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def note(self, iteration: int, **values: float) -> None:
        """Note values of an iteration. Raises OutputError."""
        if self._file is not None:
            noted = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._write(step=iteration, summary=self._summary(value=noted))

    def _write(self, **fields: Any) -> None:
        with writing_file(self._path, ELSEWHERE):
            self._writer.write(self._event(wall_time=time.time(), **fields).SerializeToString())

    def close(self) -> None:
        """No more events."""
        if self._file is not None:
            self._file.close()


class MetricsFile:
    """`metrics.csv`, one line per iteration; lines beyond the iteration that is resumed from are dropped first."""

    def __init__(self, path: Path, *, keep: int) -> None:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if keep and path.is_file() else []
        numbers = [line.partition(",")[0] for line in lines]
        kept = [line for line, at in zip(lines, numbers, strict=True) if at.isdecimal() and int(at) <= keep]
        self.path = path
        with writing_file(path, DISK):
            with replacing(path) as temporary:
                temporary.write_text("\n".join([",".join(COLUMNS), *kept, ""]), encoding="utf-8", newline="")
            self._file = path.open("a", newline="", buffering=1, encoding="utf-8")

    def write(self, progress: TrainingProgress) -> None:
        """Add the line of an iteration. Raises OutputError when the disk is full."""
        values = (getattr(progress, name) for name in COLUMNS)
        with writing_file(self.path, DISK):
            self._file.write(",".join(f"{v:.7g}" if isinstance(v, float) else str(v) for v in values) + "\n")

    def close(self) -> None:
        """No more lines."""
        self._file.close()


class HeldOut:
    """Samples on which a network is measured before and after training: mean IoU of the cycles' predictions.

    apart: whether they are kept out of training; otherwise there were too few, and it learns from them. name: what they
    are, for a sentence.
    """

    def __init__(self, sets: Sequence[TrainingSet], config: TrainConfig, *, apart: bool) -> None:
        planner = BatchPlanner(sets, config.batches, seed=config.seed)
        items = [(number, item) for number, dataset in enumerate(sets) for item in range(len(dataset))]
        count = min(config.held_out, len(items))
        chosen = [items[place * len(items) // count] for place in range(count)]  # evenly among them
        self._batches = [planner.batch(planner.plan_of([item], number)) for number, item in enumerate(chosen)]
        self._steps = schedule(config.schedule, 0, config.sequence)
        self.name = f"{count} held-out pictures" if apart else f"{count} training pictures, too few to hold some out"

    @torch.no_grad()
    def measure(self, learner: Learner) -> float:
        """Mean IoU, 0..1, of the weights that would be saved. The network is as before afterwards."""
        objective, training = learner.objective, learner.model.training
        with holding(learner.model, learner.learned):
            objective.eval()
            ious = [float(objective(*learner.inputs(batch), self._steps)[0].iou) for batch in self._batches]
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
