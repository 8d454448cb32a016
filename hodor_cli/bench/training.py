"""Measuring training: two loops of `pretrain` against each other.

One has the accelerated network, worker processes that make its samples, and the requested precision; the other has the
plain network in float32 and makes its samples itself. Each runs in a separate process, with its own allocator settings
and its own way for threads to wait. They take turns, one iteration each; while one works, the other pauses.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

from hodor_cli.bench.clip import SyntheticPhotographs
from hodor_cli.bench.measure import ENGINE, PLAIN, Progress
from hodor_cli.bench.settings import BenchSettings, bench_model, describe_machine
from hodor_cli.bench.stages import Spent, contended
from hodor_cli.errors import HodorError, TrainingError, UsageError
from hodor_cli.images.paths import listed
from hodor_cli.model import plain
from hodor_cli.runtime.device import choose_device, choose_precision, precision_name, synchronise
from hodor_cli.runtime.memory import PeakMemory, peak_memory
from hodor_cli.runtime.threads import using_threads, wait_briefly
from hodor_cli.samples.sets import PhotographSet
from hodor_cli.training.config import PRESETS, TrainConfig
from hodor_cli.training.launch import Process
from hodor_cli.training.loop import fit
from hodor_cli.training.options import Callbacks, RunOptions, TrainingProgress
from hodor_cli.training.plan import Plan
from hodor_cli.training.recipe import PRESET_OF

#: More iterations than anybody measures; `_EnoughError` ends the loop long before, and before it saves anything.
_ENDLESS = 10**6
#: Settings that training does not have.
_OTHERS = ("frames", "history", "min_dim", "max_dim", "matching")
#: Iterations alongside busy processes: first those in which the number of threads settles, then those that are timed.
_SETTLING, _SETTLED = 2, 4


@dataclass(frozen=True)
class _Job:
    """What both processes are started with, pickled."""

    settings: BenchSettings
    config: TrainConfig
    workers: int


class _EnoughError(Exception):
    """Leaves the training loop."""


def measure_training(
    settings: BenchSettings, *, batch_size: int | None, workers: int | None, progress: Progress
) -> dict[str, Any]:
    """Measure training and return what `hodor bench --train --json` writes.

    Keys: plain and engine (samples_per_second, seconds_per_iteration, processor seconds and peak memory of the training
    process), speedup (also by processor time), contention (None without `contend`), loader (workers, idle_share: the
    share of the engine's time spent waiting for samples), machine, settings. By default, `batch_size` is the preset's,
    on a CPU at most 2, and `workers` the same as for `pretrain`. Starts processes, so a script needs the usual
    `if __name__ == "__main__"`. Raises UsageError for settings of segmentation, TrainingError if a process ends early.
    """
    if other := [name for name in _OTHERS if getattr(settings, name) != getattr(BenchSettings(), name)]:
        names = listed(f"`{name}`" for name in other)
        raise UsageError(f"the measurement of training has no {names}; leave this out, or measure segmentation")
    device = choose_device(settings.device)
    precision = precision_name(choose_precision(settings.precision, device))
    model, trained = bench_model(settings.weights)
    config = _endless_config(model.config.name, batch_size, most=2 if device.type == "cpu" else None)
    machine = describe_machine(device)
    job = _Job(settings, config, RunOptions().workers if workers is None else workers)

    total = settings.rounds + 3
    progress(0, total)
    times: dict[str, list[Spent]] = {PLAIN: [], ENGINE: []}
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(_started(name, job)) for name in (PLAIN, ENGINE)}
        trainers[PLAIN](True)
        # At first the loader can use up samples made in advance, faster than it could go on.
        for _ in range(2 * job.workers + 1):
            trainers[ENGINE](True)
        for number in range(settings.rounds):
            progress(1 + number, total)
            for name in (PLAIN, ENGINE) if number % 2 == 0 else (ENGINE, PLAIN):
                times[name].append(trainers[name](True))
        progress(settings.rounds + 2, total)
        memory = {name: ask(False) for name, ask in trainers.items()}
    contention = None
    if settings.contend:
        with _started(ENGINE, job, steady=False) as trainer:
            contention = contended(lambda: _speed(trainer, config), settings.contend)
            trainer(False)
    progress(total, total)

    pairs = list(zip(times[PLAIN], times[ENGINE], strict=True))
    ratios = [slow.seconds / fast.seconds for slow, fast in pairs]
    return {
        PLAIN: _report(times[PLAIN], memory[PLAIN], config.batch_size, "fp32"),
        ENGINE: _report(times[ENGINE], memory[ENGINE], config.batch_size, precision),
        "speedup": round(median(ratios), 3),
        "speedup_rounds": [round(ratio, 3) for ratio in ratios],
        "speedup_processor": round(median(slow.processor / fast.processor for slow, fast in pairs), 3),
        "contention": contention,
        "loader": {"workers": job.workers, "idle_share": round(times[ENGINE][-1].waiting, 4)},
        "machine": machine,
        "settings": {name: getattr(settings, name) for name in ("weights", "size", "objects", "rounds", "threads")}
        | {"batch_size": config.batch_size, "schedule": config.schedule, "maker": config.augment.maker}
        | {"device": str(device), "precision": precision, "trained": trained},
    }


def _endless_config(network: str, batch_size: int | None, most: int | None) -> TrainConfig:
    """The network's preset, for endless training. batch_size: by default the preset's, but at most `most`."""
    config = PRESETS[PRESET_OF["pretrain"].get(network, "paper-coco")]
    batch_size = batch_size or min(config.batch_size, most or config.batch_size)
    augment = config.augment
    if augment.maker == "imgaug" and importlib.util.find_spec("imgaug") is None:
        augment = dataclasses.replace(augment, maker="fast")
    return dataclasses.replace(config, batch_size=batch_size, augment=augment, iterations=_ENDLESS, held_out=0)


@contextmanager
def _started(name: str, job: _Job, *, steady: bool = True) -> Iterator[Callable[[bool], Any]]:
    """Start a process that trains on request, and yield the function that sends it requests.

    Called with True, it runs an iteration and returns `Spent`; with False, it ends the training and returns
    `PeakMemory`. It raises the process's HodorError, or TrainingError if the process is gone. steady: fix the number of
    threads, which would otherwise adapt to the load.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    gate = context.Event()  # kept here, so that it still exists when the process unpickles it
    process = context.Process(target=_serve, args=(name, job, theirs, gate))
    with mock.patch.dict(os.environ):  # which the process inherits
        if name == ENGINE:
            wait_briefly()  # as every command does
        if steady:
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        process.start()
    theirs.close()

    def ask(iterate: bool) -> Any:
        try:
            ours.send(iterate)
            answer = ours.recv()
        except (EOFError, OSError):
            raise TrainingError(f"the {name} loop ended (out of memory?); try a smaller `batch_size`") from None
        if isinstance(answer, HodorError):
            raise answer
        return answer

    try:
        yield ask
    finally:
        ours.close()
        process.join(60)  # its workers end first
        if process.is_alive():
            process.terminate()
            process.join()


def _serve(name: str, job: _Job, connection: Connection, gate: Event) -> None:
    """The process: train as long as iterations are requested, then send the memory used."""
    try:
        with using_threads(job.settings.threads):
            memory = peak_memory(lambda: _train(name, job, connection, gate), choose_device(job.settings.device))
            connection.send(memory)
    except HodorError as error:
        connection.send(error)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        gate.set()  # a worker that waits for it could not exit


def _train(name: str, job: _Job, connection: Connection, gate: Event) -> None:
    settings, fast = job.settings, name == ENGINE
    process = Process(settings.device, settings.precision if fast else "fp32")
    began = worked = 0.0

    def wait_for_the_next() -> None:
        nonlocal began, worked
        gate.clear()  # the workers pause until the next request
        more = connection.recv()
        gate.set()  # at the end as well, because a worker that waits could not exit
        if not more:
            raise _EnoughError
        began, worked = time.perf_counter(), time.process_time()

    def after_an_iteration(done: TrainingProgress) -> None:
        synchronise(process.device)
        connection.send(Spent(time.perf_counter() - began, time.process_time() - worked, done.loader_wait))
        wait_for_the_next()

    model, _ = bench_model(settings.weights)
    pictures = SyntheticPhotographs(settings.size, settings.objects, gate=gate if fast else None)
    with tempfile.TemporaryDirectory(prefix="hodor-bench-") as folder:
        try:
            wait_for_the_next()
            run = RunOptions(Path(folder), save_every=_ENDLESS, workers=job.workers if fast else 0)
            sets = [PhotographSet(pictures, job.config.augment)]
            network = model if fast else plain(model)
            # A given micro-batch is run as a whole.
            config = job.config if fast else dataclasses.replace(job.config, micro_batch=job.config.batch_size)
            fit(process, Plan(config, run, Callbacks(progress=after_an_iteration), model=network, sets=sets))
        except _EnoughError:
            pass


def _speed(iterate: Callable[[bool], Any], config: TrainConfig) -> float:
    """Samples per second over `_SETTLED` iterations, after `_SETTLING` in which the number of threads settles."""
    taken = [iterate(True).seconds for _ in range(_SETTLING + _SETTLED)]
    return config.batch_size * _SETTLED / sum(taken[_SETTLING:])


def _report(times: list[Spent], memory: PeakMemory, batch_size: int, precision: str) -> dict[str, Any]:
    seconds = median(t.seconds for t in times)
    return {
        "samples_per_second": round(batch_size / seconds, 4),
        "seconds_per_iteration": round(seconds, 4),
        "seconds_per_iteration_rounds": [round(t.seconds, 4) for t in times],
        "processor_seconds_per_iteration": round(median(t.processor for t in times), 4),
        "precision": precision,
        "peak_host_mib": memory.host_mib,
        "peak_device_mib": memory.device_mib,
    }
