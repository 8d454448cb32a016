"""Could HODOR itself make masks from clicks? Clicks as its soft masks, scored as by `hodor evaluate-clicks`.

    python benchmarks/click_prompts.py DAVIS
    python benchmarks/click_prompts.py DAVIS --radius 0.05 --rounds 2 --cue

The mask so far, with a disc added at each positive click and removed at each negative one, is encoded to a descriptor,
and the same frame is decoded from it; the result is the next mask so far. docs/experiments.md compares it with the
click network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from as_command import as_command
from numpy.typing import NDArray

from hodor_cli.clicks.evaluation import REPORTED, TARGETS, cases_of, evaluate_clicks
from hodor_cli.engine import Segmenter
from hodor_cli.weights import load_model

Mask = NDArray[np.bool_]


class DescriptorClicker:
    """Segments one object of a frame from clicks, by a descriptor of what was clicked.

    Args:
        weights: Name or file of the network.
        radius: Radius of a click's disc, as a fraction of the frame's shorter side.
        rounds: How often the mask is encoded and decoded for each click.
        cue: Also propagate the mask by matching features.
    """

    def __init__(self, weights: str, radius: float, rounds: int, *, cue: bool) -> None:
        self._segmenter = Segmenter(load_model(weights), history=1, matching=cue)
        self._radius, self._rounds = radius, rounds

    def set_frame(self, image: NDArray[np.uint8]) -> None:
        """Start on a new frame, (H, W, 3) uint8 RGB."""
        self._image = image
        self._mask: Mask = np.zeros(image.shape[:2], dtype=bool)
        self._clicked = np.zeros(image.shape[:2], dtype=np.int8)

    def click(self, x: float, y: float, *, positive: bool = True) -> Mask:
        """Add a click at pixel (x, y). Returns the mask, (H, W) bool."""
        height, width = self._mask.shape
        rows, columns = np.ogrid[:height, :width]
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= (self._radius * min(height, width)) ** 2
        self._clicked[disc] = 1 if positive else -1
        for _ in range(self._rounds):
            prompt = (self._mask | (self._clicked > 0)) & (self._clicked >= 0)
            if not prompt.any():
                break
            self._segmenter.reset()
            self._segmenter.step(self._image, {1: prompt})
            self._mask = (self._segmenter.step(self._image) == 1) & (self._clicked >= 0) | (self._clicked > 0)
        return self._mask


def main(
    data: Path,
    weights: str = "mini",
    radius: float = 0.03,
    rounds: int = 1,
    cue: bool = False,
    limit: int | None = None,
) -> None:
    """data: clips (DAVIS) or photographs (COCO format). The others: as in `DescriptorClicker` and `cases_of`."""
    _, cases = cases_of(data, limit)
    scores = evaluate_clicks(cases, DescriptorClicker(weights, radius, rounds, cue=cue))
    columns = [*(f"{scores.mean_iou(n):.3f}" for n in REPORTED), *(f"{scores.clicks_for(t):.2f}" for t in TARGETS)]
    heads = ["radius", "rounds", "cue", *map(str, REPORTED), *(f"NoC@{100 * t:.0f}" for t in TARGETS)]
    print(f"| {' | '.join(heads)} |")
    print(f"| {radius} | {rounds} | {cue} | " + " | ".join(columns) + " |")
    print(f"{len(scores.ious)} objects, {1000 * np.median(scores.click_seconds):.0f} ms for a click (median)")


if __name__ == "__main__":
    as_command(main, __doc__)
