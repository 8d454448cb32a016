"""Reports of a run: speed, metrics.csv, TensorBoard events, sheets of predictions, quality on held-out pictures."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.errors import DataError
from hodor_cli.files import ELSEWHERE, replacing, writing_file
from hodor_cli.images.paths import plural
from hodor_cli.images.sheet import Picture, captioned, joined, save_sheet, scaled
from hodor_cli.model.hodor import Hodor
from hodor_cli.samples.batches import Batches
from hodor_cli.samples.sample import Batch, collate
from hodor_cli.samples.sets import TrainingSet
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Objective, Prediction, inputs_of, schedule
from hodor_cli.training.launch import Process
from hodor_cli.training.losses import merge_background
from hodor_cli.training.options import TrainingProgress
from hodor_cli.training.plan import Plan
from hodor_cli.training.run_folder import DISK
from hodor_cli.video.overlay import draw_overlay

#: The columns of metrics.csv.
COLUMNS = (
    "iteration", "loss", "cross_entropy", "dice", "iou", "learning_rate", "samples_per_second", "loader_wait",
)  # fmt: skip
_EVENTS_EVERY = 10  # iterations between two entries of TensorBoard
_WHOLE = 20  # the fewest iterations for which a separate run is suggested
_HEIGHT, _ROWS = 144, 4  # largest height of a picture on a sheet, and most rows of a sheet
#: Weight of the newest iteration in the running means of the speed.
_NEW = 0.05


def in_words(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `3 h 20 min`, `5 days 2 h`."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def outlook(progress: TrainingProgress, config: TrainConfig, until: float | None) -> list[str]:
    """Sentences about how long the remaining iterations take, and how many of them `until` allows.

    until: when the time limit ends the run, in seconds since 1970.
    """
    left = progress.iterations - progress.iteration
    if not left:
        return []
    needed = left * config.batch_size / max(progress.samples_per_second, 1e-9)
    speed = f"{progress.samples_per_second:.1f} samples/s"
    estimate = f"about {in_words(needed)} for the remaining {plural(left, 'iteration')} ({speed})"
    if until is None or not progress.limited:
        return [estimate]
    warmup = config.learning_rate.warmup
    fit = progress.iteration + max(0, int(left * (until - time.time()) / needed))
    early = f", while the learning rate still rises ({warmup} iterations)" if fit < warmup else ""
    again = f"; for a whole run in that time start over with `iterations={fit}` and `warmup={min(warmup, fit // 10)}`"
    again = again if fit >= _WHOLE else ""
    return [estimate, f"`time_limit` ends the run after about {fit} of them{early}, and `resume` continues it{again}"]


class Events:
    """TensorBoard events, if it is installed; otherwise nothing.

    They are written in this thread, because TensorBoard's own writer uses another one and so hides a full disk.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._file: IO[bytes] | None = None
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except (ImportError, AttributeError, TypeError):  # missing, or incompatible with the installed protobuf
            return
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._path = folder / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        with writing_file(self._path, ELSEWHERE):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb", buffering=0)
        self._writer = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        # Drops the events that an interrupted run wrote after its last saved state.
        self._write(step=first + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def note(self, iteration: int, **values: float) -> None:
        """Write values of an iteration. Raises OutputError."""
        if self._file is not None:
            noted = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._write(step=iteration, summary=self._summary(value=noted))

    def _write(self, **fields: Any) -> None:
        with writing_file(self._path, ELSEWHERE):
            self._writer.write(self._event(wall_time=time.time(), **fields).SerializeToString())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Report:
    """Reports every iteration, in the first process: metrics.csv, TensorBoard events, progress, the time left.

    done: the iteration that is resumed from; later lines of metrics.csv are dropped.
    """

    def __init__(self, plan: Plan, done: int) -> None:
        self.plan, self.first, self.path = plan, done, plan.folder.metrics
        self._rate = self._wait_share = 0.0  # running means of samples per second, and of the share of waiting
        self.events = Events(plan.folder.events, done)
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.is_file() else []
        kept = [line for line in lines if (at := line.partition(",")[0]).isdecimal() and int(at) <= done]
        with writing_file(self.path, DISK):
            with replacing(self.path) as temporary:
                temporary.write_text("\n".join([",".join(COLUMNS), *kept, ""]), encoding="utf-8", newline="")
            self._metrics = self.path.open("a", newline="", buffering=1, encoding="utf-8")

    def write(self, done: int, losses: Tensor, rate: float, began: float, waited: float) -> None:
        """Write and report the values of finished iteration `done`; after three, also how long the rest will take.

        losses: (cross-entropy, DICE, IoU, ...). rate: the learning rate. began: when the iteration began, by
        `time.perf_counter`. waited: the seconds that it waited for its batch. Raises OutputError for a full disk.
        """
        config, until = self.plan.config, self.plan.until
        cross_entropy, dice, iou = losses.tolist()[:3]
        duration, number = max(time.perf_counter() - began, 1e-9), done - self.first
        # The first iteration starts the workers and fills caches, so it says nothing about those after it.
        new = 1.0 if number <= 2 else max(_NEW, 1 / (number - 1))
        self._rate += new * (config.batch_size / duration - self._rate)
        self._wait_share += new * (waited / duration - self._wait_share)
        needed = (config.iterations - done) * config.batch_size / max(self._rate, 1e-9)
        allowed = math.inf if until is None else max(0.0, until - time.time())
        progress = TrainingProgress(
            iteration=done,
            iterations=config.iterations,
            loss=cross_entropy + dice,
            cross_entropy=cross_entropy,
            dice=dice,
            iou=iou,
            learning_rate=rate,
            samples_per_second=self._rate,
            seconds_left=min(needed, allowed),
            loader_wait=self._wait_share,
            limited=allowed < needed,
        )
        values = {name: getattr(progress, name) for name in COLUMNS}
        with writing_file(self.path, DISK):
            texts = (f"{v:.7g}" if isinstance(v, float) else str(v) for v in values.values())
            self._metrics.write(",".join(texts) + "\n")
        if done % _EVENTS_EVERY == 0:
            self.events.note(**values)
        callbacks = self.plan.callbacks
        if callbacks.progress is not None:
            callbacks.progress(progress)
        if number == 3:
            for sentence in outlook(progress, config, until):
                callbacks.note(sentence)

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self.events.close()


class HeldOut:
    """Samples on which a network is measured before and after training, by the mean IoU of its predictions.

    separate: whether they are kept out of training; if not, there were too few pictures for that. name: what they are,
    for messages. unreadable: a sentence about each file that cannot be read; its sample is left out. Raises DataError
    if that leaves none.
    """

    def __init__(self, sets: Sequence[TrainingSet], config: TrainConfig, process: Process, *, separate: bool) -> None:
        self._config, self._process = config, process
        batches = Batches(sets, replace(config.batches, source_weights={}), seed=config.seed)
        items = [(number, item) for number, dataset in enumerate(sets) for item in range(len(dataset))]
        count = min(config.held_out, len(items))
        chosen = [items[place * len(items) // count] for place in range(count)]  # evenly spaced
        self._batches: list[Batch] = []
        self.unreadable: list[str] = []
        for number, item in enumerate(chosen):
            plan = batches.plan_of([item], number)
            try:
                self._batches.append(collate([batches.sample(plan.samples[0], plan.num_objects)], plan.pad_size))
            except DataError as error:
                self.unreadable.append(str(error))
        if not self._batches:
            raise DataError(f"no picture to measure the network on can be read: {self.unreadable[0]}")
        count = len(self._batches)
        few = f"{plural(count, 'training picture')}, too few to hold some out"
        self.name = plural(count, "held-out picture") if separate else few

    @torch.no_grad()
    def measure(self, network: Hodor) -> float:
        """Mean IoU, 0..1, of a network."""
        config, process, training = self._config, self._process, network.training
        objective = Objective(network.eval(), supervise=config.supervise, dtype=process.dtype)
        steps = schedule(config.schedule, 0, config.sequence)
        ious = [float(objective(*inputs_of(batch, process.device), steps)[0].iou) for batch in self._batches]
        network.train(training)
        return sum(ious) / len(ious)


def write_predictions(path: Path, batch: Batch, predictions: list[Prediction]) -> None:
    """Write a PNG with a row for each sample (at most 4), which shows the truth, if known, beside each prediction.

    path: its folder is created. batch: from the loader. predictions: of its first samples, in the order of the cycle.
    Raises OutputError.
    """
    size = tuple(batch["frames"].shape[2:4])
    scale = min(1.0, _HEIGHT / size[0])
    rows: list[list[Picture]] = [[] for _ in batch["names"][:_ROWS]]
    for prediction in predictions:
        merged = merge_background(prediction.logits[:_ROWS].float())
        upsampled = F.interpolate(merged, size=size, mode="bilinear", align_corners=False)
        for row, labels in enumerate(upsampled.argmax(dim=1).cpu().numpy().astype(np.uint16)):
            frame = batch["frames"][row, prediction.frame].numpy()
            target = prediction.target[row].cpu().numpy().astype(np.uint16)
            known = bool(batch["labelled"][row, prediction.frame])
            truth = draw_overlay(frame, target) if known else frame
            both = scaled(np.concatenate([truth, draw_overlay(frame, labels)], axis=1), scale)
            caption = f"frame {prediction.frame}: {'truth' if known else 'no labels'}, prediction"
            rows[row].append(captioned(both, caption))
    named = zip(rows, batch["names"], strict=False)
    strips = [captioned(joined(groups, axis=1), name) for groups, name in named if groups]
    with writing_file(path.parent, DISK):
        path.parent.mkdir(exist_ok=True)
    save_sheet(path, joined(strips, axis=0), DISK)
