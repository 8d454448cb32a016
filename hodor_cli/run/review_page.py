"""review.html: a page with the timeline of every object, the frames to review, and the overlay video.

The page plays the overlay beside it; everything else is embedded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.files import write_whole
from hodor_cli.pages import render
from hodor_cli.run.records import FrameRecord, ObjectSummary, ReviewItem, RunIdentity
from hodor_cli.video.overlay import object_colours

#: The number of ranges shown with a picture; later ones are lines of text. The columns of a timeline.
_MOST_PICTURES = 12
_COLUMNS = 480
_PICTURE_WIDTH = 360


@dataclass
class _Column:
    """Some frames of one object in its timeline: the lowest confidence, and how often it is present and lost."""

    confidence: float = 1.0
    present: int = 0
    lost: int = 0


@dataclass
class ObjectTimeline:
    """One object over time, in a picture `_COLUMNS` wide and 1 high."""

    object_id: int
    colour: tuple[int, ...]
    summary: ObjectSummary
    columns: dict[int, _Column] = field(default_factory=dict)
    marks: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def bars(self) -> Iterator[tuple[int, float, str]]:
        """Yield (x, height 0..1, "present" or "lost") for each column that has the object."""
        for x, column in sorted(self.columns.items()):
            kind = "present" if column.present else "lost"
            yield x, max(0.06, column.confidence) if column.present else 1.0, kind


@dataclass(frozen=True)
class Moment:
    """A range to review: its time in the overlay in seconds, its reason, and a picture."""

    item: ReviewItem
    seconds: float
    picture: NDArray[np.uint8] | None


def write_review_page(
    page: Path,
    identity: RunIdentity,
    objects: Mapping[int, ObjectSummary],
    review: Sequence[ReviewItem],
    records: Iterable[FrameRecord],
    overlay: Path | None,
) -> None:
    """Write the page. overlay: the finished overlay video, which the page plays; None without one."""
    wanted = {item.first_frame for item in review}
    count, seconds, positions = 0, {}, {}
    start: float | None = None
    places: dict[int, list[tuple[int, float, bool]]] = {object_id: [] for object_id in objects}
    for record in records:
        start = record.time if start is None else start
        if record.frame in wanted:
            seconds[record.frame], positions[record.frame] = record.time - start, count
        for object_id, entry in record.objects.items():
            places[object_id].append((count, entry.confidence, entry.lost))
        count += 1
    lines = [_timeline(object_id, objects[object_id], of_object, count) for object_id, of_object in places.items()]
    for item in review:
        line = next((line for line in lines if line.object_id == item.object_id), None)
        if line is not None:
            first = positions.get(item.first_frame, 0)
            length = item.last_frame - item.first_frame + 1
            line.marks.append((first * _COLUMNS / count, max(2.0, length * _COLUMNS / count), item.reason))
    pictures = {} if overlay is None else _pictures(overlay, [seconds[i.first_frame] for i in review[:_MOST_PICTURES]])
    moments = [
        Moment(item, seconds.get(item.first_frame, 0.0), pictures.get(seconds.get(item.first_frame, -1.0)))
        for item in review
    ]
    text = render(
        "hodor_cli.run",
        "review.html",
        identity=identity,
        frames=count,
        columns=_COLUMNS,
        timelines=lines,
        moments=moments,
        overlay=None if overlay is None else overlay.name,
    )
    write_whole(page, text.encode())


def _timeline(
    object_id: int, summary: ObjectSummary, places: Iterable[tuple[int, float, bool]], count: int
) -> ObjectTimeline:
    colour = tuple(int(value) for value in object_colours(np.array([object_id]))[0])
    line = ObjectTimeline(object_id, colour, summary)
    for position, confidence, lost in places:
        # A clip with fewer frames than columns uses one column per frame, which the page widens.
        column = line.columns.setdefault(position * min(count, _COLUMNS) // count, _Column())
        column.present += not lost
        column.lost += lost
        if not lost:
            column.confidence = min(column.confidence, confidence)
    return line


def _pictures(overlay: Path, seconds: Sequence[float]) -> dict[float, NDArray[np.uint8]]:
    """Small pictures of the overlay at these times, where they can be decoded."""
    import av
    import cv2

    found: dict[float, NDArray[np.uint8]] = {}
    with av.open(str(overlay)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = stream.time_base
        if base is None:
            return found
        for moment in sorted(set(seconds)):
            container.seek(int(moment / base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= moment - 0.001:
                    picture = frame.to_ndarray(format="rgb24")
                    height = max(1, round(picture.shape[0] * _PICTURE_WIDTH / picture.shape[1]))
                    small = cv2.resize(picture, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
                    found[moment] = np.asarray(small, dtype=np.uint8)
                    break
    return found
