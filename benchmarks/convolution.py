# ruff: noqa: T201
"""What the short 3x3 convolutions bring: plain, the engine with direct ones, and the engine, frame by frame in turn.

python benchmarks/convolution.py --weights swin-tiny --objects 2 [--threads 2] [--rounds 5]
"""

from __future__ import annotations

import argparse
import copy
import time
from statistics import median
from typing import Any

import torch

from hodor_cli.bench.clip import make_clip
from hodor_cli.bench.plain import PlainSegmenter
from hodor_cli.bench.subject import bench_model
from hodor_cli.engine import Segmenter
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.winograd import Conv3x3


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="swin-tiny")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, _ = bench_model(arguments.weights)
    clip = make_clip(854, 480, 12, arguments.objects)
    segmenters: dict[str, Any] = {
        "plain": PlainSegmenter(copy.deepcopy(model)),
        "engine, direct convolutions": Segmenter(with_direct_convolutions(model), device="cpu", precision="fp32"),
        "engine": Segmenter(model, device="cpu", precision="fp32"),
    }
    for segmenter in segmenters.values():
        segmenter.step(clip.frames[0], clip.first_labels)
        for frame in clip.frames[1:9]:  # until the window is full
            segmenter.step(frame)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in segmenters}
    for number in range(arguments.rounds):
        for name in list(segmenters)[:: 1 if number % 2 == 0 else -1]:
            worked, began = time.process_time(), time.perf_counter()
            segmenters[name].step(clip.frames[2 + number % 10])
            spent[name].append((time.process_time() - worked, time.perf_counter() - began))
    for name, times in spent.items():
        processor, clock = (1000 * median(column) for column in zip(*times, strict=True))
        ratio = median(plain[1] / own[1] for plain, own in zip(spent["plain"], times, strict=True))
        print(f"{name:<28} {clock:7.0f} ms a frame, {processor:7.0f} ms of processor time, {ratio:.2f} times plain")


def with_direct_convolutions(model: Hodor) -> Hodor:
    """A copy whose 3x3 convolutions are PyTorch's."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, Conv3x3):
            layer.__class__ = torch.nn.Conv2d  # type: ignore[assignment]
    return model


if __name__ == "__main__":
    main()
