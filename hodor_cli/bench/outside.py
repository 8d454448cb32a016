"""What happens around the network: decoding a video, writing masks and overlay, and all of it together."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.bench.clip import FPS


def outside_seconds(
    video: Path, frames: list[NDArray[np.uint8]], labels: list[NDArray[np.uint16]], folder: Path
) -> dict[str, float]:
    """Median seconds a frame for `decode` (the video to RGB) and `write` (mask PNG, overlay drawn and encoded)."""
    from hodor_cli.images.label_png import write_label_png
    from hodor_cli.video.overlay import OverlayWriter
    from hodor_cli.video.source import open_source

    decoding: list[float] = []
    with open_source(video) as source:
        before = time.perf_counter()
        for _ in source:
            now = time.perf_counter()
            decoding.append(now - before)
            before = now
    writing: list[float] = []
    with OverlayWriter(folder / "overlay.mp4", FPS) as overlay:
        for frame, label in zip(frames, labels, strict=True):
            before = time.perf_counter()
            write_label_png(folder / "mask.png", label)
            overlay.write(frame, label)
            writing.append(time.perf_counter() - before)
    return {"decode": median(decoding[1:] or decoding), "write": median(writing[1:] or writing)}


def end_to_end(video: Path, first_labels: NDArray[np.uint16], segmenter: Any, out: Path) -> float:
    """Frames a second of `hodor segment`, from the opened video to finished masks, overlay and report."""
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.runner import segment_source
    from hodor_cli.video.source import open_source

    with open_source(video) as source:
        began = time.perf_counter()
        summary = segment_source(source, RunInputs({0: first_labels}), out, segmenter)
        return summary.frames / (time.perf_counter() - began)
