"""`hodor suggest`: name the frames to mask next."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hodor_cli.cli import options as common
from hodor_cli.cli.options import arg, opt, out_option
from hodor_cli.cli.terminal import progress_bar, say
from hodor_cli.errors import OutputError, UsageError
from hodor_cli.run.settings import RunHooks, SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.run.records import SuggestedFrame


def suggest(
    source: Annotated[
        str,
        arg(
            "RESULT|SOURCE",
            "A result folder of `hodor segment`; or a video file or a folder of images, with the masks so far.",
        ),
    ],
    *,
    mask: common.MaskOption = None,
    box: common.BoxOption = None,
    click: common.ClickOption = None,
    count: Annotated[int, opt("N", "Number of frames.", min=1)] = 5,
    out: Annotated[Path | None, out_option("FILE", "Also draw the frames with their masks into this PNG.")] = None,
    overwrite: common.OverwriteOption = False,
    start: common.StartOption = 0,
    end: common.EndOption = None,
    settings: Annotated[SegmentSettings, common.FOLLOW_FIELDS],
) -> None:
    """Name the frames whose masks would help most: doubtful ones far from given masks.

    hodor suggest clip.mp4 --mask first.png -o next.png
    hodor segment clip.mp4 --mask 0=first.png --mask 57=second.png
    hodor suggest clip.hodor
    """
    from hodor_cli.run.choosing import suggested_in
    from hodor_cli.run.records import is_report

    if out is not None and out.exists() and not overwrite:
        raise OutputError(f"{out} exists already; choose another name with `out`, or add `overwrite`")
    given = bool(mask or box or click)
    if not given or is_report(Path(source) / "report.json"):
        if given:
            raise UsageError(f"{source} is a finished run, whose masks are known; leave out --mask, --box and --click")
        _tell(suggested_in(Path(source), count), Path(source), out)
        return
    from hodor_cli.cli.segment_texts import given_inputs
    from hodor_cli.run.runner import segment_source
    from hodor_cli.video.source import open_source
    from hodor_cli.weights import load_model

    with open_source(source, start=start, end=end) as frames, tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        inputs, model = given_inputs(frames, mask, box, click), load_model(settings.weights)
        if not frames.reiterable:
            raise UsageError(
                f"the frames of {frames.label} come only once, so none can be masked next; save the video first"
            )
        with progress_bar(frames.name, frames.length) as progress:
            settings, hooks = replace(settings, overlay=False), RunHooks(progress=progress)
            segment_source(frames, inputs, folder, model, settings=settings, hooks=hooks)
        _tell(suggested_in(Path(folder), count), Path(folder), out)


def _tell(found: tuple[SuggestedFrame, ...], result: Path, out: Path | None) -> None:
    from hodor_cli.run.choosing import write_suggestions

    for one in found:
        say(f"frame {one.frame} ({one.name}): removes {one.gain:.0%} of the doubt")
    if not found:
        say("Every frame has a mask.")
    elif out is not None:
        write_suggestions(out, result, found)
        say(f"  {out}  the frames and their masks")
