"""Where the time of a video goes: stages of a step, decoding and writing, end to end, and alongside busy processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hodor_cli.bench.clip import FPS
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.runtime.device import synchronise

#: Stages of a step, in order; each frame's seconds add up to its step.
STEP_STAGES = ("resize", "extract", "decode_masks", "encode")


class Spent(NamedTuple):
    """Seconds per frame or iteration: on the clock, and of all processor cores together, which other programs disturb
    less. waiting: the share of the training so far that was spent waiting for samples."""

    seconds: float
    processor: float
    waiting: float = 0.0


def stage_seconds(segmenter: Segmenter, frames: list[NDArray[np.uint8]]) -> list[dict[str, float]]:
    """Seconds of each stage for each frame, in the middle of a video, when objects are known already.

    resize: from the frame to the network's input; extract: feature maps; encode: the next descriptors; decode_masks:
    the rest, from the history to the label map.
    """
    model: Any = segmenter.model
    events: list[tuple[str, float, float]] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            synchronise(segmenter.device)
            began = time.perf_counter()
            result = function(*args, **kwargs)
            synchronise(segmenter.device)
            events.append((name, began, time.perf_counter()))
            return result

        return call

    model.extract, model.encode = timed("extract", model.extract), timed("encode", model.encode)
    found = []
    try:
        for frame in frames:
            events.clear()
            start = time.perf_counter()
            segmenter.step(frame)
            step = time.perf_counter() - start
            spent = {
                name: sum(end - begin for of, begin, end in events if of == name) for name in ("extract", "encode")
            }
            spent["resize"] = next(begin for of, begin, _ in events if of == "extract") - start
            spent["decode_masks"] = step - sum(spent.values())
            found.append({name: spent[name] for name in STEP_STAGES})
        return found
    finally:
        del model.extract, model.encode  # restores the class's methods


def outside_seconds(video: Path, labels: NDArray[np.uint16], folder: Path) -> dict[str, float]:
    """Median seconds per frame for `decode` (of the video) and `write` (mask PNG, overlay drawn and encoded)."""
    from hodor_cli.images.label_png import write_label_png
    from hodor_cli.run.settings import SegmentSettings
    from hodor_cli.video.h264 import VideoWriter
    from hodor_cli.video.overlay import draw_on_video
    from hodor_cli.video.source import open_source

    decoding: list[float] = []
    writing: list[float] = []
    side = SegmentSettings.overlay_side
    with open_source(video) as source, VideoWriter(folder / "overlay.mp4", FPS, side=side) as overlay:
        before = time.perf_counter()
        for frame in source:
            decoded = time.perf_counter()
            write_label_png(folder / "mask.png", labels)
            overlay.write(draw_on_video(overlay, frame.picture, labels))
            written = time.perf_counter()
            decoding.append(decoded - before)
            writing.append(written - decoded)
            before = written
    return {"decode": median(decoding[1:] or decoding), "write": median(writing[1:] or writing)}


def end_to_end(video: Path, first_labels: NDArray[np.uint16], segmenter: Segmenter, out: Path) -> Spent:
    """Time per frame of `segment_source`, from the opened video to finished masks, overlay and report."""
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.runner import segment_source
    from hodor_cli.video.source import open_source

    with open_source(video) as source:
        began, worked = time.perf_counter(), time.process_time()
        frames = segment_source(source, RunInputs({0: first_labels}), out, segmenter).frames
        return Spent((time.perf_counter() - began) / frames, (time.process_time() - worked) / frames)


#: How often both speeds are measured, in turn.
_ROUNDS = 2
#: Keeps a core busy until the parent ends, which may be killed, even before this begins: so it is told the parent's id.
_BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"


def contended(speed: Callable[[], float], count: int) -> dict[str, Any]:
    """The result of `speed` (units per second) alone and alongside `count` busy processes, and their ratio."""
    alone, beside = [], []
    for _ in range(_ROUNDS):
        alone.append(speed())
        command = [sys.executable, "-S", "-c", _BUSY, str(os.getpid())]
        with ExitStack() as busy:
            for _ in range(count):
                process = busy.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
                busy.callback(process.kill)
            beside.append(speed())
    return {
        "processes": count,
        "alone": round(median(alone), 3),
        "beside": round(median(beside), 3),
        "share": round(median(beside) / median(alone), 3),
    }
