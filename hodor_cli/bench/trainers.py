"""Two ways to train the same network on the same samples: `pretrain`'s own, and the plain one of a first attempt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from hodor_cli.bench.machine import synchronise
from hodor_cli.bench.measure import PLAIN
from hodor_cli.bench.memory import PeakMemory, peak_memory
from hodor_cli.bench.photographs import SyntheticPhotographs
from hodor_cli.bench.plain_network import PlainHodor
from hodor_cli.bench.settings import BenchSettings
from hodor_cli.bench.subject import bench_model
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Step, schedule
from hodor_cli.training.optimiser import WeightAverage, make_optimiser, rate_at, set_rate
from hodor_cli.training.process import Process
from hodor_cli.training.samples.batches import Batch, BatchPlanner, make_batch, make_loader
from hodor_cli.training.step import INPUTS, Learner, Objective


class Spent(NamedTuple):
    """Seconds of an iteration: waiting for or making its samples, the step itself, and the processor's in both.

    processor: of all cores together, in this process alone (a loader's workers are others).
    """

    data: float
    step: float
    processor: float

    @property
    def seconds(self) -> float:
        """On the clock."""
        return self.data + self.step


@dataclass(frozen=True)
class Job:
    """What both ways are told; it is pickled."""

    settings: BenchSettings
    config: TrainConfig
    workers: int
    iterations: int

    def photographs(self, gate: Event | None = None) -> SyntheticPhotographs:
        """The samples' pictures."""
        settings = self.settings
        return SyntheticPhotographs(self.config.augment, size=settings.size, objects=settings.objects, gate=gate)


class Trainer(Protocol):
    """A training that does one iteration after another."""

    device: torch.device

    def batch(self, iteration: int) -> Batch: ...

    def step(self, batch: Batch, iteration: int) -> None: ...

    def rest(self) -> None: ...


class EngineTrainer:
    """As `hodor pretrain` does it: samples from worker processes, fused optimiser, maps with channels last."""

    def __init__(self, job: Job, gate: Event) -> None:
        self.config = config = job.config
        process = Process(job.settings.device, job.settings.precision)
        self.device = process.device
        if self.device.type == "cpu":
            keep_freed_memory()
        model, _ = bench_model(job.settings.weights)
        self.learner = Learner(model, config, process)
        self.gate = gate
        gate.set()
        self.loader = iter(
            make_loader(
                BatchPlanner([job.photographs(gate)], config.batches),
                workers=job.workers,
                end=job.iterations,
                pin_memory=self.device.type == "cuda",
            )
        )

    def batch(self, iteration: int) -> Batch:
        """The next batch of the loader."""
        self.gate.set()
        return next(self.loader)

    def step(self, batch: Batch, iteration: int) -> None:
        """One iteration."""
        rate = rate_at(self.config.learning_rate, iteration, self.config.iterations)
        values, _ = self.learner.step(batch, rate, _steps(self.config, iteration))
        values.tolist()

    def rest(self) -> None:
        """Until the next batch is asked for the workers make nothing."""
        self.gate.clear()


class PlainTrainer:
    """The plain network in float32, samples made in between, AdamW and the average one parameter after the other."""

    def __init__(self, job: Job) -> None:
        self.config = job.config
        self.device = Process(job.settings.device).device
        model, _ = bench_model(job.settings.weights)
        self.model = model.to(self.device)
        self.objective = Objective(PlainHodor(model), supervise=self.config.supervise).train()  # type: ignore[arg-type]
        self.optimiser = make_optimiser(self.objective, self.config, fused=False)
        self.average = _average(self.model, self.config)
        self.planner = BatchPlanner([job.photographs()], self.config.batches)

    def batch(self, iteration: int) -> Batch:
        """Make the samples here and now."""
        return make_batch(self.planner, iteration)

    def step(self, batch: Batch, iteration: int) -> None:
        """One iteration."""
        set_rate(self.optimiser, rate_at(self.config.learning_rate, iteration, self.config.iterations))
        self.optimiser.zero_grad()
        losses, _ = self.objective(*(batch[name].to(self.device) for name in INPUTS), _steps(self.config, iteration))
        losses.total.backward()
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            _move_towards(self.average.values, self.model, 1 - self.average.decay)
        losses.total.item()

    def rest(self) -> None:
        """Nothing goes on between two iterations."""


def make_trainer(name: str, job: Job, gate: Event) -> Trainer:
    """The trainer "plain" or "engine"."""
    return PlainTrainer(job) if name == PLAIN else EngineTrainer(job, gate)


def timed(trainer: Trainer, iteration: int) -> Spent:
    """Do an iteration and say what it took."""
    began, worked = time.perf_counter(), time.process_time()
    batch = trainer.batch(iteration)
    got = time.perf_counter()
    trainer.step(batch, iteration)
    synchronise(trainer.device)
    ended = time.perf_counter()
    spent = Spent(got - began, ended - got, time.process_time() - worked)
    trainer.rest()
    return spent


def memory_of(trainer: Trainer, iteration: int) -> PeakMemory:
    """What an iteration needs."""
    return peak_memory(lambda: timed(trainer, iteration), trainer.device)


def worker_rate(job: Job, batches: int = 2) -> float:
    """Samples per second that one worker process of a loader makes, with a core to itself."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        planner = BatchPlanner([job.photographs()], job.config.batches)
        make_batch(planner, 0)
        # Processor time: what else runs on this machine is not the loader's fault.
        began = time.process_time()
        for iteration in range(batches):
            make_batch(planner, iteration)
        return batches * job.config.batch_size / max(time.process_time() - began, 1e-9)
    finally:
        cv2.setNumThreads(threads)


def _steps(config: TrainConfig, iteration: int) -> tuple[Step, ...]:
    return schedule(config.schedule, iteration, config.sequence)


def _average(model: nn.Module, config: TrainConfig) -> WeightAverage | None:
    return None if config.average is None else WeightAverage(model.named_parameters(), config.average)


@torch.no_grad()
def _move_towards(averages: dict[str, Tensor], model: nn.Module, share: float) -> None:
    for name, parameter in model.named_parameters():
        averages[name].lerp_(parameter, share)
