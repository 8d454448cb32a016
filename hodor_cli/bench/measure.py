"""Measuring segmentation: the accelerated network against the plain one in float32, in one run.

Both process the same frames in turn, a few frames each, for several rounds, so that other load on the machine affects
both alike. Medians are reported; the speed-up is the median of the rounds' ratios.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.bench.clip import BenchClip, make_clip, write_video
from hodor_cli.bench.settings import BenchSettings, bench_model, describe_machine
from hodor_cli.bench.stages import STEP_STAGES, Spent, contended, end_to_end, outside_seconds, stage_seconds
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.model import plain
from hodor_cli.runtime.device import choose_device, precision_name
from hodor_cli.runtime.memory import PeakMemory, peak_memory

#: Called with (units done, units in all).
Progress = Callable[[int, int], None]
PLAIN, ENGINE = "plain", "engine"
#: Frames of an end-to-end run, some seconds, so that its speed settles; and how many such runs, of which the fastest
#: counts.
_WHOLE_FRAMES, _WHOLE_RUNS = 100, 2


@dataclass
class _Runner:
    """A segmenter that goes through the clip, back and forth without end."""

    segmenter: Segmenter
    clip: BenchClip
    position: int = 0

    def start(self) -> None:
        """Start over with the first frame and its objects."""
        self.segmenter.reset()
        self.position = 1
        self.segmenter.step(self.clip.frames[0], self.clip.first_labels)

    def frames(self, count: int) -> list[NDArray[np.uint8]]:
        """The next frames, turning round at the ends of the clip."""
        period = 2 * len(self.clip.frames) - 2
        places = [(self.position + i) % period for i in range(count)]
        self.position += count
        return [self.clip.frames[min(place, period - place)] for place in places]

    def run(self, count: int) -> tuple[Spent, list[NDArray[np.uint16]]]:
        """The mean time per frame over the next `count` frames, and their label maps."""
        frames = self.frames(count)
        began, worked = time.perf_counter(), time.process_time()
        labels = [self.segmenter.step(frame) for frame in frames]
        return Spent((time.perf_counter() - began) / count, (time.process_time() - worked) / count), labels


def measure(settings: BenchSettings, progress: Progress) -> dict[str, Any]:
    """Measure and return what `hodor bench --json` writes. The current number of threads is used, not
    `settings.threads`.

    Keys: plain and engine (frames_per_second, ms_per_frame, peak memory), speedup, end_to_end, contention (end_to_end
    alongside busy processes, None without `contend`), stages (ms per frame), label_pixels (how many differ, None with
    random weights), machine, settings. Raises UsageError, WeightsError or DeviceError.
    """
    device = choose_device(settings.device)
    model, trained = bench_model(settings.weights)
    width, height = settings.size
    clip = make_clip(width, height, max(2 * settings.frames, settings.history + 2), settings.objects)
    min_dim, max_dim = model.config.resolution(settings.min_dim, settings.max_dim)
    fixed = dataclasses.replace(settings, min_dim=min_dim, max_dim=max_dim)  # not raised for small objects
    runners = {
        PLAIN: _Runner(dataclasses.replace(fixed, precision="fp32").segmenter(plain(copy.deepcopy(model))), clip),
        ENGINE: _Runner(fixed.segmenter(model), clip),
    }
    precision = precision_name(runners[ENGINE].segmenter.dtype)
    machine = describe_machine(device)

    total = settings.rounds + 4
    progress(0, total)
    for runner in runners.values():
        runner.start()
    times, different, pixels = _rounds(runners, settings, lambda done: progress(done, total))

    progress(settings.rounds + 1, total)
    found_stages = {name: stage_seconds(run.segmenter, run.frames(settings.frames)) for name, run in runners.items()}
    progress(settings.rounds + 2, total)
    memory = {name: peak_memory(lambda r=runner: r.run(2), device) for name, runner in runners.items()}  # type: ignore[misc]
    progress(settings.rounds + 3, total)
    whole, outside, contention = _around_the_network(runners[ENGINE], settings.contend)
    progress(total, total)

    ratios = [slow.seconds / fast.seconds for slow, fast in zip(times[PLAIN], times[ENGINE], strict=True)]
    return {
        PLAIN: _report(times[PLAIN], memory[PLAIN], "fp32"),
        ENGINE: _report(times[ENGINE], memory[ENGINE], precision),
        "speedup": round(median(ratios), 3),
        "speedup_rounds": [round(ratio, 3) for ratio in ratios],
        "end_to_end": {
            "frames_per_second": round(1 / whole.seconds, 3),
            "processor_ms_per_frame": round(1000 * whole.processor, 3),
            "what": "from an mp4 to masks and overlay",
        },
        "contention": contention,
        "stages": _table(found_stages, outside),
        "label_pixels": {
            "different": different if trained else None,
            "of": pixels,
            "share": round(different / pixels, 6) if trained else None,
        },
        "machine": machine,
        "settings": dataclasses.asdict(settings) | {"device": str(device), "precision": precision, "trained": trained},
    }


def _rounds(
    runners: dict[str, _Runner], settings: BenchSettings, progress: Callable[[int], None]
) -> tuple[dict[str, list[Spent]], int, int]:
    """Each runner's time per frame in each round; and how many pixels of their label maps differ, of how many."""
    # Not timed until the history is full, but these label maps are compared as well.
    warm = {name: runner.run(settings.history)[1] for name, runner in runners.items()}
    different, pixels = _compared(warm)
    times: dict[str, list[Spent]] = {name: [] for name in runners}
    for number in range(settings.rounds):
        progress(1 + number)
        found = {}
        for name in (PLAIN, ENGINE) if number % 2 == 0 else (ENGINE, PLAIN):
            spent, found[name] = runners[name].run(settings.frames)
            times[name].append(spent)
        more = _compared(found)
        different, pixels = different + more[0], pixels + more[1]
    return times, different, pixels


