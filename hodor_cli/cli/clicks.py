"""`hodor train-clicks` and `hodor evaluate-clicks`: the network that makes masks from clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from hodor_cli.cli.options import JsonFileOption, ResumeOption, arg, opt, out_option, require_new_json, write_json
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import duration, new_console, progress_bar, say, warn
from hodor_cli.clicks.settings import ClickTraining
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import plural
from hodor_cli.run.settings import SegmentSettings


def train_clicks(
    *,
    data: Annotated[list[Path], opt("FOLDER", "Labelled photographs or clips. Repeatable.")],
    out: Annotated[Path, out_option("FOLDER", "Folder for the run and clicks.safetensors.")],
    weights: Annotated[
        str | None,
        opt(
            "NAME|FILE",
            "Initial weights: a hodor network (for its backbone), an ImageNet MobileNetV2, or a click network."
            "  [default: mini]",
        ),
    ] = None,
    resume: ResumeOption = False,
    settings: Annotated[ClickTraining, Fields()],
) -> None:
    """Train the click network on photographs and frames of clips, for a given time.

    hodor train-clicks --data stills --data davis2016_train --time 60m -o runs/clicks

    Simulated users click and correct the masks. After Ctrl-C, --resume continues.
    """
    from hodor_cli.clicks.training import ClickProgress
    from hodor_cli.clicks.training import train_clicks as train

    last: ClickProgress | None = None
    with progress_bar("training", 100, "%") as show:

        def progress(now: ClickProgress) -> None:
            nonlocal last
            last = now
            show(min(100, int(100 * now.share)), 100)

        path = train(data, out, settings, weights=weights, resume=resume, progress=progress, warn=warn)
    line = f"{path}  trained for {duration(settings.seconds)}"
    if last is not None:
        after = ", ".join(f"{iou:.3f}" for iou in last.ious)
        line += f", {last.iteration:,} iterations; mean IoU in training after each click: {after}"
    say(line)


def evaluate_clicks(
    dataset: Annotated[Path, arg("DATA", "Clips (DAVIS) or photographs (COCO format).")],
    *,
    method: Annotated[Literal["network", "grabcut"], opt("", "The click network, or GrabCut.")] = "network",
    weights: Annotated[Path | None, opt("FILE", "Your own click network, from `hodor train-clicks`.")] = None,
    limit: Annotated[int | None, opt("N", "Use only N objects, evenly spaced.", min=1)] = None,
    side: Annotated[int | None, opt("PX", "Longer side of the frames [default: 384].", min=64)] = None,
    json_file: JsonFileOption = None,
    settings: Annotated[SegmentSettings, Fields("device")],
) -> None:
    """Score masks made from simulated clicks: mean IoU after 1, 2, 3, 5 and 10 clicks, and clicks to 0.85 and 0.90.

    hodor evaluate-clicks DAVIS
    hodor evaluate-clicks photos --weights runs/mine/clicks.safetensors
    hodor evaluate-clicks DAVIS --method grabcut

    Each click, of at most 20, goes to the centre of the largest error. Objects are taken from the first, middle and
    last labelled frame of each clip, and one from each photograph.
    """
    if method == "grabcut" and (weights is not None or side is not None or settings.device != "auto"):
        raise UsageError("`weights`, `side` and `device` are for the click network; leave them out with grabcut")
    require_new_json(json_file)
    from hodor_cli.clicks.clicker import Clicker
    from hodor_cli.clicks.evaluation import REPORTED, TARGETS, GrabCutClicker, cases_of, evaluate_clicks

    count, cases = cases_of(dataset, limit, warn=warn)
    clicker = GrabCutClicker() if method == "grabcut" else Clicker(weights, device=settings.device, side=side)
    with progress_bar("clicking", count, "objects") as show:
        scores = evaluate_clicks(cases, clicker, progress=show)

    from rich.table import Table

    console = new_console(stderr=json_file == "-")
    table = Table("clicks", *(str(n) for n in REPORTED), *(f"NoC@{100 * target:.0f}" for target in TARGETS))
    table.add_row(
        "mean IoU", *(f"{scores.mean_iou(n):.3f}" for n in REPORTED), *(f"{scores.clicks_for(t):.2f}" for t in TARGETS)
    )
    console.print(table)
    missed = ", ".join(f"{scores.failures(t)} never reach {t:.2f}" for t in TARGETS)
    values = scores.to_dict()
    console.print(
        f"{plural(len(scores.ious), 'object')} of {dataset}; {missed}; {values['ms_per_frame']:.0f} ms per frame,"
        f" {values['ms_per_click']:.0f} ms per click (medians)"
    )
    write_json(values, json_file)
