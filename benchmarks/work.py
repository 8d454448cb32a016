# ruff: noqa: T201
"""The operations and bytes of a frame by stage, counted: the plain loop and the engine. Says nothing about time.

python benchmarks/work.py --weights swin-tiny --objects 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from hodor_cli.bench.clip import make_clip
from hodor_cli.bench.counting import Work, count_work
from hodor_cli.bench.plain import PlainSegmenter
from hodor_cli.bench.subject import bench_model
from hodor_cli.engine import Segmenter

STAGES = ("extract", "match", "decode", "encode")


class Counted:
    """Stands before a network and counts the work of its stages."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.work: dict[str, Work] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._network, name)
        return self._counting(name, value) if name in STAGES else value

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            results: list[Any] = []
            self.work[name] = count_work(lambda: results.append(function(*args, **kwargs)))
            return results[0]

        return call


def main() -> None:
    """Count what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="swin-tiny")
    parser.add_argument("--objects", type=int, default=2)
    arguments = parser.parse_args()
    model, _ = bench_model(arguments.weights)
    clip = make_clip(854, 480, 12, arguments.objects)
    for kind in (PlainSegmenter, Segmenter):
        segmenter: Any = kind(model, device="cpu")
        segmenter.step(clip.frames[0], clip.first_labels)
        for frame in clip.frames[1:9]:  # until the window is full
            segmenter.step(frame)
        network = segmenter.model
        segmenter.model = counted = Counted(network)
        segmenter.step(clip.frames[9])
        segmenter.model = network
        whole = count_work(lambda: segmenter.step(clip.frames[10]))  # noqa: B023
        for stage, work in (*counted.work.items(), ("whole step", whole)):
            size = f"{work.operations / 1e9:8.2f} GF {work.bytes / 1e9:7.2f} GB"
            print(f"{kind.__name__:<16} {stage:<12} {size}", flush=True)


if __name__ == "__main__":
    main()
