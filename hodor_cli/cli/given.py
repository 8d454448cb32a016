"""The inputs of a run as they are typed: masks, boxes, clicks and removals; prints how they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.segment_summary import objects_named
from hodor_cli.cli.terminal import counted, note
from hodor_cli.errors import UsageError

if TYPE_CHECKING:
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.video.frames import FrameSource

#: Frames with masks that are named on the terminal.
_SHOWN_MASKS = 10


def given_inputs(
    frames: FrameSource,
    mask: Sequence[str] | None,
    box: Sequence[str] | None,
    click: Sequence[str] | None,
    remove: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> RunInputs:
    """The inputs of a run from the options of these names; prints how they were read."""
    from hodor_cli.formats.mask_arguments import read_given
    from hodor_cli.run.exporting import names_of
    from hodor_cli.run.inputs import RunInputs, removals_by_frame
    from hodor_cli.run.prompts import boxes_by_frame, clicks_by_frame

    read = read_given(list(mask or ()), frames)
    taken = {key for one in read.masks.values() for key in one.object_ids}
    boxes = boxes_by_frame(box or (), frames, taken)
    clicks = clicks_by_frame(click or (), frames, taken | {key for of in boxes.values() for key in of})
    removed = removals_by_frame(remove or (), frames)
    for frame, ids in read.ends.items():
        removed.setdefault(frame, []).extend(ids)
    _tell_what_was_found(read.masks, boxes)
    for frame, of_frame in clicks.items():
        for object_id, of_object in of_frame.items():
            note(f"Frame {frame}: object {object_id} from {counted(len(of_object), 'click')}")
    return RunInputs(read.masks, boxes, removed, clicks=clicks, names={**read.names, **names_of(names or ())})


def _tell_what_was_found(masks: Mapping[int, Any], boxes: Mapping[int, Mapping[int, Any]]) -> None:
    """Print which objects start where, and how the mask files were read."""
    for frame, given in list(masks.items())[:_SHOWN_MASKS]:
        note(f"Frame {frame}: {objects_named(given.object_ids)} from {', '.join(given.files)}")
        for line in given.notes:
            note(f"  {line}")
    if len(masks) > _SHOWN_MASKS:
        more = counted(len(masks) - _SHOWN_MASKS, "more frame")
        note(f"... and masks for {more}, up to frame {max(masks)}")
    for frame, by_id in boxes.items():
        for object_id, box in by_id.items():
            note(f"Frame {frame}: object {object_id} from the box {','.join(str(side) for side in box)}")


def value_range_of(text: str | None) -> tuple[float, float] | None:
    """The two numbers of --value-range."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--value-range {text} is not two numbers LOW,HIGH, for example 0,1023") from None
    return low, high
