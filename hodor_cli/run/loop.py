"""The loop of a run: between the thread that reads and the thread that writes, one step per frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import read_label_png
from hodor_cli.run.finish import RunClock
from hodor_cli.run.inputs import StartMasks
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.pipeline import ReadAhead, WriteBehind, queue_depth
from hodor_cli.run.results import PIECE_FRAMES, FrameResult, Redraw, ResultsWriter, SavePoint
from hodor_cli.run.resume import Checkpoint, read_journal
from hodor_cli.run.settings import StepSegmenter
from hodor_cli.video.source import Frame, FrameSource

Progress = Callable[[int, "int | None"], None]
OnFrame = Callable[[Frame, NDArray[np.uint16]], None]
OnStep = Callable[[Frame, Any, StepSegmenter], "Mapping[str, Any] | None"]


class NothingToFollowError(InputError):
    """The source ended before the first frame that has a mask."""


class RunLoop:
    """The loop between the reading and the writing thread."""

    def __init__(
        self,
        source: FrameSource,
        start: StartMasks,
        segmenter: StepSegmenter,
        folder: OutputFolder,
        checkpoint: Checkpoint | None,
        checkpoint_seconds: float,
    ) -> None:
        self._source, self._start, self._segmenter, self._folder = source, start, segmenter, folder
        self._checkpoint, self._checkpoint_seconds = checkpoint, checkpoint_seconds
        self.resumed_from = checkpoint.done if checkpoint else 0
        self.clock = RunClock()
        if checkpoint is not None:
            self.clock = RunClock(checkpoint.seconds, checkpoint.network_seconds, checkpoint.warnings)
            segmenter.load_state(dict(checkpoint.state))

    def work(
        self,
        results: ResultsWriter,
        *,
        progress: Progress | None,
        on_frame: OnFrame | None,
        on_step: OnStep | None,
        redraw: bool,
    ) -> None:
        """Segment every frame that is not done yet; when it returns, all are written and a last checkpoint too.

        A camera runs until it is interrupted (KeyboardInterrupt), which ends its stream and is no error.
        """
        depth = queue_depth(self._source.height, self._source.width)
        writer = WriteBehind(results.handle, depth)
        began, carried = time.perf_counter(), self.clock.seconds
        saved, done = began, self.resumed_from
        first, last, unfinished = self._done_frames()
        try:
            try:
                with ReadAhead(self._frames_from(unfinished, last), depth) as frames:
                    for frame in frames:
                        if unfinished:
                            item = self._redraw(frame, unfinished.pop(0))
                            if redraw:
                                writer.put(item)
                            continue
                        result = self._step(frame, on_step)
                        writer.put(result)
                        first, last, done = frame.index if first is None else first, frame.index, done + 1
                        now = time.perf_counter()
                        self.clock.seconds = carried + now - began
                        if now - saved >= self._checkpoint_seconds or done % PIECE_FRAMES == 0:
                            writer.put(self._save_point())
                            saved = now
                        if progress:
                            progress(done, self._source.length)
                        if on_frame:
                            on_frame(frame, result.labels)
            except KeyboardInterrupt:
                if self._source.kind != "camera":
                    raise
            if unfinished:
                raise InputError(f"{self._source.label} ends before the frames done so far; give the same source again")
            self._check_all_used(first, last)
            writer.put(self._save_point())
            writer.close()
            self.clock.seconds = carried + time.perf_counter() - began
        except BaseException:
            writer.finish()  # what was handed over is written, so that resuming starts as late as possible
            raise

    def _done_frames(self) -> tuple[int | None, int | None, list[dict[str, Any]]]:
        """First and last index of the frames done, and the records of those whose overlay piece is unfinished."""
        first = last = None
        unfinished: list[dict[str, Any]] = []
        if self._checkpoint is not None:
            kept = read_journal(self._folder.journal, to_byte=self._checkpoint.journal_bytes)
            for position, record in enumerate(kept):
                first, last = record["frame"] if first is None else first, record["frame"]
                unfinished = [] if position % PIECE_FRAMES == 0 else unfinished
                unfinished.append(record)
            if len(unfinished) == PIECE_FRAMES:
                unfinished = []
        return first, last, unfinished

    def _frames_from(self, unfinished: list[dict[str, Any]], last: int | None) -> Iterator[Frame]:
        """The source's frames from the first that is needed on."""
        needed = unfinished[0]["frame"] if unfinished else -1 if last is None else last + 1
        return (frame for frame in self._source if frame.index >= needed)

    def _redraw(self, frame: Frame, record: Mapping[str, Any]) -> Redraw:
        if frame.index != record["frame"]:
            raise InputError(f"{self._source.name} gives other frames than before; start again with --overwrite")
        return Redraw(frame, read_label_png(self._folder.mask(frame.name)), record["ticks"])

    def _step(self, frame: Frame, on_step: OnStep | None) -> FrameResult:
        given, boxes, box_masks = self._start.at(frame)
        labels = self._segmenter.step(frame.image, masks=given)
        last = self._segmenter.last
        self.clock.network_seconds += float(last.network_seconds)
        extra = on_step(frame, last, self._segmenter) if on_step else None
        return FrameResult(
            frame=frame,
            labels=labels,
            objects=dict(last.objects),
            given=() if given is None else tuple(np.unique(given[given > 0]).tolist()),
            boxes=boxes,
            box_masks=box_masks,
            warnings=tuple(last.warnings),
            extra=extra or {},
        )

    def _save_point(self) -> SavePoint:
        self.clock.warnings = tuple(dict.fromkeys((*self.clock.warnings, *self._source.warnings)))
        state = {key: np.array(value) for key, value in self._segmenter.state().items()}
        return SavePoint(state, self.clock.seconds, self.clock.network_seconds, self.clock.warnings)

    def _check_all_used(self, first: int | None, last: int | None) -> None:
        """Complain about masks of frames that never came: the source was shorter than it said."""
        if first is None or last is None:
            raise NothingToFollowError(f"{self._source.name} has no readable frame in this range; check --start")
        unused = self._start.unused(first, last)
        if unused and unused == self._start.frames:
            raise NothingToFollowError(
                f"there is no frame {unused[0]} to start an object in: {self._source.label} has the frames {first} to "
                f"{last}; choose one of these"
            )
        if unused:
            frames = ", ".join(str(frame) for frame in unused)
            self.clock.warnings += (f"no frame came for the masks of frame {frames}: the source ended at {last}",)
