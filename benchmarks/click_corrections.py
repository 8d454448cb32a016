"""Do clicks improve tracked masks? Simulated clicks on masks that were tracked from the first frame's true mask.

    python benchmarks/click_corrections.py DAVIS
    python benchmarks/click_corrections.py DAVIS --frames 61 --every 15

Prints the mean IoU of the tracked masks before any click and after each one, and the share of masks that the first
click made worse.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer
from as_command import as_command

from hodor_cli import Clicker
from hodor_cli.clicks.simulation import next_click
from hodor_cli.datasets.clips import ClipSet
from hodor_cli.engine import Segmenter
from hodor_cli.evaluation.metrics import jaccard
from hodor_cli.formats.opening import open_set
from hodor_cli.weights import load_model


def main(data: Path, frames: int = 49, every: int = 16, clicks: int = 3) -> None:
    """data: clips (DAVIS), with one object labelled in each frame."""
    clips, clicker, model = open_set(data), Clicker(), load_model("mini")
    if not isinstance(clips, ClipSet):
        raise typer.BadParameter("these are photographs; give clips")
    rows = []
    for number, clip in enumerate(clips.clips):
        segmenter = Segmenter(model)
        for frame in clip.labelled[:frames]:
            image, truth = clips.load_frame(number, frame), clips.load_labels(number, frame)
            tracked = segmenter.step(image, truth if frame == clip.labelled[0] else None) == 1
            if frame and frame % every == 0 and tracked.any():
                rows.append(corrected(clicker, image, truth == 1, tracked, clicks))
    ious = np.array(rows)
    print(
        f"{len(ious)} masks; mean IoU tracked and after each click: {', '.join(f'{iou:.3f}' for iou in ious.mean(0))}"
    )
    print(f"{(ious[:, 1] < ious[:, 0] - 0.005).mean():.0%} are worse after the first click")


def corrected(clicker: Clicker, image: np.ndarray, truth: np.ndarray, mask: np.ndarray, clicks: int) -> list[float]:
    """IoU of a mask (H, W), and after each click that corrects it."""
    clicker.set_frame(image)
    clicker.set_mask(mask)
    clicked, ious = np.zeros_like(truth), [jaccard(truth, mask)]
    for _ in range(clicks):
        click = next_click(truth, mask, clicked)
        if click is not None:
            clicked[click.y, click.x] = True
            mask = clicker.click(click.x, click.y, positive=click.positive)
        ious.append(jaccard(truth, mask))
    return ious


if __name__ == "__main__":
    as_command(main, __doc__)
