# ruff: noqa: T201
"""Does it pay to extract the next frame's features in a thread of their own? Both ways in turn, on the CPU.

python benchmarks/ahead.py                       # (threads for the features, threads for the masks), against one after
python benchmarks/ahead.py --weights swin-tiny --objects 2 --rounds 3     # the other with all threads
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from contextlib import nullcontext
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from hodor_cli.bench.clip import BenchClip, make_clip
from hodor_cli.bench.settings import parse_size
from hodor_cli.bench.subject import bench_model
from hodor_cli.engine import Segmenter
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.preprocess import Geometry, prepare_frame


class Ahead:
    """Stands in for a network: `extract` gives what another thread has made, all else is the network's."""

    def __init__(self, model: Hodor, clip: BenchClip, geometry: Geometry, frames: range, threads: int) -> None:
        self._model, self._made = model, queue.Queue[Any](1)

        @torch.inference_mode()
        def make() -> None:
            torch.set_num_threads(threads)  # of this thread alone
            for index in frames:
                image = prepare_frame(
                    clip.frames[index % len(clip.frames)], geometry, model.config, torch.device("cpu")
                )
                self._made.put(model.extract(image))

        threading.Thread(target=make, daemon=True).start()

    def extract(self, _: object) -> Any:
        """The maps of the next frame."""
        return self._made.get()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=12, help="frames of each round")
    arguments = parser.parse_args()
    clip = make_clip(*parse_size(arguments.size), 24, arguments.objects)
    model, _ = bench_model(arguments.weights)
    every = torch.get_num_threads()
    ways = [None, *dict.fromkeys([(max(1, every // 2), max(1, every - every // 2)), (max(1, every // 2), every)])]
    seconds: dict[Any, list[float]] = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in ways:
            seconds[way].append(_round(model, clip, arguments.frames, way))
            torch.set_num_threads(every)
    for way, times in seconds.items():
        name = f"one after the other, {every} threads" if way is None else f"ahead, threads {way[0]} + {way[1]}"
        ratio = median(b / a for a, b in zip(seconds[None], times, strict=True))
        print(f"{name}: {1000 * median(times):.1f} ms a frame, {ratio:.2f} of the first")


def _round(model: Hodor, clip: BenchClip, frames: int, way: tuple[int, int] | None) -> float:
    """Seconds a frame."""
    segmenter = Segmenter(model, device="cpu", precision="fp32")
    segmenter.step(clip.frames[0], clip.first_labels)
    for index in range(1, 9):
        segmenter.step(clip.frames[index])
    if way is not None:
        height, width = clip.first_labels.shape
        geometry = Geometry.of(height, width, min_dim=segmenter.min_dim, max_dim=segmenter.max_dim)
        segmenter.model = Ahead(model, clip, geometry, range(9, 11 + frames), way[0])  # type: ignore[assignment]
        torch.set_num_threads(way[1])
    with patch("hodor_cli.engine.segmenter.prepare_frame", lambda *_: None) if way else nullcontext():
        segmenter.step(clip.frames[9])
        segmenter.step(clip.frames[10])
        began = time.perf_counter()
        for index in range(11, 11 + frames):
            segmenter.step(clip.frames[index % len(clip.frames)])
        return (time.perf_counter() - began) / frames


if __name__ == "__main__":
    main()
