"""What `hodor segment` prints at its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.cli.marks import objects_named
from hodor_cli.cli.terminal import note, say, warn
from hodor_cli.images.paths import plural

if TYPE_CHECKING:
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.run.settings import SegmentSummary


#: Ranges of frames to review that are listed on the terminal; the report has all.
_SHOWN_REVIEWS = 12


def print_summary(summary: SegmentSummary, *, printed: Collection[str]) -> None:
    """Print the files, the frames to review, and the warnings that have not been printed yet."""
    for warning in summary.warnings:
        if warning not in printed:
            warn(warning)
    frames, objects = plural(summary.frames, "frame"), objects_named(summary.object_ids)
    if summary.already_finished:
        say(f"{summary.out} is finished already: {frames}, {objects}.")
    else:
        again = f" ({summary.resumed_from} of them before)" if summary.resumed_from else ""
        rate = f", {summary.frames_per_second:.1f} frames/s" if summary.frames_per_second else ""  # none: renamed
        say(f"{frames}{again}, {objects}{rate}.")
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
    alike = defaultdict(list)  # a cut concerns all objects
    for item in summary.review:
        alike[item.first_frame, item.last_frame, item.reason].append(item)
    for first, *more in list(alike.values())[:_SHOWN_REVIEWS]:
        say(f"  {first}" + (f"; also {objects_named([item.object_id for item in more])}" if more else ""))
    if len(alike) > _SHOWN_REVIEWS:
        say(f"  ... and {len(alike) - _SHOWN_REVIEWS} more, all in report.json")


def print_known(session: DescriptorSession) -> None:
    """Print which saved object each id refers to."""
    if session.recognition is not None:
        for object_id, saved in session.recognition.saved_as.items():
            note(f"Object {object_id}: {saved}")


def print_descriptors(session: DescriptorSession, file: Path | None, summary: SegmentSummary) -> None:
    """Print which saved objects are probably not in the video, and how many descriptors were added."""
    if session.recognition is not None and not summary.already_finished:  # else no frame has been compared
        for object_id, (alike, found) in session.recognition.unrecognised().items():
            seen_in = f"found in {plural(found, 'frame')}" + (f", similar in {alike} of them" if found else "")
            note(f"Object {object_id} is probably not in this video: {seen_in}.")
    if session.recorder is not None and session.recorder.incomplete:
        note(f"The run was resumed, so nothing was added to {file}: hodor export-descriptors {summary.out} -o {file}")
    elif session.recorder is not None:
        renamed = session.recorder.renamed
        instead = f", in place of {renamed}, which was renamed" if renamed else ""
        say(f"  {file}  {plural(session.recorder.rows, 'descriptor')} added{instead}")


def resuming(overwrite: bool) -> str:
    """How to continue an interrupted command. overwrite: whether it was run with --overwrite."""
    return "the same command, with --resume instead of --overwrite" if overwrite else "the same command and --resume"
