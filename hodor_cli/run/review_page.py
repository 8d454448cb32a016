"""review.html: what happened to every object over time, the frames to look at, and the overlay to play, on one page.

The page lies beside the overlay and plays it; everything else is in the page itself.
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

#: Stretches with a picture; later ones are lines of text. Columns of a timeline: more than a screen shows.
_MOST_PICTURES = 12
_COLUMNS = 480
_PICTURE_WIDTH = 360


@dataclass
class _Column:
    """A few frames of one object in its timeline: the lowest confidence, and in how many it is present or lost."""

    confidence: float = 1.0
    present: int = 0
    lost: int = 0


@dataclass
class Timeline:
    """One object over time. `bars` are (x, width, height, kind) in a picture `_COLUMNS` wide and 1 high."""

    object_id: int
    colour: tuple[int, ...]
    summary: ObjectSummary
    columns: dict[int, _Column] = field(default_factory=dict)
    marks: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def bars(self) -> Iterator[tuple[int, float, str]]:
        """(x, height 0..1, "present" or "lost") of each column that has the object."""
        for x, column in sorted(self.columns.items()):
            kind = "present" if column.present else "lost"
            yield x, max(0.06, column.confidence) if column.present else 1.0, kind


@dataclass(frozen=True)
class Moment:
    """A stretch to look at: when it begins (s from the overlay's beginning), what is wrong, and a picture of it."""

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
    """Write the page. overlay: the finished overlay video, whose name the page plays; None if there is none."""
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
) -> Timeline:
    colour = tuple(int(value) for value in object_colours(np.array([object_id]))[0])
    line = Timeline(object_id, colour, summary)
    for position, confidence, lost in places:
        # A short clip has fewer frames than columns; its frames become as wide as they must.
        column = line.columns.setdefault(position * min(count, _COLUMNS) // count, _Column())
        column.present += not lost
        column.lost += lost
        if not lost:
            column.confidence = min(column.confidence, confidence)
    return line


def _pictures(overlay: Path, seconds: Sequence[float]) -> dict[float, NDArray[np.uint8]]:
    """Small pictures of the overlay at these times; a time at which nothing can be decoded has none."""
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
