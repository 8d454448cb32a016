"""What do more history, objects and frames cost? The engine with one setting and with another, in turn.

python benchmarks/costs.py                            # history 10 against 1, and 10 objects against 1
python benchmarks/costs.py --weights swin-tiny --rounds 3
python benchmarks/costs.py --long 10000 --size 192x108   # memory after 100 frames and at the end
"""

from __future__ import annotations

import resource
import time
from statistics import median

import numpy as np
import torch
from as_command import as_command

from hodor_cli.bench.clip import BenchClip, make_clip
from hodor_cli.bench.settings import bench_model, parse_size
from hodor_cli.engine import Segmenter
from hodor_cli.model import Hodor


def main(
    weights: str = "mini",
    size: str = "854x480",
    rounds: int = 7,
    frames: int = 4,
    threads: int | None = None,
    device: str = "auto",
    long: int | None = None,
) -> None:
    """Measure what the command line asks for. frames: of each round. long: frames to follow one object for."""
    if threads:
        torch.set_num_threads(threads)
    model, sides = bench_model(weights)[0], parse_size(size)
    if long:
        watch_memory(model, sides, device, long)
        return
    for name, settings in (("history", ((1, 1), (10, 1))), ("objects", ((7, 1), (7, 10)))):
        runs = [begun(model, sides, device, history, objects) for history, objects in settings]
        seconds = compare(runs, rounds, frames)
        ratio = median(b / a for a, b in zip(*seconds, strict=True))
        shown = " and ".join(f"{1000 * median(times):.1f} ms" for times in seconds)
        print(f"{name}: 10 costs {100 * (ratio - 1):+.1f} % over 1 ({shown} of processor time a frame)")


def begun(model: Hodor, size: tuple[int, int], device: str, history: int, objects: int) -> tuple[Segmenter, BenchClip]:
    """A clip, and a segmenter that has followed its objects until the longest history is full."""
    clip, segmenter = make_clip(*size, 24, objects), Segmenter(model, history=history, device=device)
    for index in range(11):
        segmenter.step(clip.frames[index], None if index else clip.first_labels)
    return segmenter, clip


def compare(runs: list[tuple[Segmenter, BenchClip]], rounds: int, frames: int) -> list[list[float]]:
    """Processor seconds a frame, by round, for each run."""
    seconds: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        for times, (segmenter, clip) in zip(seconds, runs, strict=True):
            began = time.process_time()
            for frame in range(frames):
                segmenter.step(clip.frames[11 + (number * frames + frame) % 13])
            times.append((time.process_time() - began) / frames)
    return seconds


def watch_memory(model: Hodor, size: tuple[int, int], device: str, frames: int) -> None:
    """Print the process's largest memory after 100 frames and at the end."""
    clip, segmenter = make_clip(*size, 24, 1), Segmenter(model, device=device)
    for index in range(frames):
        place = index % 46
        segmenter.step(clip.frames[min(place, 46 - place)], None if index else clip.first_labels)
        if index + 1 in (100, frames):
            largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            state = sum(np.asarray(value).nbytes for value in segmenter.state().values())
            print(f"{index + 1} frames: {largest:.0f} MiB at most, state {state / 1024:.0f} KiB")


if __name__ == "__main__":
    as_command(main, __doc__)
