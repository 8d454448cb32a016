"""`hodor_cli.segment`: the whole of `hodor segment` in one call from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.combining import PackedMask
from hodor_cli.datasets.labels.mask_file import mask_from_array
from hodor_cli.errors import UsageError
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.images.label_png import MAX_ID, Box, array_of
from hodor_cli.images.paths import as_path
from hodor_cli.model.hodor import Hodor
from hodor_cli.records import Click
from hodor_cli.run.earlier import EarlierRun, finished_run
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder, default_folder
from hodor_cli.run.prompts import Placed, pixels_of, prompts_by_frame
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunOutput, SegmentOptions, SegmentSummary
from hodor_cli.settings import options_of
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.source import open_source
from hodor_cli.weights import load_model

T = TypeVar("T", Box, Click)

#: A mask as a file (or a folder of files named like the frames), or as an (H, W) array of object ids.
Mask = str | os.PathLike[str] | NDArray[np.integer]
#: Boxes of one frame: one, several (ids 1, 2, ...), or by object id.
Boxes = Sequence[float] | Sequence[Sequence[float]] | Mapping[int, Sequence[float]]
#: A click (x, y) in pixels on an object, or (x, y, False) off it; and the clicks for one object, one or several.
OneClick = tuple[float, float] | tuple[float, float, bool]
Clicks = OneClick | Sequence[OneClick]


def segment(
    source: str | os.PathLike[str] | int,
    *,
    mask: Mask | Mapping[int, Mask] | None = None,
    box: Boxes | Mapping[int, Boxes] | None = None,
    click: Clicks | Mapping[int, Clicks] | Mapping[int, Mapping[int, Clicks]] | None = None,
    out: str | os.PathLike[str] | None = None,
    model: Hodor | None = None,
    options: SegmentOptions | None = None,
) -> SegmentSummary:
    """Follow objects through a video and write masks, overlay, review page and report into a folder.

        result = hodor_cli.segment("clip.mp4", box=(310, 120, 200, 260))
        result = hodor_cli.segment("clip.mp4", mask={0: "cat.png", 120: dog}, out="pets")
        result = hodor_cli.segment("clip.mp4", mask="cat.png", options=SegmentOptions(min_dim=384, overwrite=True))

    A notebook displays the result as the overlay video and a table of its objects.

    Args:
        source: A video, a folder of images, a camera index, or anything else that `open_source` opens.
        mask: Where the objects are in the first frame, or by frame (from 0): a file, or an (H, W) integer array of the
            frames' size whose values are object ids, 0 for the background. An array is interpreted like a mask file:
            if its values are only 0 and 255, 255 is object 1; next to other ids, 255 is void, used as background.
        box: (x, y, width, height) in pixels, several of them, or {id: box}, in the first frame; or {frame: {id: box}}.
            The click network finds the object inside. Boxes without ids start new objects.
        click: (x, y) on an object, (x, y, False) off it, several of them, or {id: clicks}, in the first frame; or
            {frame: {id: clicks}}. Clicks without an id correct the mask or box of the first frame, or start a new
            object if there is none.
        out: The result folder; NAME.hodor in the working directory by default.
        model: A loaded network, for example to use it for several videos; by default `options.weights` is loaded.
        options: Weights, history, resolution, device, precision; whether to adapt the network to the masks, and to
            replace or resume the results in `out`.

    Returns:
        The files, the frames to review, and warnings, including how ambiguous masks were interpreted.

    Raises:
        UsageError, InputError: The source or the masks, boxes and clicks do not fit.
        WeightsError, DeviceError: The network cannot be loaded or cannot run on this machine.
        OutputError: `out` exists (see `options`) or cannot be written to.
    """
    options = options_of(SegmentOptions, options, "options")
    with open_source(source) as frames:
        place = source if isinstance(source, os.PathLike) else str(source)
        folder = default_folder(frames.name, place) if out is None else as_path(out, "`out`")
        earlier = finished_run(OutputFolder(folder)) if options.resume else None
        inputs = _inputs(frames, mask, box, click, options.remove, earlier)
        network = load_model(options.weights) if model is None else model
        output = RunOutput(overwrite=options.overwrite, resume=options.resume)
        return segment_source(
            frames, inputs, folder, network, settings=options.settings, output=output, hooks=options.hooks
        )


def _inputs(
    frames: FrameSource,
    mask: Mask | Mapping[int, Mask] | None,
    box: Boxes | Mapping[int, Boxes] | None,
    click: Clicks | Mapping[int, Clicks] | Mapping[int, Mapping[int, Clicks]] | None,
    remove: Mapping[int, int],
    earlier: EarlierRun | None,
) -> RunInputs:
    asked = mask if isinstance(mask, Mapping) else {} if mask is None else {frames.start: mask}
    masks: Mapping[int, Mask] = {_frame(frame, "mask"): one for frame, one in asked.items()}
    # One file may have masks of several frames.
    files = {frame: Path(one) for frame, one in masks.items() if isinstance(one, str | os.PathLike)}
    alone = not isinstance(mask, Mapping)
    read = read_given([str(one) if alone or one.is_dir() else f"{frame}={one}" for frame, one in files.items()], frames)
    read.masks.update({frame: _packed(one, frame) for frame, one in masks.items() if frame not in files})
    placed = _placed(box, frames.start, "box", partial(_boxes_of, frames))
    clicked = _placed(click, frames.start, "click", partial(_clicks_of, frames))
    if earlier is not None:
        placed, clicked = earlier.identified(placed), earlier.identified(clicked)
    boxes, clicks = prompts_by_frame(placed, clicked, read.masks)
    removals: dict[int, list[int]] = {}
    for object_id, frame in remove.items():
        removals.setdefault(_frame(frame, "remove"), []).append(_id(object_id, "remove"))
    return RunInputs(read.masks, boxes, removals, clicks=clicks, names=read.names, notes=read.notes)


def _packed(mask: Any, frame: int) -> PackedMask:
    """An array interpreted like a mask file. Raises UsageError, InputError."""
    name = f"the `mask` of frame {frame}"
    array = array_of(mask, name, UsageError)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biu":
        found = f"{array.dtype} of shape {array.shape}" if array.ndim else f"a {type(mask).__name__}"
        raise UsageError(f"{name} is {found}; give a file, or an (H, W) integer array whose values are object ids")
    read = mask_from_array(array, Path(name), None)
    return PackedMask(read.labels, notes=read.notes)


def _placed(given: Any, first: int, name: str, parse: Callable[[Any], list[T]]) -> list[Placed[T]]:
    """Boxes or clicks in any form that `segment` accepts, as a flat list.

    first: the default frame. name: of the parameter. parse: converts one or several to a list. Raises UsageError.
    """
    if not isinstance(given, Mapping):
        return [(first, None, one) for one in parse(() if given is None else given)]
    placed: list[Placed[T]] = []
    for frame, by_id in (given if all(isinstance(one, Mapping) for one in given.values()) else {first: given}).items():
        for key, value in by_id.items():
            placed += [(_frame(frame, name), _id(key, name), one) for one in parse(value)]
    return placed


def _frame(frame: Any, name: str) -> int:
    if isinstance(frame, (int, np.integer)):
        return int(frame)
    raise UsageError(f"`{name}` has the frame {frame!r}; give a frame number, counted from 0")


def _id(key: Any, name: str) -> int:
    if isinstance(key, (int, np.integer)) and 1 <= key <= MAX_ID:
        return int(key)
    raise UsageError(f"`{name}` has the object id {key!r}; ids must be between 1 and {MAX_ID}")


def _boxes_of(source: FrameSource, given: Any) -> list[Box]:
    try:
        boxes = [pixels_of(box, str(box), source) for box in _several(given)]
        return [(x, y, width, height) for x, y, width, height in boxes]
    except (LookupError, TypeError, ValueError, OverflowError):
        raise UsageError(f"{given!r} is not a valid `box`; give x, y, width and height in pixels") from None


def _clicks_of(source: FrameSource, given: Any) -> list[Click]:
    try:
        clicks = []
        for left, top, *rest in _several(given):
            x, y = pixels_of((left, top), f"{left},{top}", source)
            clicks.append(Click(x, y, *map(bool, rest)))
        return clicks
    except (LookupError, TypeError, ValueError, OverflowError):
        raise UsageError(f"{given!r} is not a valid `click`; give (x, y) or (x, y, False) in pixels") from None


def _several(given: Any) -> Any:
    return [given] if len(given) and np.ndim(given[0]) == 0 else given
