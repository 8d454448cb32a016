"""The loop of a run, one step per frame, between the thread that reads and the thread that writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np

from hodor_cli.engine.ahead import LookAhead
from hodor_cli.errors import HodorError, InputError
from hodor_cli.images.label_png import read_label_png
from hodor_cli.run.finish import FrameResult
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.pipeline import ReadAhead, WriteBehind
from hodor_cli.run.records import FrameRecord
from hodor_cli.run.results import PIECE_FRAMES, Drawing, Redraw, ResultsWriter
from hodor_cli.run.resume import Progressed, RunState, damaged
from hodor_cli.run.settings import RunHooks, RunOutput, RunSegmenter
from hodor_cli.runtime.free_cores import FreeCores
from hodor_cli.video.frames import Frame, FrameSource

_Writer = WriteBehind[FrameResult | Redraw | RunState]


class NothingToFollowError(InputError):
    """The source ended before the first frame that has a mask."""


@dataclass(frozen=True)
class RunJob:
    """The arguments of a run except its folder and its segmenter."""

    source: FrameSource
    inputs: RunInputs
    drawing: Drawing
    output: RunOutput
    hooks: RunHooks


class RunLoop:
    """The loop between the reading and the writing thread."""

    def __init__(
        self,
        job: RunJob,
        segmenter: RunSegmenter,
        folder: OutputFolder,
        checkpoint: RunState | None,
        parts: Sequence[tuple[int, int]] | None = None,
        ticks: Mapping[int, int] | None = None,
    ) -> None:
        """parts: separate ranges (first, stop) of frames to segment, in order; all frames if None. ticks: frame -> time
        in the overlay, where that is known."""
        self._job, self._source, self._inputs, self._hooks = job, job.source, job.inputs, job.hooks
        self._segmenter, self._folder, self._parts = segmenter, folder, parts
        self._resumed = checkpoint.progress if checkpoint else Progressed()
        self._done = self._resumed.done
        self._settled = True  # whether the segmenter's state is that after the last frame
        self.seconds, self.network_seconds = self._resumed.seconds, self._resumed.network_seconds
        self.warnings = tuple(dict.fromkeys((*self._resumed.warnings, *job.inputs.warnings)))
        if checkpoint is not None:
            try:
                segmenter.load_state(dict(checkpoint.state))
            except HodorError:
                raise
            except Exception as error:  # arrays of another run, or changed ones, can raise any kind of exception
                raise damaged(folder.checkpoint) from error
        self.results = results = ResultsWriter(folder, job.source, job.drawing, self._resumed, ticks)
        #: The first and last frame done.
        self._first = None if results.first is None else results.first.frame
        self._last = None if results.last is None else results.last.frame

    def work(self) -> None:
        """Segment all frames that are not done; on return all of them and a last checkpoint are written.

        A camera runs until KeyboardInterrupt, which then ends the run normally.
        """
        # Frames of RGB that fit into 64 MiB.
        depth = max(2, min(8, 64 * 2**20 // max(1, self._source.height * self._source.width * 3)))
        writer: _Writer = WriteBehind(self.results.handle, depth)
        began, carried = time.perf_counter(), self.seconds
        unfinished = list(self.results.unfinished)
        # The next frame of a camera or a pipe may be long in coming.
        looks_ahead = self._segmenter if self._source.reiterable else None
        try:
            try:
                with (
                    ReadAhead(self._frames_from(unfinished), depth) as read,
                    LookAhead(read, looks_ahead, lambda frame: frame.picture) as frames,
                    FreeCores(frames.threads) as cores,
                ):
                    saved = began
                    for frame in frames:
                        if unfinished:
                            record, path = unfinished.pop(0), self._folder.mask(frame.name)
                            if frame.index != record.frame:
                                raise InputError(
                                    f"{self._source.name} gives other frames than before; start again with `overwrite`"
                                )
                            labels = read_label_png(path)
                            if labels.shape != frame.picture.shape[:2]:
                                raise damaged(path)
                            if self._job.drawing.overlay:
                                writer.put(Redraw(frame, labels, record.ticks))
                            continue
                        cores.adjust()
                        self._segment(frame, writer)
                        now = time.perf_counter()
                        self.seconds = carried + now - began
                        if now - saved >= self._job.output.checkpoint_seconds or self._done % PIECE_FRAMES == 0:
                            writer.put(self._save_point())
                            saved = now
            except KeyboardInterrupt:
                if self._source.kind != "camera":
                    raise
            if unfinished:
                raise InputError(f"{self._source.label} ends before the frames done so far; give the same source again")
            self._check_all_used()
            writer.put(self._save_point())
            writer.close()
            self.results.close()
            self.seconds = carried + time.perf_counter() - began
        except BaseException as error:
            # Frames handed over are still written, so that a resumed run continues as late as possible.
            if self._settled and not unfinished and self._done and not isinstance(error, HodorError):
                with suppress(Exception):
                    writer.put(self._save_point())
            writer.finish()
            self.results.abandon()
            raise

    def _frames_from(self, unfinished: list[FrameRecord]) -> Iterator[Frame]:
        """The source's frames from the first needed one on."""
        last = self._last
        needed = unfinished[0].frame if unfinished else -1 if last is None else last + 1
        if self._parts is None:
            return (frame for frame in self._source if frame.index >= needed)
        parts = ((max(first, needed), stop) for first, stop in self._parts if stop > needed)
        return chain.from_iterable(self._source.between(first, stop) for first, stop in parts)

    def _segment(self, frame: Frame, writer: _Writer) -> None:
        """Segment a new frame, pass it to the writer, and call the hooks."""
        self._settled = False
        given = self._inputs.at(frame)
        for object_id in given.removed:
            if object_id in self._segmenter.object_ids:  # an object too small to be encoded is not followed
                self._segmenter.remove(object_id)
        before = self._segmenter.last
        try:
            labels = self._segmenter.step(frame.picture, masks=given.labels, time=frame.time)
        except BaseException:
            self._settled = self._segmenter.last is before  # an unfinished step does not change the state
            raise
        last = self._segmenter.last
        self.network_seconds += float(last.network_seconds)
        extra = None
        if self._hooks.on_step and not getattr(self._segmenter, "kept", False):
            extra = self._hooks.on_step(frame, last, self._segmenter)
        result = FrameResult(
            frame=frame,
            labels=labels,
            objects=dict(last.objects),
            given=() if given.labels is None else tuple(int(key) for key in np.unique(given.labels) if key),
            inputs=given,
            warnings=(*given.warnings, *last.warnings),
            extra=extra or {},
        )
        writer.put(result)
        self._first = frame.index if self._first is None else self._first
        self._last, self._done, self._settled = frame.index, self._done + 1, True
        if self._hooks.progress:
            parts = self._parts
            whole = self._source.length if parts is None else sum(stop - first for first, stop in parts)
            self._hooks.progress(self._done, whole)
        if self._hooks.on_frame:
            self._hooks.on_frame(frame, labels)

    @property
    def spent(self) -> Progressed:
        """Frames done, time spent, and warnings so far, also those of the source."""
        self.warnings = tuple(dict.fromkeys((*self.warnings, *self._source.warnings)))
        return Progressed(self._done, 0, self.seconds, self.network_seconds, self.warnings)

    def _save_point(self) -> RunState:
        return RunState(self.spent, {key: np.array(value) for key, value in self._segmenter.state().items()})

    def _check_all_used(self) -> None:
        """Warn or raise if inputs were given for frames that did not come because the source is shorter than stated."""
        first, last = self._first, self._last
        if self._parts is not None:  # the inputs were used by the run that these are parts of
            return
        if first is None or last is None:
            raise NothingToFollowError(f"{self._source.name} has no readable frame in this range; check `start`")
        unused = self._inputs.unused(first, last)
        if unused and set(self._inputs.starts) <= set(unused):
            raise NothingToFollowError(
                f"there is no frame {unused[0]} to start an object in: {self._source.label} has the frames {first} to "
                f"{last}; choose one of these"
            )
        if unused:
            frames = ", ".join(str(frame) for frame in unused)
            self.warnings += (f"no frame came for what was given in frame {frames}: the source ended at {last}",)