def _compared(found: dict[str, list[NDArray[np.uint16]]]) -> tuple[int, int]:
    """How many pixels of the label maps differ, of how many."""
    pairs = list(zip(found[PLAIN], found[ENGINE], strict=True))
    return sum(int(np.count_nonzero(a != b)) for a, b in pairs), sum(a.size for a, _ in pairs)


def _around_the_network(runner: _Runner, busy: int) -> tuple[Spent, dict[str, float], dict[str, Any] | None]:
    """Time per frame of an end-to-end run; of decoding and of writing alone; and the speed alongside busy processes."""
    runner.start()
    clip = BenchClip([runner.clip.frames[0], *runner.frames(_WHOLE_FRAMES - 1)], runner.clip.first_labels)
    with tempfile.TemporaryDirectory(prefix="hodor-bench-") as folder:
        video = Path(folder) / "clip.mp4"
        write_video(video, clip)
        outside = outside_seconds(video, clip.first_labels, Path(folder))
        spent: list[Spent] = []

        def speed() -> float:
            runner.segmenter.reset()
            with tempfile.TemporaryDirectory(dir=folder) as out:
                spent.append(end_to_end(video, clip.first_labels, runner.segmenter, Path(out) / "out"))
            return 1 / spent[-1].seconds

        contention = contended(speed, busy) if busy else None
        for _ in range(0 if busy else _WHOLE_RUNS):
            speed()
        return min(spent), outside, contention


def _table(found: dict[str, list[dict[str, float]]], outside: dict[str, float]) -> dict[str, dict[str, float]]:
    """Median milliseconds per frame by stage; decoding and writing are the same for both runners."""
    rows = {"decode": dict.fromkeys((PLAIN, ENGINE), outside["decode"])}
    rows |= {
        stage: {name: median(frame[stage] for frame in frames) for name, frames in found.items()}
        for stage in STEP_STAGES
    }
    rows["write"] = dict.fromkeys((PLAIN, ENGINE), outside["write"])
    return {stage: {name: round(1000 * value, 3) for name, value in row.items()} for stage, row in rows.items()}


def _report(times: list[Spent], memory: PeakMemory, precision: str) -> dict[str, Any]:
    seconds = median(t.seconds for t in times)
    return {
        "frames_per_second": round(1 / seconds, 3),
        "ms_per_frame": round(1000 * seconds, 3),
        "ms_per_frame_rounds": [round(1000 * t.seconds, 3) for t in times],
        "processor_ms_per_frame": round(1000 * median(t.processor for t in times), 3),
        "precision": precision,
        "peak_host_mib": memory.host_mib,
        "peak_device_mib": memory.device_mib,
    }
