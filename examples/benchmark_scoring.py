"""Compares the speed of scoring masks with vos-benchmark, on the same masks with the same number of processes.

    python examples/benchmark_scoring.py                         # on generated masks
    python examples/benchmark_scoring.py TRUTH PREDICTIONS       # on folders SEQ/FRAME.png

Both read the same files in turn, their values must agree, and the best time of each is reported. Needs
`pip install vos-benchmark tqdm`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hodor_cli.datasets.dataset import recognise
from hodor_cli.evaluation.predictions import score_predictions
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.runtime.threads import usable_cores


def draw_masks(root: Path, sequences: int, frames: int, objects: int) -> tuple[Path, Path]:
    """Draw blobs that wander over 854x480 frames, and predictions that lag behind and have rougher edges."""
    rng = np.random.default_rng(0)
    for number in range(sequences):
        place = rng.uniform((100, 100), (750, 380), (objects, 2))
        speed = rng.uniform(-4, 4, (objects, 2))
        sides = rng.uniform(30, 110, (objects, 2))
        for kind, lag, noise in (("truth", 0, 0.0), ("predictions", 1, 2.0)):
            folder = root / kind / f"sequence-{number}"
            folder.mkdir(parents=True)
            for t in range(frames):
                labels = np.zeros((480, 854), np.uint8)
                for index in range(objects):
                    center = place[index] + speed[index] * max(0, t - lag)
                    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
                    wobble = 1 + 0.15 * np.sin(5 * angles + t / 9 + index)
                    outline = center + sides[index] * np.stack([np.cos(angles), np.sin(angles)], 1) * wobble[:, None]
                    outline += rng.normal(0, noise, outline.shape) if noise else 0
                    cv2.fillPoly(labels, [outline.astype(np.int32)], index + 1)
                image = Image.fromarray(labels)
                image.putpalette([value % 256 for value in range(768)])
                image.save(folder / f"{t:05d}.png")
    return root / "truth", root / "predictions"


def best_of(runs: list[Callable[[], float]], repeats: int) -> tuple[list[float], list[float]]:
    """Call the runs in turn; return the best seconds and the value of each."""
    seconds, values = [float("inf")] * len(runs), [0.0] * len(runs)
    for _ in range(repeats):
        for index, run in enumerate(runs):
            begun = time.perf_counter()
            values[index] = run()
            seconds[index] = min(seconds[index], time.perf_counter() - begun)
    return seconds, values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="TRUTH PREDICTIONS")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes of each program")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=6)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--objects", type=int, default=1)
    options = parser.parse_args()
    try:
        from vos_benchmark.benchmark import benchmark
    except ImportError as error:
        print(f"vos-benchmark is not installed ({error}): pip install vos-benchmark tqdm", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        if len(options.folders) == 2:
            truth, given = options.folders
            # vos-benchmark writes a file next to the predictions, so give it links in a temporary folder.
            predictions = Path(temporary) / "predictions"
            predictions.mkdir()
            for folder in given.iterdir():
                if folder.is_dir():
                    (predictions / folder.name).symlink_to(folder.resolve())
        else:
            truth, predictions = draw_masks(Path(temporary), options.sequences, options.frames, options.objects)

        def ours() -> float:
            found = recognise(truth)
            scored = score_predictions(found, predictions, workers=options.workers)
            assert not scored.failed, scored.failed
            return EvaluationResult(str(truth), scored.scores).jf

        def theirs() -> float:
            jf, *_ = benchmark([str(truth)], [str(predictions)], num_processes=options.workers, verbose=False)
            return float(jf[0])

        (our_seconds, their_seconds), (value, other) = best_of([ours, theirs], options.repeats)
        frames = sum(len(list(folder.iterdir())) for folder in truth.iterdir() if folder.is_dir())
        print(f"{frames} frames, {options.workers} processes")
        print(f"hodor          {our_seconds:7.3f} s  {frames / our_seconds:7.0f} frames/s  J&F {100 * value:.6f}")
        print(f"vos-benchmark  {their_seconds:7.3f} s  {frames / their_seconds:7.0f} frames/s  J&F {other:.6f}")
        print(f"{their_seconds / our_seconds:.1f} times as fast")
        return 0 if abs(100 * value - other) < 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main())
