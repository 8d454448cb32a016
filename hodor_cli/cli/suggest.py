"""`hodor suggest`: which frames to mask next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli.options import out_option
from hodor_cli.cli.terminal import say


def suggest(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="The folder that `hodor segment` wrote.", show_default=False)
    ],
    *,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many frames to name.")] = 5,
    out: Annotated[Path | None, out_option("FILE", "Also draw them on a page, a PNG.")] = None,
) -> None:
    """Name the frames of a result whose masks would help most: where doubt is high and given masks are far.

    hodor suggest clip.hodor
    hodor segment clip.mp4 --mask 0=first.png --mask 57=second.png --resume
    """
    from hodor_cli.run.suggesting import suggested_in, write_sheet

    found = suggested_in(result, count)
    for one in found:
        say(f"frame {one.frame} ({one.name}): spares {one.gain:.0%} of the doubt")
    if not found:
        say("Every frame has a mask.")
    elif out is not None:
        write_sheet(out, result, found)
        say(f"  {out}  the frames and their masks")
