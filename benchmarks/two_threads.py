"""What does the second thread bring? Whole runs, from an mp4 to masks and overlay, with and without it in turn.

python benchmarks/two_threads.py
python benchmarks/two_threads.py --precision fp32 --objects 10 --size 1920x1080
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from as_command import as_command

from hodor_cli.bench.clip import make_clip, write_video
from hodor_cli.bench.settings import bench_model, parse_size
from hodor_cli.bench.stages import Spent, end_to_end
from hodor_cli.runtime.threads import wait_briefly

wait_briefly()  # as the command does, before PyTorch is imported

from hodor_cli.engine import LookAhead, Segmenter  # noqa: E402
from hodor_cli.run import loop  # noqa: E402


class OneThread(LookAhead[Any]):
    """Passes the frames on without looking ahead, as for a live source."""

    def __init__(self, frames: Iterable[Any], segmenter: object, picture: Callable[[Any], Any]) -> None:
        super().__init__(frames, None, picture)


def main(
    weights: str = "mini",
    size: str = "854x480",
    objects: int = 1,
    frames: int = 60,
    rounds: int = 5,
    precision: str = "auto",
) -> None:
    """Print frames/s and processor time of both ways, and the median of the rounds' ratios."""
    clip = make_clip(*parse_size(size), frames, objects)
    model, _ = bench_model(weights)
    ways = {"one thread": OneThread, "two threads": LookAhead}
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        write_video(video := Path(folder) / "clip.mp4", clip)
        for number in range(rounds):
            for name, way in ways.items():
                segmenter = Segmenter(model, precision=precision)
                out = Path(folder) / f"{number} {name}"
                with patch.object(loop, "LookAhead", way):
                    spent[name].append(end_to_end(video, clip.first_labels, segmenter, out))
    for name, times in spent.items():
        seconds, processor = median(t.seconds for t in times), median(t.processor for t in times)
        print(f"{name}: {1 / seconds:.1f} frames/s, {1000 * processor:.1f} ms of processor time a frame")
    ratios = sorted(a.seconds / b.seconds for a, b in zip(*spent.values(), strict=True))
    print(f"{median(ratios):.2f} times as fast (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    as_command(main, __doc__)
