"""`hodor look`: a frame with a grid of coordinates, and the masks that a run would start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli.options import ClickOption, OverwriteOption, ValueRangeOption, out_option
from hodor_cli.cli.terminal import counted, say
from hodor_cli.errors import OutputError


def look(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A video file, a folder of images, a camera index, or -.")
    ],
    *,
    start: Annotated[int, typer.Option("--frame", metavar="N", min=0, help="The frame to show, from 0.")] = 0,
    mask: Annotated[
        list[str] | None,
        typer.Option("--mask", metavar="[FRAME[:ID]=]FILE", help="Show this mask, as `hodor segment` would read it."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option("--box", metavar="[FRAME[:ID]=]x,y,w,h", help="Show the mask that would be made of this box."),
    ] = None,
    click: ClickOption = None,
    out: Annotated[Path | None, out_option("FILE", "Picture to write [default: NAME.frameN.png].")] = None,
    value_range: ValueRangeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Look before an hour is spent: a frame with its coordinates, and the mask that a run would start from.

    hodor look clip.mp4
    hodor look clip.mp4 --frame 40 --box 40=310,120,200,260

    Read a box off the grid: x and y of its upper left corner, then its width and height.
    """
    from hodor_cli.cli.segment import given_inputs, value_range_of
    from hodor_cli.run.look import draw_look, first_frame, grid_step, object_areas
    from hodor_cli.video.source import open_source

    with open_source(source, start=start, value_range=value_range_of(value_range)) as frames:
        picture = Path(f"{frames.name}.frame{start}.png") if out is None else out
        if picture.exists() and not overwrite:
            raise OutputError(f"{picture} exists already; give another --out or --overwrite")
        inputs = given_inputs(frames, mask or [], box or [], [], click or [])
        if inputs.starts:
            inputs.check(frames)
        shown = first_frame(frames)
    labels = inputs.at(shown).labels
    _save(picture, draw_look(shown.image, labels))
    height, width = shown.image.shape[:2]
    say(f"{picture}: frame {start} of {frames.name}, {width}x{height}, a line every {grid_step(max(height, width))} px")
    for object_id, pixels in object_areas(labels):
        say(f"  object {object_id}: {counted(pixels, 'pixel')}")


def _save(path: Path, picture: object) -> None:
    from PIL import Image

    from hodor_cli.files import ELSEWHERE, replacing, writing_file

    with writing_file(path, ELSEWHERE), replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")  # type: ignore[arg-type]
