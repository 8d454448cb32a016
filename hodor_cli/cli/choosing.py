"""`hodor look` and `hodor suggest`: where to put masks, before a run and after it."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hodor_cli.cli import options as common
from hodor_cli.cli.marks import Marks
from hodor_cli.cli.options import arg, opt, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import progress_bar, say, say_json, warn
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import plural
from hodor_cli.run.settings import RunHooks, SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.video.frames import FrameSource


#: Metadata that marks the pictures of this command.
_MADE_BY = ("Software", "hodor look")


def look(
    source: Annotated[str, arg("SOURCE", "A video file, a photo, a folder of images, a camera index, or - (stdin).")],
    *,
    start: Annotated[
        int | None, opt("N", "Number of the frame to show [default: the first with a mask, or 0].", "--frame", min=0)
    ] = None,
    marks: Annotated[Marks, Fields()],
    out: Annotated[Path | None, out_option("FILE", "Picture to write [default: NAME.frameN.png].")] = None,
    reading: Annotated[common.Reading, Fields("value_range", "axes")],
    overwrite: common.OverwriteOption = False,
) -> None:
    """Preview the start of a run: draw a frame with a coordinate grid and the masks that the run would start from.

    hodor look clip.mp4
    hodor look clip.mp4 --frame 40 --box 40=310,120,200,260

    Read a box off the grid: x and y of its upper left corner, then its width and height. `hodor segment --preview`
    draws the same picture.
    """
    if out is not None:
        # `show` replaces only an earlier picture of this command.
        out = common.picture_file(out, source, *marks.files, overwrite=True)
    with replace(reading, start=start or 0).open(source) as frames:
        show(frames, marks.read(frames), start, out, overwrite=overwrite)


def show(
    source: FrameSource,
    inputs: RunInputs,
    index: int | None = None,
    out: Path | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Draw frame `index` (see `frame_to_show`) into `out`, or into NAME.frameN.png, and print what it shows.

    An earlier picture of this command is replaced. Raises OutputError if another file exists.
    """
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from hodor_cli.files import new_file, require_new
    from hodor_cli.run.choosing import draw_look, frame_to_show, grid_step

    shown = frame_to_show(source, inputs, index)
    picture = Path(f"{source.name}.frame{shown.index}.png") if out is None else out
    ours = False
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), Image.open(picture) as earlier:
        ours = earlier.info.get(_MADE_BY[0]) == _MADE_BY[1]
    require_new(picture, overwrite=overwrite or ours)
    given, made_by = inputs.at(shown), PngInfo()
    labels = given.labels
    made_by.add_text(*_MADE_BY)
    with new_file(picture) as temporary:
        Image.fromarray(draw_look(shown.image, labels)).save(temporary, format="PNG", pnginfo=made_by)
    height, width = shown.image.shape[:2]
    for sentence in (*source.warnings, *given.warnings):
        warn(sentence)
    step = grid_step(max(height, width))
    say(f"{picture}: frame {shown.index} of {source.name}, {width}x{height}, a line every {step} px")
    if labels is not None:
        for object_id, pixels in zip(*np.unique(labels[labels != 0], return_counts=True), strict=True):
            say(f"  object {object_id}: {plural(int(pixels), 'pixel')}")


def suggest(
    source: Annotated[
        str,
        arg(
            "RESULT|SOURCE",
            "A result folder of `hodor segment`; or a video file or a folder of images, with its masks so far.",
        ),
    ],
    *,
    marks: Annotated[Marks, Fields()],
    count: Annotated[int, opt("N", "Number of frames.", min=1)] = 5,
    out: Annotated[Path | None, out_option("FILE", "Also draw the frames with their masks into this PNG.")] = None,
    as_json: common.JsonOption = False,
    overwrite: common.OverwriteOption = False,
    reading: Annotated[common.Reading, Fields("start", "end")],
    settings: Annotated[SegmentSettings, common.FOLLOW_FIELDS],
) -> None:
    """Suggest the frames whose masks would help most: uncertain ones, far from the masks given so far.

    hodor suggest clip.mp4 --mask first.png -o next.png
    hodor segment clip.mp4 --mask 0=first.png --mask 57=second.png
    hodor suggest clip.hodor
    """
    from hodor_cli.images.paths import require_exists
    from hodor_cli.records import is_report

    if out is not None:
        out = common.picture_file(out, source, *marks.files, overwrite=overwrite)
    finished = is_report(Path(source) / "report.json")
    if finished and (marks or reading != common.Reading() or settings != SegmentSettings()):
        raise UsageError(f"{source} is a finished run; leave out masks, --start, --end, --weights and network options")
    if finished or not marks:
        require_exists(Path(source), "result or video")
        _print_suggestions(Path(source), count, out, as_json)
        return
    from hodor_cli.run.runner import segment_source
    from hodor_cli.weights import load_model

    with reading.open(source) as frames, tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        if not frames.reiterable:
            raise UsageError(f"{frames.label} can be read only once, so no frame can be masked later; save it first")
        model = load_model(settings.weights)
        inputs = marks.read(frames)
        with progress_bar(frames.name, frames.length) as progress:
            settings, hooks = replace(settings, overlay=False), RunHooks(progress=progress)
            segment_source(frames, inputs, folder, model, settings=settings, hooks=hooks)
        _print_suggestions(Path(folder), count, out, as_json)


def _print_suggestions(result: Path, count: int, out: Path | None, as_json: bool) -> None:
    from msgspec.structs import asdict

    from hodor_cli.run.choosing import suggested_in, write_suggestions

    found = suggested_in(result, count)
    if out is not None and found:
        write_suggestions(out, result, found)
    if as_json:
        say_json([asdict(one) for one in found])
        return
    for one in found:
        say(f"frame {one.frame} ({one.name}): removes {one.gain:.0%} of the uncertainty")
    if len(found) < count:
        say("No other mask would remove 1% of the uncertainty.")
    if out is not None and found:
        say(f"  {out}  the frames and their masks")
