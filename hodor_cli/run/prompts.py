"""Boxes and clicks, which can be given instead of masks: parsing and checks."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from hodor_cli.datasets.labels.combining import PackedMask
from hodor_cli.datasets.labels.mask_colours import smallest_free_id
from hodor_cli.datasets.matching import require_frame
from hodor_cli.errors import UsageError
from hodor_cli.images.label_png import MAX_ID, Box, box_of, outside_fault
from hodor_cli.images.paths import listed
from hodor_cli.records import Click
from hodor_cli.video.frames import FrameSource

T = TypeVar("T")
#: A frame, an object id (None if none is given), and a box or a click.
Placed = tuple[int, int | None, T]

_NUMBER = r"\s*(-?\d{1,9}(?:\.\d+)?)\s*"
_PLACE = r"(?:\s*(\d{1,9})\s*(?::\s*(\d{1,9})\s*)?=)?"  # [FRAME[:ID]=]
_BOX = re.compile(f"{_PLACE}{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")
#: The last number is the object's id, another spelling of FRAME:ID=x,y.
_CLICK = re.compile(rf"{_PLACE}\s*(-?)\s*(?!-){_NUMBER},(?!\s*-){_NUMBER}(?(2)|(?:,\s*(\d{{1,9}})\s*)?)")
#: The smallest side of a box, in pixels.
_MIN_SIDE = 4


class UnclearMarkError(UsageError):
    """A click or box without an id that could mean several objects. example: its text with an id."""

    def __init__(self, why: str, example: str, name: str = "click") -> None:
        self.example = example
        super().__init__(f"{why}; give `{name}` the frame and the id, or an unused id for a new object")


def prompts_by_frame(
    boxes: Sequence[Placed[Box]], clicks: Sequence[Placed[Click]], masks: Mapping[int, PackedMask]
) -> tuple[dict[int, dict[int, Box]], dict[int, dict[int, tuple[Click, ...]]]]:
    """Boxes and clicks by frame and object id; see `boxes_by_frame` and `clicks_by_frame` for those without an id.

    Raises the errors of these two functions, and UsageError for a click without an id far from the object that it would
    correct.
    """
    placed = boxes_by_frame(boxes, {key for mask in masks.values() for key in mask.object_ids})
    given = {frame: [*mask.object_ids] for frame, mask in masks.items()}
    for frame, of in placed.items():
        given.setdefault(frame, []).extend(of)
    by_frame = clicks_by_frame(clicks, given)
    for frame, object_id, click in clicks:
        if object_id is not None or not click.positive:
            continue
        for key in given.get(frame, ()):  # at most one object, or `clicks_by_frame` would have raised
            box = placed.get(frame, {}).get(key) or box_of(masks[frame].labels == key)
            if box is not None and far(click, box):
                other = smallest_free_id({*given[frame], key})
                raise UnclearMarkError(
                    f"the click {click.x},{click.y} is far from object {key} of frame {frame}, which it would correct",
                    f"{frame}:{other}={click.x},{click.y}",
                )
    return placed, by_frame


def far(click: Click, box: Box) -> bool:
    """Whether a click is further from an object's box than the longer side of the box, so that it may mean another."""
    x, y, width, height = box
    distance = math.hypot(max(x - click.x, 0, click.x - x - width), max(y - click.y, 0, click.y - y - height))
    return distance > max(width, height)


def read_boxes(arguments: Sequence[str], source: FrameSource) -> list[Placed[Box]]:
    """Parse texts "[FRAME[:ID]=]x,y,w,h"; FRAME is the first frame that is read by default.

    Raises UsageError for an invalid box or one outside the picture, InputError for a FRAME after the end.
    """
    parsed: list[Placed[Box]] = []
    for argument in arguments:
        form = "box; give [FRAME[:ID]=]x,y,w,h in pixels, for example 120,80,200,150"
        frame, object_id, texts = _match(_BOX, argument, form, source)
        x, y, width, height = pixels_of(texts, argument, source)
        check_box((x, y, width, height), (source.height, source.width))
        parsed.append((frame, object_id, (x, y, width, height)))
    return parsed


def _match(
    pattern: re.Pattern[str], argument: str, form: str, source: FrameSource
) -> tuple[int, int | None, tuple[str, ...]]:
    """The frame, the id (None without one) and the other parts of a box or click. Raises UsageError, InputError."""
    match = pattern.fullmatch(argument)
    if match is None:
        raise UsageError(f"{argument!r} is not a valid {form}")
    frame, object_id, *parts = match.groups()
    at = source.start if frame is None else int(frame)
    require_frame(at, argument, source)
    return at, _object_id(object_id, argument), tuple(parts)


def _object_id(text: str | None, argument: str) -> int | None:
    if text is not None and not 1 <= int(text) <= MAX_ID:
        raise UsageError(f"{argument!r} has the object id {int(text)}; ids must be between 1 and {MAX_ID}")
    return None if text is None else int(text)


