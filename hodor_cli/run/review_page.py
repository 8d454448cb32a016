"""The result of a run as HTML: the page review.html, and the view in a notebook.

review.html plays the overlay, and has a timeline of every object and the frames to review.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import write_whole
from hodor_cli.images.sheet import scaled
from hodor_cli.pages import render
from hodor_cli.records import FrameRecord, ObjectRecord, ObjectSummary, ReportRecord, read_record
from hodor_cli.run.settings import SegmentSummary
from hodor_cli.video.overlay import colour_of
from hodor_cli.video.source import open_source

#: Ranges shown with a picture; later ones have only text.
_MOST_PICTURES = 12
#: Columns of a timeline.
_COLUMNS = 480
_PICTURE_WIDTH = 360


@dataclass
class ObjectTimeline:
    """One object over time, drawn `_COLUMNS` wide and 1 high. marks: (x, width, reason) of ranges to review."""

    object_id: int
    colour: tuple[int, ...]
    summary: ObjectSummary
    #: Column -> the lowest confidence in it, None if the object is lost in all its frames.
    columns: dict[int, float | None] = field(default_factory=dict)
    marks: list[tuple[float, float, str]] = field(default_factory=list)

    def add(self, x: int, entry: ObjectRecord) -> None:
        """Add the object's record of a frame to a column."""
        before = self.columns.setdefault(x, None)
        if not entry.lost:
            self.columns[x] = entry.confidence if before is None else min(before, entry.confidence)

    @property
    def bars(self) -> Iterator[tuple[int, float, str]]:
        """Yield (x, height 0..1, "present" or "lost") for each column with the object."""
        for x, confidence in sorted(self.columns.items()):
            yield x, *((1.0, "lost") if confidence is None else (max(0.06, confidence), "present"))


def write_review_page(page: Path, report: ReportRecord, records: Iterable[FrameRecord], overlay: Path | None) -> None:
    """Write the page. overlay: the finished overlay video that the page plays, if any."""
    review, count = report.review, report.speed.frames
    wanted = {item.first_frame for item in review}
    seconds, positions = {}, {}
    start: float | None = None
    lines = {key: ObjectTimeline(key, colour_of(key), summary) for key, summary in report.objects.items()}
    for position, record in enumerate(records):
        start = record.time if start is None else start
        if record.frame in wanted:
            seconds[record.frame], positions[record.frame] = record.time - start, position
        for object_id, entry in record.objects.items():
            # A clip with fewer frames than columns uses one column per frame, and the page widens them.
            lines[object_id].add(position * min(count, _COLUMNS) // count, entry)
    shown = [positions[item.first_frame] for item in review[:_MOST_PICTURES]]
    pictures = {} if overlay is None else _pictures(overlay, shown)
    moments: dict[tuple[int, int, int], dict[str, object]] = {}
    for item in review:
        first, length = positions[item.first_frame], item.last_frame - item.first_frame + 1
        if item.object_id in lines:  # a caller's notes may be about other objects
            mark = (first * _COLUMNS / count, max(2.0, length * _COLUMNS / count), item.reason)
            lines[item.object_id].marks.append(mark)
        key = (item.first_frame, item.last_frame, item.object_id)
        if key in moments:  # one picture for all reasons
            moments[key]["text"] = f"{moments[key]['text']}; {item.why}"
        else:
            moments[key] = {"text": str(item), "seconds": seconds[item.first_frame], "picture": pictures.get(first)}
    text = render(
        "hodor_cli.run",
        "review.html",
        report=report,
        columns=_COLUMNS,
        timelines=list(lines.values()),
        moments=list(moments.values()),
        overlay=None if overlay is None else overlay.name,
    )
    write_whole(page, text.encode())


def _pictures(overlay: Path, positions: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """Thumbnails of the overlay at these frames, except those that cannot be decoded."""
    found: dict[int, NDArray[np.uint8]] = {}
    with open_source(overlay) as source:
        for position in sorted(set(positions)):
            for frame in source.between(position, position + 1):
                found[position] = scaled(frame.image, _PICTURE_WIDTH / frame.image.shape[1])
    return found


#: Only smaller videos are embedded, because a notebook file stores everything that it shows.
_MOST_BYTES = 12 * 2**20
_MOST_REVIEWS = 8


def notebook_html(summary: SegmentSummary) -> str:
    """The HTML of a result, without files that have been removed."""
    overlay, report = summary.files.get("overlay"), summary.files.get("report")
    video: str | None = None
    objects: dict[int, ObjectSummary] = {}
    with suppress(OSError):
        if overlay is not None and overlay.stat().st_size <= _MOST_BYTES:
            video = "data:video/mp4;base64," + base64.b64encode(overlay.read_bytes()).decode()
    with suppress(OSError, OutputError):
        objects = {} if report is None else read_record(report, ReportRecord).objects
    return render(
        "hodor_cli.run",
        "notebook.html",
        summary=summary,
        video=video,
        overlay=overlay,
        rows=[(key, colour_of(key), summary) for key, summary in objects.items()],
        review=summary.review[:_MOST_REVIEWS],
        more=max(0, len(summary.review) - _MOST_REVIEWS),
    )
