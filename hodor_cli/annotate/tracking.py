"""Tracks objects from one frame in one direction, or from all masks made by hand in both directions.

Once everything has been tracked, editing a mask affects only the frames up to the object's neighbouring masks, so only
these frames are tracked again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path

import numpy as np

from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.project import Labels, Project, made_by_hand
from hodor_cli.annotate.result import inputs_by_hand
from hodor_cli.engine.ahead import LookAhead
from hodor_cli.engine.following import GivenMasks, follow
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.engine.step_result import StepResult
from hodor_cli.records import FrameRecord
from hodor_cli.run.correcting import ChangedPart, CorrectingSegmenter, Part
from hodor_cli.run.inputs import FrameInputs
from hodor_cli.run.results import FrameResult, frame_record
from hodor_cli.video.frames import Frame

#: A tracked frame: its record and label map.
Tracked = tuple[FrameRecord, Labels]


class Tracker:
    """Tracks the objects of a project and yields the frames, without writing them.

    Objects made by hand in a frame keep their masks there, and tracking continues from these masks.

    warnings: what the network could not use so far, such as the mask of an object that is too small, each once.
    """

    def __init__(self, project: Project, reader: FrameReader, segmenter: OfflineSegmenter) -> None:
        self._project, self._reader, self._segmenter = project, reader, segmenter
        self.warnings: dict[str, None] = {}

    def from_frame(self, way: Iterable[int]) -> Iterator[Tracked]:
        """Track the objects in the first frame of `way` through its other frames, and yield those."""
        segmenter, fps = self._segmenter, self._reader.fps
        segmenter.reset()
        read = ((index, self._reader.read(index)) for index in way)
        with LookAhead(read, segmenter, itemgetter(1)) as frames:
            for position, (index, image) in enumerate(frames):
                record = self._project.records.get(index)
                given: Labels | None = self._project.labels(index) if position == 0 else None
                if position and record is not None and record.given:
                    given = made_by_hand(self._project.labels(index), record)
                for object_id in record.removed if record else ():
                    if object_id in segmenter.object_ids:
                        segmenter.remove(object_id)
                segmenter.step(image, given if given is not None and given.any() else None, time=position / fps)
                tracked = self._tracked(index, segmenter.last)
                if position:
                    yield tracked

    def everywhere(self) -> Iterator[Tracked | None]:
        """Track from all masks made by hand through the whole video, forward and backward.

        First yields each frame of the backward pass, so that the user can watch: its result if the frame has no mask
        yet, else None. Then yields every frame with the combined result of both directions.
        """
        reader, known, inputs = self._reader, set(self._project.records), inputs_by_hand(self._project)
        with tempfile.TemporaryDirectory(prefix="hodor-") as maps:
            for found in follow(
                self._segmenter,
                reader.source,
                GivenMasks(inputs.masks, inputs.removals),
                frames=(reader.start, reader.end - 1),
                preview=True,
                maps=MapFolder(Path(maps)),
            ):
                new = found.final or found.frame not in known
                yield self._tracked(found.frame, found.result) if new else None

    def again(self, change: ChangedPart, progress: Callable[[int, int], None]) -> Iterator[Tracked]:
        """Track the part that an edit affects, after everything has been tracked, and yield its frames.

        progress: called with the number of frames done and in total; raise from it to stop.
        """
        inputs = inputs_by_hand(self._project)
        source, start, end = self._reader.source, self._reader.start, self._reader.end
        earlier = {index: self._project.records.get(index) or self._reader.blank(index) for index in range(start, end)}
        # The frame before a part is processed too, because its masks are what the part starts from.
        ranges = [(max(low - 1, start), high + 1) for low, high in change.ranges]
        frames = [index for first, stop in ranges for index in range(first, stop)]
        part = Part(change, frames, earlier, self._project.labels)

        with tempfile.TemporaryDirectory(prefix="hodor-") as maps:
            segmenter = CorrectingSegmenter(
                self._segmenter, source, inputs, part, MapFolder(Path(maps)),
                lambda backward, count: progress(backward, count + len(frames)),
            )  # fmt: skip
            done = segmenter.backward_frames
            for first, stop in ranges:
                for frame in source.between(first, stop):
                    segmenter.step(frame.picture, time=frame.time)
                    if change.covers(frame.index):
                        yield self._tracked(frame.index, segmenter.last)
                    done += 1
                    progress(done, segmenter.backward_frames + len(frames))

    def _tracked(self, index: int, result: StepResult) -> Tracked:
        self.warnings |= dict.fromkeys(result.warnings)
        record, unseen = self._project.records.get(index) or self._reader.blank(index), np.zeros((0, 0, 3), np.uint8)
        given = FrameInputs(given=record.given, removed=record.removed, boxes=record.boxes, clicks=record.clicks)
        frame = Frame(index, self._reader.name(index), unseen, index / self._reader.fps)  # its record needs no pixels
        return frame_record(FrameResult(frame, result, given), ticks=0), result.labels


def ways(reader: FrameReader, start: int, direction: str) -> list[range]:
    """The frames to track, one range per direction, each beginning with `start`."""
    forward, backward = range(start, reader.end), range(start, reader.start - 1, -1)
    one = range(start, min(start + 2, reader.end))
    return {"forward": [forward], "backward": [backward], "both": [forward, backward], "one": [one]}[direction]
