"""The inputs of a run as they are typed, with how they were read; and what `hodor segment` prints at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.cli.terminal import counted, note, say, warn
from hodor_cli.errors import UsageError

if TYPE_CHECKING:
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.settings import SegmentSummary
    from hodor_cli.video.frames import FrameSource


#: Stretches of frames to review that are listed on the terminal; the report has all.
_SHOWN_REVIEWS = 12


def print_summary(summary: SegmentSummary) -> None:
    """Print the files, the frames to review, and warnings."""
    for warning in summary.warnings:
        warn(warning)
    frames, objects = counted(summary.frames, "frame"), objects_named(summary.object_ids)
    if summary.already_finished:
        say(f"{summary.out} is finished already: {frames}, {objects}.")
    else:
        again = f" ({summary.resumed_from} of them before)" if summary.resumed_from else ""
        say(f"{frames}{again}, {objects}, {summary.frames_per_second:.1f} frames/s.")
    words = {
        "masks": "one PNG per frame, value = object id",
        "overlay": "the video with the objects drawn over it",
        "review": "the frames to review, objects over time: open it",
        "report": "area, box, confidence per frame and object",
        "boxes": "masks made from boxes and clicks: check them",
    }
    shown = {key: f"{path}/" if path.is_dir() else str(path) for key, path in summary.files.items()}
    width = max((len(text) for text in shown.values()), default=0)
    for key, text in shown.items():
        say(f"  {text:<{width}}  {words.get(key, key)}")
    if not summary.review:
        say("No frame stands out for review.")
        return
    say("Frames to review:")
    for item in summary.review[:_SHOWN_REVIEWS]:
        say(f"  {item}")
    if len(summary.review) > _SHOWN_REVIEWS:
        say(f"  ... and {len(summary.review) - _SHOWN_REVIEWS} more, all in report.json")


def tell_known(session: DescriptorSession) -> None:
    """Print which saved object each id stands for."""
    if session.recognition is not None:
        for object_id, label in session.recognition.labels.items():
            note(f"Object {object_id}: {label} of the descriptor file")


def print_descriptors(session: DescriptorSession, file: Path | None, folder: Path) -> None:
    """Print which saved objects are probably not in the video, and how many descriptors were added."""
    if session.recognition is not None:
        for object_id, (alike, found) in session.recognition.unrecognised().items():
            seen = f"found in {counted(found, 'frame')}" + (f", alike in {alike} of them" if found else "")
            note(f"Object {object_id} is probably not in this video: {seen}.")
    if session.recorder is not None and session.recorder.incomplete:
        note(f"The run was resumed, so nothing was added to {file}: hodor export-descriptors {folder} -o {file}")
    elif session.recorder is not None:
        say(f"  {file}  {counted(session.recorder.rows, 'descriptor')} added")


def objects_named(ids: Sequence[int]) -> str:
    if not ids:
        return "no object"
    shown = ", ".join(str(key) for key in ids[:8]) + (" ..." if len(ids) > 8 else "")
    return f"object {shown}" if len(ids) == 1 else f"{len(ids)} objects ({shown})"


#: Frames with masks that are named on the terminal.
_SHOWN_MASKS = 10


def given_inputs(
    frames: FrameSource,
    mask: Sequence[str] | None,
    box: Sequence[str] | None,
    click: Sequence[str] | None,
    remove: Sequence[str] | None = None,
    appear: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> RunInputs:
    """The inputs of a run from the options of these names; prints how they were read."""
    from hodor_cli.formats.mask_arguments import read_given
    from hodor_cli.run.exporting import names_of
    from hodor_cli.run.inputs import RunInputs, ids_and_frames, removals_by_frame
    from hodor_cli.run.prompts import UnclearClickError, prompts_by_frame, read_boxes, read_clicks

    read = read_given(list(mask or ()), frames)
    masked = {frame: one.object_ids for frame, one in read.masks.items()}
    try:
        boxes, clicks = prompts_by_frame(
            read_boxes(box or (), frames),
            read_clicks(click or (), frames),
            masked,
            lambda frame: read.masks[frame].labels,
        )
    except UnclearClickError as error:
        raise UsageError(f"{error}, for example {error.example}") from error
    removed = removals_by_frame(remove or (), frames)
    for frame, ids in read.ends.items():
        removed.setdefault(frame, []).extend(ids)
    for frame, given in list(read.masks.items())[:_SHOWN_MASKS]:
        note(f"Frame {frame}: {objects_named(given.object_ids)} from {', '.join(given.files)}")
        for line in given.notes:
            note(f"  {line}")
    if len(read.masks) > _SHOWN_MASKS:
        more = counted(len(read.masks) - _SHOWN_MASKS, "more frame")
        note(f"... and masks for {more}, up to frame {max(read.masks)}")
    for frame, by_id in boxes.items():
        for object_id, side in by_id.items():
            note(f"Frame {frame}: object {object_id} from the box {','.join(map(str, side))}")
    for frame, of_frame in clicks.items():
        for object_id, of_object in of_frame.items():
            begun = object_id in (*masked.get(frame, ()), *boxes.get(frame, ()))
            how = "corrected by" if begun else "from"
            note(f"Frame {frame}: object {object_id} {how} {counted(len(of_object), 'click')}")
    appears = dict(ids_and_frames(appear or (), frames, "appearance"))
    names_by_id = {**read.names, **names_of(names or ())}
    return RunInputs(read.masks, boxes, removed, clicks=clicks, names=names_by_id, appears=appears)


def value_range_of(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--value-range {text} is not two numbers LOW,HIGH, for example 0,1023") from None
    return low, high


def resuming(overwrite: bool) -> str:
    """How an interrupted command is continued; overwrite: it was told to replace what was there."""
    return "the same command, with --resume instead of --overwrite" if overwrite else "the same command and --resume"
