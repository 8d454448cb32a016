"""Following objects, measured: the engine that `segment` uses against the plain float32 loop, in one run.

Both go through the same frames in turn, a few frames each, for several rounds, so that whatever else the machine does
meets both alike; medians are reported, and the speed-up is the median of the rounds' ratios.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.bench.clip import BenchClip, make_clip, write_video
from hodor_cli.bench.counting import Work, count_work
from hodor_cli.bench.machine import Machine, describe_machine
from hodor_cli.bench.memory import PeakMemory, peak_memory
from hodor_cli.bench.outside import end_to_end, outside_seconds
from hodor_cli.bench.plain import PlainSegmenter
from hodor_cli.bench.settings import BenchSettings
from hodor_cli.bench.subject import bench_model
from hodor_cli.bench.timeline import STEP_STAGES, Stepper, stage_seconds
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.runtime.device import PRECISIONS, autocast, choose_device, choose_precision

#: Called with what is being done and how many units of the total are done.
Progress = Callable[[str, int, int], None]
PLAIN, ENGINE = "plain", "engine"


class Spent(NamedTuple):
    """Seconds a frame: on the clock, and of all processor cores together (which other programs disturb less)."""

    seconds: float
    processor: float


@dataclass
class _Runner:
    """A segmenter on its way through the clip, back and forth without end."""

    segmenter: Stepper
    clip: BenchClip
    position: int = 0

    def start(self) -> None:
        """Begin anew with the first frame and its objects."""
        self.segmenter.reset()
        self.position = 1
        self.segmenter.step(self.clip.frames[0], self.clip.first_labels)

    def frames(self, count: int) -> list[NDArray[np.uint8]]:
        """The next frames, turning round at the ends of the clip."""
        period = 2 * len(self.clip.frames) - 2
        chosen = []
        for _ in range(count):
            place = self.position % period
            chosen.append(self.clip.frames[min(place, period - place)])
            self.position += 1
        return chosen

    def run(self, count: int) -> tuple[Spent, list[NDArray[np.uint16]]]:
        """What a frame took over the next frames, and their label maps."""
        frames = self.frames(count)
        began, worked = time.perf_counter(), time.process_time()
        labels = [self.segmenter.step(frame) for frame in frames]
        return Spent((time.perf_counter() - began) / count, (time.process_time() - worked) / count), labels


def measure(settings: BenchSettings, progress: Progress | None = None) -> dict[str, Any]:
    """Measure and return what `hodor bench --json` writes.

    Keys: plain and engine (frames_per_second, ms_per_frame, operations and bytes of a frame, gflops and their share of
    the machine's measured matrix product, peak memory), speedup, end_to_end, stages (ms per frame), label_pixels
    (how many differ, None with random weights), machine, settings. Raises UsageError, WeightsError or DeviceError.
    """
    with using_threads(settings.threads):
        return _measure(settings, progress or (lambda what, done, total: None))


def _measure(settings: BenchSettings, progress: Progress) -> dict[str, Any]:
    device = choose_device(settings.device)
    model, trained = bench_model(settings.weights)
    precision = precision_name(choose_precision(settings.precision, device, dense=model.config.dense))
    machine = describe_machine(device, tuple(dict.fromkeys(("fp32", precision, "bf16"))))
    width, height = settings.size
    clip = make_clip(width, height, max(2 * settings.frames, settings.history + 2), settings.objects)
    runners = {name: _Runner(segmenter, clip) for name, segmenter in _segmenters(model, settings).items()}

    total = settings.rounds + 4
    progress("warming up", 0, total)
    different = pixels = 0
    for runner in runners.values():
        runner.start()
    # Until the window is full; what both find on the way is compared.
    pairs = [[runner.run(settings.history)[1] for runner in runners.values()]]
    times: dict[str, list[Spent]] = {name: [] for name in runners}
    for number in range(settings.rounds):
        progress("timing", 1 + number, total)
        found = []
        for name in (PLAIN, ENGINE) if number % 2 == 0 else (ENGINE, PLAIN):
            spent, made = runners[name].run(settings.frames)
            times[name].append(spent)
            found.append(made)
        pairs.append(found)
    for one, other in pairs:
        different += sum(int(np.count_nonzero(a != b)) for a, b in zip(one, other, strict=True))
        pixels += sum(a.size for a in one)

    progress("stages", settings.rounds + 1, total)
    stages = {name: _stages(runner, settings.frames) for name, runner in runners.items()}
    progress("operations and memory", settings.rounds + 2, total)
    work = {
        name: count_work(lambda r=runner: r.run(1), partial(autocast, device, dtype))  # type: ignore[misc]
        for (name, runner), dtype in zip(runners.items(), (torch.float32, PRECISIONS[precision]), strict=True)
    }
    memory = {
        name: peak_memory(lambda r=runner: r.run(2), device)  # type: ignore[misc]
        for name, runner in runners.items()
    }
    progress("decoding, writing, end to end", settings.rounds + 3, total)
    with tempfile.TemporaryDirectory(prefix="hodor-bench-") as folder:
        video = Path(folder) / "clip.mp4"
        write_video(video, clip)
        labels = [clip.first_labels] * len(clip.frames)
        outside = outside_seconds(video, clip.frames, labels, Path(folder))
        runners[ENGINE].segmenter.reset()
        whole = end_to_end(video, clip.first_labels, runners[ENGINE].segmenter, Path(folder) / "out")
    progress("done", total, total)

    ratios = [plain.seconds / engine.seconds for plain, engine in zip(times[PLAIN], times[ENGINE], strict=True)]
    return {
        PLAIN: _report(times[PLAIN], work[PLAIN], memory[PLAIN], machine, "fp32"),
        ENGINE: _report(times[ENGINE], work[ENGINE], memory[ENGINE], machine, precision),
        "speedup": round(median(ratios), 3),
        "speedup_rounds": [round(ratio, 3) for ratio in ratios],
        "end_to_end": {"frames_per_second": round(whole, 3), "what": "from an mp4 to masks and overlay"},
        "stages": _table(stages, outside),
        "label_pixels": {
            "different": different if trained else None,
            "of": pixels,
            "share": round(different / pixels, 6) if trained else None,
        },
        "machine": dataclasses.asdict(machine),
        "settings": {
            **dataclasses.asdict(settings),
            "device": str(device),
            "precision": precision,
            "trained": trained,
        },
    }


def _segmenters(model: Any, settings: BenchSettings) -> dict[str, Any]:
    """Both, on the same parameters; each has its own copy, so that the engine may lay its out as it likes."""
    import copy

    device = choose_device(settings.device)
    size: dict[str, Any] = {"min_dim": settings.min_dim, "max_dim": settings.max_dim, "history": settings.history}
    return {
        PLAIN: PlainSegmenter(copy.deepcopy(model), device=device, **size),
        ENGINE: Segmenter(model, device=str(device), precision=settings.precision, **size),
    }


def _stages(runner: _Runner, count: int) -> dict[str, float]:
    """Median seconds of each stage inside a step."""
    found = stage_seconds(runner.segmenter, runner.frames(count))
    return {stage: median(frame[stage] for frame in found) for stage in STEP_STAGES}


def _table(stages: dict[str, dict[str, float]], outside: dict[str, float]) -> dict[str, dict[str, float]]:
    """Milliseconds a frame by stage; decoding and writing are the same for both."""
    rows = {"decode": {PLAIN: outside["decode"], ENGINE: outside["decode"]}}
    rows |= {stage: {name: times[stage] for name, times in stages.items()} for stage in STEP_STAGES}
    rows["write"] = {PLAIN: outside["write"], ENGINE: outside["write"]}
    return {stage: {name: round(1000 * value, 3) for name, value in row.items()} for stage, row in rows.items()}


def _report(times: list[Spent], work: Work, memory: PeakMemory, machine: Machine, precision: str) -> dict[str, Any]:
    seconds = median(t.seconds for t in times)
    gflops = work.operations / seconds / 1e9
    return {
        "frames_per_second": round(1 / seconds, 3),
        "ms_per_frame": round(1000 * seconds, 3),
        "ms_per_frame_rounds": [round(1000 * t.seconds, 3) for t in times],
        "processor_ms_per_frame": round(1000 * median(t.processor for t in times), 3),
        "precision": precision,
        "gigaoperations_per_frame": round(work.operations / 1e9, 3),
        "gbytes_per_frame": round(work.bytes / 1e9, 3),
        "gflops": round(gflops, 1),
        "share_of_matrix_peak": round(gflops / machine.matrix_gflops[precision], 3),
        "peak_host_mib": memory.host_mib,
        "peak_device_mib": memory.device_mib,
    }


def precision_name(dtype: torch.dtype) -> str:
    """ "fp32", "bf16" or "fp16"."""
    return next(name for name, value in PRECISIONS.items() if value == dtype)


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """PyTorch's threads inside the block."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
