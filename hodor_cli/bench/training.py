"""Training, measured: the loop that `pretrain` runs against a plain float32 loop, an iteration of each in turn.

Each runs in a process of its own, with its own allocator settings and its own way for threads to wait, and rests while
the other one works.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from statistics import median
from typing import Any

import torch

from hodor_cli.bench.machine import describe_machine
from hodor_cli.bench.measure import ENGINE, PLAIN, Progress, precision_name, using_threads
from hodor_cli.bench.memory import PeakMemory
from hodor_cli.bench.settings import BenchSettings
from hodor_cli.bench.subject import bench_model
from hodor_cli.bench.trainers import Job, Spent, make_trainer, memory_of, timed, worker_rate
from hodor_cli.errors import HodorError, TrainingError
from hodor_cli.runtime.device import choose_device, choose_precision
from hodor_cli.runtime.threads import wait_asleep
from hodor_cli.training.config import PRESETS, TrainConfig
from hodor_cli.training.options import RunOptions

#: The training preset that belongs to an architecture.
_PRESET_OF = {"swin-tiny": "paper-coco", "mini": "mini", "toy": "toy"}
_READY, _FAILED = "ready", "failed"


def measure_training(
    settings: BenchSettings,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure training and return what `hodor bench --train --json` writes.

    Both do the same iterations, from the samples to the updated weights. Plain makes its samples in between.

    Keys: plain and engine (samples_per_second, seconds_per_iteration with its parts for data and step, processor
    seconds, peak memory of the training process), speedup (also of the step alone, and by processor time), loader
    (workers, samples_per_second_per_worker of processor time, idle_share: the part of the engine's time that it waits
    for samples), machine, settings.
    `batch_size` is the preset's by default, on a CPU at most 2; `workers` as `hodor pretrain` has them.
    `settings.frames` and `history` are not used. Starts processes: a script needs the usual `if __name__ == ...`.
    """
    with using_threads(settings.threads):
        return _measure(settings, batch_size, workers, progress or (lambda what, done, total: None))


def _measure(
    settings: BenchSettings, batch_size: int | None, workers: int | None, progress: Progress
) -> dict[str, Any]:
    device = choose_device(settings.device)
    precision = precision_name(choose_precision(settings.precision, device))
    model, trained = bench_model(settings.weights)
    config = _config(model.config.name, batch_size, device)
    machine = describe_machine(device, tuple(dict.fromkeys(("fp32", precision))))
    workers = RunOptions().workers if workers is None else workers
    # Until the loader's queues are full, it is ahead of what it could do for long.
    warm_up = 2 * workers + 1
    job = Job(settings, config, workers, iterations=warm_up + settings.rounds + 1)

    total = settings.rounds + 4
    progress("making samples", 0, total)
    rate = worker_rate(job)
    times: dict[str, list[Spent]] = {PLAIN: [], ENGINE: []}
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(_started(name, job)) for name in (PLAIN, ENGINE)}
        progress("warming up", 1, total)
        trainers[PLAIN].do("iterate", 0)
        for iteration in range(warm_up):
            trainers[ENGINE].do("iterate", iteration)
        for number in range(settings.rounds):
            progress("timing", 2 + number, total)
            for name in (PLAIN, ENGINE) if number % 2 == 0 else (ENGINE, PLAIN):
                times[name].append(trainers[name].do("iterate", warm_up + number))
        progress("memory", settings.rounds + 2, total)
        memory = {name: trainer.do("memory", warm_up + settings.rounds) for name, trainer in trainers.items()}
    progress("done", total, total)

    waited, whole = sum(t.data for t in times[ENGINE]), sum(t.seconds for t in times[ENGINE])
    pairs = list(zip(times[PLAIN], times[ENGINE], strict=True))
    ratios = [plain.seconds / engine.seconds for plain, engine in pairs]
    return {
        PLAIN: _report(times[PLAIN], memory[PLAIN], config, "fp32"),
        ENGINE: _report(times[ENGINE], memory[ENGINE], config, precision),
        "speedup": round(median(ratios), 3),
        "speedup_rounds": [round(ratio, 3) for ratio in ratios],
        "speedup_step": round(median(plain.step / engine.step for plain, engine in pairs), 3),
        "speedup_processor": round(median(plain.processor / engine.processor for plain, engine in pairs), 3),
        "loader": {
            "workers": workers,
            "samples_per_second_per_worker": round(rate, 2),
            "idle_share": round(waited / whole, 4),
        },
        "machine": dataclasses.asdict(machine),
        "settings": {
            "weights": settings.weights,
            "size": settings.size,
            "objects": settings.objects,
            "batch_size": config.batch_size,
            "schedule": config.schedule,
            "maker": config.augment.maker,
            "rounds": settings.rounds,
            "device": str(device),
            "precision": precision,
            "threads": settings.threads,
            "trained": trained,
        },
    }