def boxes_by_frame(boxes: Sequence[Placed[Box]], taken: Collection[int] = ()) -> dict[int, dict[int, Box]]:
    """Boxes by frame and object id.

    A box without an id starts a new object with the smallest id that neither a mask (`taken`) nor another box has. A
    box with the id of another box or mask corrects that object. Raises UsageError for two boxes of one object in one
    frame.
    """
    used = {*taken, *(object_id for _, object_id, _ in boxes if object_id is not None)}
    by_frame: dict[int, dict[int, Box]] = {}
    for frame, object_id, box in boxes:
        if object_id is None:
            object_id = smallest_free_id(used)
            used.add(object_id)
        if object_id in by_frame.setdefault(frame, {}):
            text = ",".join(map(str, box))
            raise UsageError(f"{text} is a second box for object {object_id} in frame {frame}; give one of them")
        by_frame[frame][object_id] = box
    return by_frame


def pixels_of(given: Iterable[str | float], argument: str, source: FrameSource) -> tuple[int, ...]:
    """Numbers x,y,... as whole pixels. Raises UsageError for fractions of the frame's size, such as 0.5,0.25."""
    numbers = [float(number) for number in given]
    if any(number % 1 for number in numbers) and all(0 <= number <= 1 for number in numbers):
        sides = (source.width, source.height) * 2
        pixels = ",".join(str(round(number * side)) for number, side in zip(numbers, sides, strict=False))
        raise UsageError(f"{argument!r} looks like fractions of the frame's size; give pixels, here {pixels}")
    return tuple(map(round, numbers))


def check_box(box: Box, size: tuple[int, int]) -> None:
    """Raise UsageError unless the box is inside a picture of `size` (height, width), and neither tiny nor all of it."""
    x, y, width, height = box
    text = f"the box {x},{y},{width},{height}"
    picture = f"the {size[1]}x{size[0]} picture"
    if width < _MIN_SIDE or height < _MIN_SIDE:
        raise UsageError(f"{text} is too small; its width and height must be at least {_MIN_SIDE} pixels")
    if wrong := outside_fault(box, size):
        raise UsageError(wrong)
    if (width, height) == (size[1], size[0]):
        raise UsageError(f"{text} covers all of {picture} and leaves no background to compare with; draw it tighter")


def read_clicks(arguments: Sequence[str], source: FrameSource) -> list[Placed[Click]]:
    """Parse texts "[FRAME[:ID]=][-]x,y" or "[FRAME=][-]x,y,ID"; a minus sign marks a negative click.

    Raises UsageError for an invalid click or one outside the frame, InputError for a FRAME after the end.
    """
    parsed: list[Placed[Click]] = []
    for argument in arguments:
        form = "click; give [FRAME[:ID]=][-]x,y in pixels, for example 320,200 or -300,260"
        frame, object_id, (minus, *texts, last) = _match(_CLICK, argument, form, source)
        x, y = pixels_of(texts, argument, source)
        click = Click(x, y, not minus)
        check_click(click, (source.height, source.width))
        parsed.append((frame, object_id or _object_id(last, argument), click))
    return parsed


def check_click(click: Click, size: tuple[int, int]) -> None:
    """Raise UsageError unless the click is inside a frame of `size` (height, width)."""
    height, width = size
    if not (0 <= click.x < width and 0 <= click.y < height):
        raise UsageError(f"the click {click.x},{click.y} is outside the {width}x{height} frame, whose corner is 0,0")


def clicks_by_frame(
    clicks: Sequence[Placed[Click]], given: Mapping[int, Collection[int]]
) -> dict[int, dict[int, tuple[Click, ...]]]:
    """Clicks by frame and object id. given: frame -> ids of its masks and boxes.

    All clicks without an id belong to one object: the object with a mask or box in one of their frames, or else a new
    object with the smallest unused id. Raises UsageError for clicks that could belong to several objects.
    """
    unnamed = _object_of_unnamed(clicks, given)
    by_frame: dict[int, dict[int, list[Click]]] = {}
    for frame, object_id, click in clicks:
        by_frame.setdefault(frame, {}).setdefault(object_id or unnamed, []).append(click)
    return {frame: {key: tuple(value) for key, value in of.items()} for frame, of in by_frame.items()}


def _object_of_unnamed(clicks: Sequence[Placed[Click]], given: Mapping[int, Collection[int]]) -> int:
    """The id of the object that the clicks without an id belong to."""
    here = {key: frame for frame, object_id, _ in clicks if object_id is None for key in given.get(frame, ())}
    if len(here) > 1:
        frame, ids = here[min(here)], sorted(here)
        raise UnclearMarkError(
            f"a click in frame {frame} could belong to any of the objects {listed(ids, 8)}", f"{frame}:{ids[0]}=320,200"
        )
    used = {*(object_id for _, object_id, _ in clicks), *(key for ids in given.values() for key in ids)}
    return next(iter(here)) if here else smallest_free_id(used)


def check_clicks(clicks: Mapping[int, Sequence[Click]], started: Collection[int], frame: int) -> None:
    """Raise UsageError for an object that has only negative clicks, and no mask or box in the frame (`started`)."""
    for object_id, of_object in clicks.items():
        if object_id not in started and not any(click.positive for click in of_object):
            raise UsageError(f"object {object_id} has only negative clicks in frame {frame}; add a positive one")
