"""Parses and checks boxes, which can be given instead of masks."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.engine.masks import MAX_OBJECT_ID
from hodor_cli.errors import UsageError
from hodor_cli.images.extent import Box

if TYPE_CHECKING:
    from hodor_cli.video.frames import FrameSource

_FORM = "[FRAME[:ID]=]x,y,w,h"
_MIN_SIDE = 4


@dataclass(frozen=True)
class BoxArgument:
    """A parsed box. frame: None for the first frame that is read. object_id: None for a new object."""

    frame: int | None
    box: Box
    object_id: int | None = None


def parse_box(argument: str, source: FrameSource | None = None) -> BoxArgument:
    """Parse "[FRAME[:ID]=]x,y,w,h". With `source`, also check FRAME and the box against it, and replace a missing FRAME
    by the first one that is read. Raises UsageError for an invalid box or one outside the picture, InputError for a
    FRAME after the end."""
    match = re.fullmatch(r"\s*(?:(\d+)(?::(\d+))?\s*=)?\s*([^=]*)", argument)
    parts = match.group(3).split(",") if match else []
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if match is None or len(numbers) != 4 or not np.isfinite(numbers).all():
        raise UsageError(f"{argument!r} is no box; give {_FORM} in pixels, for example 120,80,200,150")
    x, y, width, height = (round(number) for number in numbers)
    frame = int(match.group(1)) if match.group(1) else None
    object_id = int(match.group(2)) if match.group(2) else None
    if object_id is not None and not 1 <= object_id <= MAX_OBJECT_ID:
        raise UsageError(f"{argument!r} names the object {object_id}; ids go from 1 to {MAX_OBJECT_ID}")
    if source is not None:
        from hodor_cli.datasets.labels.masks import require_frame

        frame = source.start if frame is None else frame
        require_frame(frame, argument, source)
        check_box((x, y, width, height), (source.height, source.width))
    return BoxArgument(frame, (x, y, width, height), object_id)


def boxes_by_frame(
    arguments: Sequence[str], source: FrameSource, taken: Collection[int] = ()
) -> dict[int, dict[int, Box]]:
    """Boxes by frame and object id, from texts "[FRAME[:ID]=]x,y,w,h".

    A box without an id starts a new object with the smallest id that neither a mask (`taken`) nor another box has. A
    box with the id of another box or mask corrects that object. Raises UsageError for two boxes of one object in one
    frame, and as `parse_box` does.
    """
    parsed = [parse_box(argument, source) for argument in arguments]
    used = {*taken, *(box.object_id for box in parsed if box.object_id is not None)}
    boxes: dict[int, dict[int, Box]] = {}
    for argument, given in zip(arguments, parsed, strict=True):
        object_id = given.object_id
        if object_id is None:
            object_id = next(number for number in range(1, len(used) + 2) if number not in used)
            used.add(object_id)
        of_frame = boxes.setdefault(source.start if given.frame is None else given.frame, {})
        if object_id in of_frame:
            raise UsageError(f"{argument!r} is a second box for object {object_id} in one frame; give one of them")
        of_frame[object_id] = given.box
    return boxes


def check_box(box: Box, size: tuple[int, int]) -> None:
    """Raise UsageError unless the box has an area and is inside a picture of `size` (height, width), but not the whole
    picture."""
    x, y, width, height = box
    text = f"the box {x},{y},{width},{height}"
    picture = f"the {size[1]}x{size[0]} picture"
    if width < _MIN_SIDE or height < _MIN_SIDE:
        raise UsageError(f"{text} is too small; its width and height must be at least {_MIN_SIDE} pixels")
    if x < 0 or y < 0 or x + width > size[1] or y + height > size[0]:
        hint = "a box is x,y,width,height"
        if 0 <= x < width <= size[1] and 0 <= y < height <= size[0]:  # very likely two corners
            hint += f", so if these are two corners it is {x},{y},{width - x},{height - y}"
        raise UsageError(f"{text} reaches outside {picture}; {hint}")
    if (width, height) == (size[1], size[0]):
        raise UsageError(
            f"{text} is all of {picture}, so nothing shows what the background looks like; draw it tighter"
        )
