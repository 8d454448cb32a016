"""Tracks objects from one frame in one direction, or from all masks made by hand in both directions."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hodor_cli.annotate.project import Project
from hodor_cli.engine.following import GivenMasks, follow
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.run.report import FrameResult, frame_record
from hodor_cli.video.frames import Frame

if TYPE_CHECKING:
    from hodor_cli.annotate.frames import FrameReader
    from hodor_cli.engine import StepResult
    from hodor_cli.run.records import FrameRecord

Labels = NDArray[np.uint16]
#: A tracked frame: its record and label map.
Tracked = tuple["FrameRecord", Labels]


class Tracker:
    """Tracks the objects of a project and yields the frames, without writing them. `stop` ends it before the next one.

    Objects that were made by hand in a frame keep their masks there, and are tracked on from them.
    """

    def __init__(
        self, project: Project, reader: FrameReader, segmenter: OfflineSegmenter, stop: threading.Event
    ) -> None:
        self._project, self._reader, self._segmenter, self._stop = project, reader, segmenter, stop

    def from_frame(self, way: Iterable[int]) -> Iterator[Tracked]:
        """Track the objects in the first frame of `way` through the other frames, and yield these."""
        segmenter, fps = self._segmenter, self._reader.source.fps or 25.0
        segmenter.reset()
        for position, index in enumerate(way):
            if self._stop.is_set():
                return
            image, record = self._reader.read(index), self._project.records.get(index)
            given: Labels | None = self._project.labels(index) if position == 0 else None
            if position and record is not None and record.given:
                given = self._project.given(index)
            for object_id in record.removed if record else ():
                if object_id in segmenter.object_ids:
                    segmenter.remove(object_id)
            labels = segmenter.step(image, given if given is not None and given.any() else None, time=position / fps)
            if position:
                yield self._tracked(index, labels, segmenter.last, image)

    def everywhere(self) -> Iterator[Tracked | None]:
        """Track from all masks made by hand through the whole video, forward and backward.

        First yields each frame of the backward pass, so that the user can watch: its result where the frame has no mask
        yet, else None. Then yields every frame with the result of both directions.
        """
        reader = self._reader
        records = dict(self._project.records)
        given = GivenMasks(
            _MadeByHand(self._project),
            ended={index: record.removed for index, record in records.items() if record.removed},
        )
        with tempfile.TemporaryDirectory(prefix="hodor-") as maps:
            for found in follow(
                self._segmenter,
                reader.source,
                given,
                frames=(reader.start, reader.end - 1),
                preview=True,
                maps=MapFolder(Path(maps)),
            ):
                if self._stop.is_set():
                    return
                new = found.final or found.frame not in records
                yield self._tracked(found.frame, found.labels, found.result) if new else None

    def _tracked(
        self, index: int, labels: Labels, result: StepResult, image: NDArray[np.uint8] | None = None
    ) -> Tracked:
        record, fps = self._project.records.get(index), self._reader.source.fps or 25.0
        pixels = np.zeros((*labels.shape, 3), np.uint8) if image is None else image
        followed = FrameResult(
            frame=Frame(index, self._reader.name(index), pixels, index / fps),
            labels=labels,
            objects=dict(result.objects),
            given=record.given if record else (),
            removed=record.removed if record else (),
            warnings=tuple(result.warnings),
        )
        return frame_record(followed, ticks=0), labels


class _MadeByHand(Mapping[int, Labels]):
    """The label maps made by hand, by frame; each is read at its use."""

    def __init__(self, project: Project) -> None:
        self._project, self._frames = project, project.given_frames()

    def __getitem__(self, index: int) -> Labels:
        if index not in self._frames:
            raise KeyError(index)
        return self._project.given(index)

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def ways(reader: FrameReader, start: int, direction: str) -> list[range]:
    """The frames to track, beginning with `start`: one range for each direction."""
    forward, backward = range(start, reader.end), range(start, reader.start - 1, -1)
    one = range(start, min(start + 2, reader.end))
    return {"forward": [forward], "backward": [backward], "both": [forward, backward], "one": [one]}[direction]
