"""What do more history, objects and frames cost? The engine with one setting and with another, in turn.

python benchmarks/costs.py                            # history 10 against 1, and 10 objects against 1
python benchmarks/costs.py --weights swin-tiny --rounds 3
python benchmarks/costs.py --long 10000 --size 192x108   # memory after 100 frames and at the end
"""

from __future__ import annotations

import argparse
import resource
import time
from statistics import median

import numpy as np
import torch

from hodor_cli.bench.clip import BenchClip, make_clip
from hodor_cli.bench.settings import bench_model, parse_size
from hodor_cli.engine import Segmenter


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=4, help="frames of each round")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--long", type=int, help="follow one object for this many frames and print the memory")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.long:
        watch_memory(arguments)
        return
    for name, settings in (("history", ((1, 1), (10, 1))), ("objects", ((7, 1), (7, 10)))):
        seconds = compare(settings, arguments)
        ratio = median(b / a for a, b in zip(*seconds, strict=True))
        shown = " and ".join(f"{1000 * median(times):.1f} ms" for times in seconds)
        print(f"{name}: 10 costs {100 * (ratio - 1):+.1f} % over 1 ({shown} of processor time a frame)")


def compare(settings: tuple[tuple[int, int], ...], arguments: argparse.Namespace) -> list[list[float]]:
    """Processor seconds a frame, by round, for each (history, objects)."""
    width, height = parse_size(arguments.size)
    runs: list[tuple[Segmenter, BenchClip]] = []
    model, _ = bench_model(arguments.weights)
    for history, objects in settings:
        clip = make_clip(width, height, 24, objects)
        segmenter = Segmenter(model, history=history, device=arguments.device)
        segmenter.step(clip.frames[0], clip.first_labels)
        for index in range(1, 11):  # until the longest window is full
            segmenter.step(clip.frames[index])
        runs.append((segmenter, clip))
    seconds: list[list[float]] = [[] for _ in runs]
    for number in range(arguments.rounds):
        for times, (segmenter, clip) in zip(seconds, runs, strict=True):
            began = time.process_time()
            for frame in range(arguments.frames):
                segmenter.step(clip.frames[11 + (number * arguments.frames + frame) % 13])
            times.append((time.process_time() - began) / arguments.frames)
    return seconds


def watch_memory(arguments: argparse.Namespace) -> None:
    """Print the process's largest memory after 100 frames and at the end."""
    clip = make_clip(*parse_size(arguments.size), 24, 1)
    model, _ = bench_model(arguments.weights)
    segmenter = Segmenter(model, device=arguments.device)
    for index in range(arguments.long):
        place = index % 46
        segmenter.step(clip.frames[min(place, 46 - place)], clip.first_labels if index == 0 else None)
        if index + 1 in (100, arguments.long):
            largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            state = sum(np.asarray(value).nbytes for value in segmenter.state().values())
            print(f"{index + 1} frames: {largest:.0f} MiB at most, state {state / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