def _config(architecture: str, batch_size: int | None, device: torch.device) -> TrainConfig:
    config = PRESETS[_PRESET_OF.get(architecture, "paper-coco")]
    if batch_size is None:
        batch_size = min(config.batch_size, 2) if device.type == "cpu" else config.batch_size
    augment = config.augment
    if augment.maker == "imgaug" and not _has_imgaug():
        augment = dataclasses.replace(augment, maker="fast")
    batches = dataclasses.replace(config.batches, batch_size=batch_size)
    return dataclasses.replace(config, batch_size=batch_size, batches=batches, augment=augment)


def _has_imgaug() -> bool:
    import importlib.util

    return importlib.util.find_spec("imgaug") is not None


class _Remote:
    """The trainer of another process: it does one thing at a time and answers."""

    def __init__(self, name: str, connection: Connection) -> None:
        self._name, self._connection = name, connection

    def do(self, what: str, iteration: int) -> Any:
        """Raises the HodorError that the process met, or TrainingError if it is gone."""
        self._connection.send((what, iteration))
        return self.answer()

    def answer(self) -> Any:
        try:
            kind, value = self._connection.recv()
        except EOFError:
            raise TrainingError(
                f"the process that measures the {self._name} loop ended (out of memory?); try a smaller --batch-size"
            ) from None
        if kind == _FAILED:
            raise value
        return value


@contextmanager
def _started(name: str, job: Job) -> Iterator[_Remote]:
    """A process with a trainer that is ready."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    gate = context.Event()  # held here, or it would be gone before the process has taken it up
    process = context.Process(target=_serve, args=(name, job, theirs, gate))
    before = dict(os.environ)
    if name == ENGINE:
        wait_asleep()  # as `hodor pretrain` does; the process inherits it
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    theirs.close()
    try:
        remote = _Remote(name, ours)
        remote.answer()
        yield remote
    finally:
        ours.close()
        process.join(60)  # its workers end first
        if process.is_alive():
            process.terminate()
            process.join()


def _serve(name: str, job: Job, connection: Connection, gate: Event) -> None:
    """In the trainer's process: do what is asked until nobody asks."""
    try:
        with using_threads(job.settings.threads):
            trainer = make_trainer(name, job, gate)
            connection.send((_READY, None))
            while True:
                what, iteration = connection.recv()
                done: Spent | PeakMemory = (timed if what == "iterate" else memory_of)(trainer, iteration)
                connection.send((_READY, done))
    except HodorError as error:
        connection.send((_FAILED, error))
    except (EOFError, KeyboardInterrupt):
        pass
    finally:
        gate.set()  # a worker that waits for it could not end


def _report(times: list[Spent], memory: PeakMemory, config: TrainConfig, precision: str) -> dict[str, Any]:
    seconds = median(t.seconds for t in times)
    return {
        "samples_per_second": round(config.batch_size / seconds, 4),
        "seconds_per_iteration": round(seconds, 4),
        "seconds_per_iteration_rounds": [round(t.seconds, 4) for t in times],
        "data_seconds_per_iteration": round(median(t.data for t in times), 4),
        "step_seconds_per_iteration": round(median(t.step for t in times), 4),
        "processor_seconds_per_iteration": round(median(t.processor for t in times), 4),
        "precision": precision,
        "peak_host_mib": memory.host_mib,
        "peak_device_mib": memory.device_mib,
    }
