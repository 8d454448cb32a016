"""Following the objects of a frame to one side, and both."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hodor_cli.annotate.project import Project
from hodor_cli.run.report import FrameResult, frame_record
from hodor_cli.video.frames import Frame

if TYPE_CHECKING:
    from hodor_cli.annotate.frames import FrameReader
    from hodor_cli.engine import Segmenter
    from hodor_cli.run.records import FrameRecord

#: A frame that was followed: its record and label map.
Tracked = tuple["FrameRecord", NDArray[np.uint16]]


def track(
    project: Project, reader: FrameReader, segmenter: Segmenter, way: Iterable[int], stop: threading.Event
) -> Iterator[Tracked]:
    """Follow the objects of the first frame of `way` through the others; yields each of these, until `stop` is set.

    What was made by hand in a frame on the way stays as it is, and corrects the object from there on.
    """
    fps = reader.source.fps or 25.0
    segmenter.reset()
    for position, index in enumerate(way):
        if stop.is_set():
            return
        image, record = reader.read(index), project.records.get(index)
        given: NDArray[np.uint16] | None = project.labels(index) if position == 0 else None
        if position and record is not None and record.given:
            given = project.given(index)
        removed = tuple(key for key in (record.removed if record else ()) if key in segmenter.object_ids)
        for object_id in removed:
            segmenter.remove(object_id)
        labels = segmenter.step(image, given if given is not None and given.any() else None, time=position / fps)
        if position == 0:
            continue
        result = FrameResult(
            frame=Frame(index, reader.name(index), image, index / fps),
            labels=labels,
            objects=dict(segmenter.last.objects),
            given=record.given if record else (),
            removed=record.removed if record else (),
            warnings=tuple(segmenter.last.warnings),
        )
        yield frame_record(result, ticks=0), labels


def ways(reader: FrameReader, start: int, direction: str) -> list[range]:
    """The frames to go through, the start first: one range for each direction."""
    forward, backward = range(start, reader.end), range(start, reader.start - 1, -1)
    one = range(start, min(start + 2, reader.end))
    return {"forward": [forward], "backward": [backward], "both": [forward, backward], "one": [one]}[direction]
