"""Where the time of a step goes: extract, encode, and what lies between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.bench.machine import synchronise

#: Stages of a step, in order; each frame's seconds add up to its step.
STEP_STAGES = ("resize", "extract", "decode_masks", "encode")


class Stepper(Protocol):
    """A segmenter: the engine's or the plain one."""

    model: Any
    device: torch.device

    def reset(self) -> None: ...

    def step(self, frame: NDArray[np.uint8], masks: Any = None) -> NDArray[np.uint16]: ...


class _Watched:
    """Stands before a network and notes when `extract` and `encode` begin and end."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network, self._device = network, device
        self.events: list[tuple[str, float, float]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._network, name)
        return self._timed(name, value) if name in ("extract", "encode") else value

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            synchronise(self._device)
            began = time.perf_counter()
            result = function(*args, **kwargs)
            synchronise(self._device)
            self.events.append((name, began, time.perf_counter()))
            return result

        return call


@contextmanager
def _watching(segmenter: Stepper) -> Iterator[_Watched]:
    watched = _Watched(segmenter.model, segmenter.device)
    segmenter.model = watched
    try:
        yield watched
    finally:
        segmenter.model = watched._network


def stage_seconds(segmenter: Stepper, frames: list[NDArray[np.uint8]]) -> list[dict[str, float]]:
    """Seconds of each stage for each frame, in the middle of a video (objects are known already).

    resize: from the frame to the network's input; extract: feature maps; encode: the next descriptors; decode_masks:
    all the rest, from the history to the label map.
    """
    found = []
    with _watching(segmenter) as watched:
        for frame in frames:
            watched.events.clear()
            began = time.perf_counter()
            segmenter.step(frame)
            total = time.perf_counter() - began
            extract, encode = (
                sum(ended - begun for name, begun, ended in watched.events if name == stage)
                for stage in ("extract", "encode")
            )
            resize = next((begun for name, begun, _ in watched.events if name == "extract"), began) - began
            rest = max(total - resize - extract - encode, 0.0)
            found.append({"resize": resize, "extract": extract, "decode_masks": rest, "encode": encode})
    return found
