"""`hodor train-clicks`: train the network that makes masks from clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import ResumeOption, opt, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import duration, progress_bar, say
from hodor_cli.clicks.settings import ClickTraining
from hodor_cli.errors import UsageError


def train_clicks(
    *,
    data: Annotated[list[Path], opt("FOLDER", "Photographs (COCO format) or clips (DAVIS). Repeatable.")],
    out: Annotated[Path, out_option("FOLDER", "Folder for the run and clicks.safetensors.")],
    start: Annotated[
        str,
        opt(
            "NAME|FILE",
            "Initial weights: of hodor (for its backbone), of a MobileNetV2 from ImageNet, or of a click network.",
        ),
    ] = "mini",
    resume: ResumeOption = False,
    settings: Annotated[
        ClickTraining,
        Fields(
            "minutes",
            "batch_size",
            "objects",
            "rounds",
            "late",
            "side",
            "rate",
            "backbone_rate",
            "frozen",
            "average",
            "frame_share",
            "every",
            "seed",
            "device",
        ),
    ],
) -> None:
    """Train the click network on photographs and frames of clips, for a given time.

    hodor train-clicks --data stills --data davis2016_train --minutes 60 -o runs/clicks

    Simulated users click and correct the masks. Ctrl-C loses at most five minutes; --resume continues.
    """
    if not data:
        raise UsageError("there is nothing to train on; give `data`, a folder of photographs or clips")
    from hodor_cli.clicks.training import ClickProgress
    from hodor_cli.clicks.training import train_clicks as train

    last: ClickProgress | None = None
    with progress_bar("training", 100, "%") as show:

        def progress(now: ClickProgress) -> None:
            nonlocal last
            last = now
            show(min(100, int(100 * now.share)), 100)

        path = train(data, out, settings, start=start, resume=resume, progress=progress)
    line = f"{path}  trained for {duration(60 * settings.minutes)}"
    if last is not None:
        after = ", ".join(f"{iou:.3f}" for iou in last.ious)
        line += f", {last.iteration:,} iterations; mean IoU in training after each click: {after}"
    say(line)
