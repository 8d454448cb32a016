"""`hodor heatmaps`: what the background descriptors and the catch-all see in a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import arg, opt, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import progress_bar, say
from hodor_cli.run.settings import SegmentSettings


def heatmaps(
    source: Annotated[str, arg("VIDEO", "A video file or a folder of images.")],
    *,
    mask: Annotated[
        list[str],
        opt(
            "[FRAME=]FILE",
            "Where the objects are, as for `hodor segment`. Of a folder with a mask for every frame, each "
            "object's first is used, and that of the frame shown is drawn beside the prediction.",
        ),
    ],
    frame: Annotated[int, opt("N", "The frame to show, from 0.", min=0)],
    out: Annotated[Path | None, out_option("FILE", "PNG to write [default: NAME_frameN.png].")] = None,
    truth: Annotated[Path | None, opt("FILE", "The true mask of that frame, to be drawn.")] = None,
    settings: Annotated[SegmentSettings, Fields("weights", "history", "min_dim", "max_dim", "device", "precision")],
) -> None:
    """Show where the catch-all and each of the 3x3 background descriptors are seen in a frame, as ten heat maps.

    hodor heatmaps clip.mp4 --mask first_frame.png --frame 40
    """
    from hodor_cli.datasets.labels.mask_file import read_mask
    from hodor_cli.descriptors.views.heatmaps import ComparedMask, compute_heatmaps, write_heatmaps
    from hodor_cli.errors import InputError
    from hodor_cli.files import require_replaceable
    from hodor_cli.formats.mask_arguments import read_given
    from hodor_cli.video.source import open_source
    from hodor_cli.weights import load_model

    with open_source(source) as frames:
        # A container's length may be an estimate: what is a little beyond it is looked for.
        if frames.length is not None and frame > 1.1 * frames.length + 10:
            raise InputError(f"{frames.name} has no frame {frame}; it has {frames.length}, counted from 0")
        given = {index: file.labels for index, file in read_given(mask, frames).masks.items()}
        beside = None
        if truth is not None:
            beside = ComparedMask("true mask", read_mask(truth, size=(frames.height, frames.width)).labels)
        path = out or Path(f"{frames.name}_frame{frame}.png")
        require_replaceable(path)
        segmenter = settings.segmenter(load_model(settings.weights))
        with progress_bar(frames.name, frame + 1) as show:
            found = compute_heatmaps(frames, given, frame, segmenter, beside, progress=lambda index: show(index + 1))
    write_heatmaps(path, found)
    say(f"{path}  frame {frame}: {found.left.caption}, prediction, catch-all and 3x3 background descriptors")
