"""Training, measured: the loop that `pretrain` runs against the same iterations through the plain float32 network."""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hodor_cli.bench.clip import texture
from hodor_cli.bench.machine import describe_machine, synchronise
from hodor_cli.bench.measure import ENGINE, PLAIN, Progress, precision_name, using_threads
from hodor_cli.bench.memory import PeakMemory, peak_memory
from hodor_cli.bench.plain_network import PlainHodor
from hodor_cli.bench.settings import BenchSettings
from hodor_cli.bench.subject import bench_model
from hodor_cli.data.layers import Masks
from hodor_cli.data.loader import Batch, make_loader
from hodor_cli.data.sample import TrainingSample
from hodor_cli.data.sequence import make_still_sequence
from hodor_cli.data.settings import AugmentSettings
from hodor_cli.inference.device import autocast, choose_device, choose_precision
from hodor_cli.model.hodor import Hodor
from hodor_cli.training.config import PRESETS, TrainConfig
from hodor_cli.training.cycles import schedule
from hodor_cli.training.objective import Objective
from hodor_cli.training.optimiser import make_optimiser

_INPUTS = ("frames", "masks", "valid", "presence")
#: The training preset that belongs to an architecture.
_PRESET_OF = {"swin-tiny": "paper-coco", "mini": "mini", "toy": "toy"}


class SyntheticPhotographs:
    """A `TrainingSet` of pictures made on the spot, with `objects` ellipses each."""

    def __init__(self, settings: AugmentSettings, *, size: tuple[int, int], objects: int, count: int = 8) -> None:
        self.settings = settings
        width, height = size
        self.sizes = [(height, width)] * count
        self.object_counts = [objects] * count
        self.groups = ["synthetic"] * count

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sequence of picture `index`."""
        image, masks = self._picture(index)
        return make_still_sequence(
            image, masks[:num_objects], rng, self.settings, out_size, name=str(index), others=self._other
        )

    def _other(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
        return self._picture(int(rng.integers(len(self.sizes))))

    def _picture(self, index: int) -> tuple[NDArray[np.uint8], Masks]:
        rng = np.random.default_rng(index)
        height, width = self.sizes[index]
        image = texture(width, height, rng)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        masks = []
        for place in range(self.object_counts[index]):
            centre = ((place + 0.5) / self.object_counts[index] * width, rng.uniform(0.4, 0.6) * height)
            radii = (0.4 * width / self.object_counts[index], 0.3 * height)
            mask = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
            image[mask] = texture(width, height, rng)[mask]
            masks.append(mask)
        return image, masks


class _Spent(NamedTuple):
    seconds: float
    processor: float


@dataclass
class _Learner:
    """A network, its optimiser, and how an iteration goes through them."""

    objective: Objective
    config: TrainConfig
    device: torch.device
    dtype: torch.dtype

    def __post_init__(self) -> None:
        self.objective.train()
        self.optimiser = make_optimiser(self.objective, self.config)

    def iterate(self, batch: Batch, iteration: int) -> None:
        """Forward, backward and a step of the optimiser."""
        inputs = [batch[name].to(self.device, non_blocking=True) for name in _INPUTS]
        steps = schedule(self.config.schedule, iteration, self.config.sequence)
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.device, self.dtype):
            losses, _ = self.objective(*inputs, steps)
        losses.total.backward()
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip_norm)
        self.optimiser.step()
        synchronise(self.device)

    def timed(self, batch: Batch, iteration: int) -> _Spent:
        """What an iteration takes."""
        began, worked = time.perf_counter(), time.process_time()
        self.iterate(batch, iteration)
        return _Spent(time.perf_counter() - began, time.process_time() - worked)


def measure_training(
    settings: BenchSettings,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure training and return what `hodor bench --train --json` writes.

    Keys: plain and engine (samples_per_second, seconds_per_iteration, peak memory), speedup, loader (workers,
    samples_per_second with it, idle_share: the part of the time that training waits for it), machine, settings.
    `batch_size` is the preset's by default, on a CPU at most 2. `settings.frames` and `history` are not used.
    """
    with using_threads(settings.threads):
        return _measure(settings, batch_size, workers, progress or (lambda what, done, total: None))


def _measure(
    settings: BenchSettings, batch_size: int | None, workers: int | None, progress: Progress
) -> dict[str, Any]:
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    precision = precision_name(dtype)
    model, trained = bench_model(settings.weights)
    config = _config(model, batch_size, device)
    machine = describe_machine(device, tuple(dict.fromkeys(("fp32", precision))))
    photographs = SyntheticPhotographs(config.augment, size=settings.size, objects=settings.objects)
    learners = _learners(model, config, device, dtype)

    total = settings.rounds + 4
    progress("making samples", 0, total)
    batches = list(make_loader([photographs], config.batches, workers=0, end_iteration=2))
    progress("warming up", 1, total)
    for learner in learners.values():
        learner.iterate(batches[0], 0)
    times: dict[str, list[_Spent]] = {name: [] for name in learners}
    for number in range(settings.rounds):
        progress("timing", 2 + number, total)
        for name in (PLAIN, ENGINE) if number % 2 == 0 else (ENGINE, PLAIN):
            times[name].append(learners[name].timed(batches[number % 2], number))
    progress("memory", settings.rounds + 2, total)
    memory = {
        name: peak_memory(lambda at=learner: at.iterate(batches[0], 0), device)  # type: ignore[misc]
        for name, learner in learners.items()
    }
    progress("loader", settings.rounds + 3, total)
    workers = max(machine.cores - 1, 1) if workers is None else workers
    loader = _with_loader(learners[ENGINE], photographs, config, workers, iterations=max(settings.rounds, 3))
    progress("done", total, total)

    ratios = [plain.seconds / engine.seconds for plain, engine in zip(times[PLAIN], times[ENGINE], strict=True)]
    return {
        PLAIN: _report(times[PLAIN], memory[PLAIN], config, "fp32"),
        ENGINE: _report(times[ENGINE], memory[ENGINE], config, precision),
        "speedup": round(median(ratios), 3),
        "speedup_rounds": [round(ratio, 3) for ratio in ratios],
        "loader": loader,
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


def _config(model: Hodor, batch_size: int | None, device: torch.device) -> TrainConfig:
    config = PRESETS[_PRESET_OF.get(model.config.name, "paper-coco")]
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


def _learners(model: Hodor, config: TrainConfig, device: torch.device, dtype: torch.dtype) -> dict[str, _Learner]:
    plain = PlainHodor(copy.deepcopy(model).to(device))
    engine = copy.deepcopy(model).to(device)
    engine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the training loop does
    supervise = config.supervise
    return {
        PLAIN: _Learner(Objective(plain, supervise=supervise), config, device, torch.float32),  # type: ignore[arg-type]
        ENGINE: _Learner(Objective(engine, supervise=supervise), config, device, dtype),
    }


def _with_loader(
    learner: _Learner, photographs: SyntheticPhotographs, config: TrainConfig, workers: int, *, iterations: int
) -> dict[str, Any]:
    """Train on what the loader makes meanwhile; the first iterations, in which it starts up, are not counted."""
    ahead = workers + 1
    loader = iter(make_loader([photographs], config.batches, workers=workers, end_iteration=ahead + iterations))
    for iteration in range(ahead):
        learner.iterate(next(loader), iteration)
    waited = 0.0
    began = time.perf_counter()
    for iteration in range(iterations):
        asked = time.perf_counter()
        batch = next(loader)
        waited += time.perf_counter() - asked
        learner.iterate(batch, iteration)
    seconds = time.perf_counter() - began
    return {
        "workers": workers,
        "samples_per_second": round(iterations * config.batch_size / seconds, 3),
        "idle_share": round(waited / seconds, 4),
    }


def _report(times: list[_Spent], memory: PeakMemory, config: TrainConfig, precision: str) -> dict[str, Any]:
    seconds = median(t.seconds for t in times)
    return {
        "samples_per_second": round(config.batch_size / seconds, 4),
        "seconds_per_iteration": round(seconds, 4),
        "seconds_per_iteration_rounds": [round(t.seconds, 4) for t in times],
        "processor_seconds_per_iteration": round(median(t.processor for t in times), 4),
        "precision": precision,
        "peak_host_mib": memory.host_mib,
        "peak_device_mib": memory.device_mib,
    }
