"""The loop of a run: one step per frame, between the reading and the writing thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import numpy as np

from hodor_cli.engine.ahead import LookAhead
from hodor_cli.errors import HodorError, InputError
from hodor_cli.images.label_png import read_label_png
from hodor_cli.images.paths import listed
from hodor_cli.records import FrameRecord, ReviewNote
from hodor_cli.run.output import OutputFolder, damaged
from hodor_cli.run.pipeline import WriteBehind, read_ahead
from hodor_cli.run.results import PIECE_FRAMES, FrameResult, Redraw, ResultsWriter
from hodor_cli.run.resume import RunProgress, RunState
from hodor_cli.run.settings import RunJob, RunSegmenter
from hodor_cli.runtime.free_cores import FreeCores
from hodor_cli.video.frames import Frame

_Writer = WriteBehind[FrameResult | Redraw | RunState]


class NothingToFollowError(InputError):
    """The source ended before the first frame that has a mask."""


class RunLoop:
    """Segments the frames of a run that are not done yet; `work` does it."""

    def __init__(self, job: RunJob, segmenter: RunSegmenter, folder: OutputFolder, checkpoint: RunState | None) -> None:
        """checkpoint: where to continue; None for a new run. Raises OutputError if it is damaged."""
        self._job, self._source, self._segmenter, self._folder = job, job.source, segmenter, folder
        resumed = checkpoint.progress if checkpoint else RunProgress()
        self._done = resumed.done
        self._settled = True  # whether the segmenter's state is that after the last frame
        self._seconds, self._network_seconds = resumed.seconds, resumed.network_seconds
        self._warnings = resumed.warnings
        if checkpoint is not None:
            try:
                segmenter.load_state(dict(checkpoint.state))
            except HodorError:
                raise
            except Exception as error:  # wrong arrays can raise any kind of exception
                raise damaged(folder.checkpoint) from error
        self.results = results = ResultsWriter(folder, job, resumed)
        #: The first and last frame done.
        self._first = None if results.first is None else results.first.frame
        self._last = None if results.last is None else results.last.frame
        #: Frames done whose piece of the overlay is unfinished; they are drawn again first.
        self._unfinished = list(results.unfinished)

    def work(self) -> None:
        """Segment all frames that are not done, and write them and a last checkpoint.

        A camera runs until KeyboardInterrupt, which then ends the run normally.
        """
        # RGB frames that fit into 64 MiB.
        depth = max(2, min(8, 64 * 2**20 // max(1, self._source.height * self._source.width * 3)))
        writer: _Writer = WriteBehind(self.results.handle, depth)
        self._began = time.perf_counter() - self._seconds  # as if the run had not been interrupted
        try:
            with suppress(*((KeyboardInterrupt,) if self._source.kind == "camera" else ())):
                self._read_and_segment(writer, depth)
            if self._unfinished:
                raise InputError(f"{self._source.label} ends before the last frame done; give the same source again")
            self._check_all_used()
            writer.put(self._save_point())
            writer.close()
            self.results.close()
            self._seconds = time.perf_counter() - self._began
        except BaseException as error:
            # Still write the frames handed over, so that a resumed run has less to do.
            if self._settled and not self._unfinished and self._done and not isinstance(error, HodorError):
                with suppress(Exception):
                    writer.put(self._save_point())
            writer.finish()
            self.results.abandon()
            raise

    def _read_and_segment(self, writer: _Writer, depth: int) -> None:
        """Pass frames to the writer: first those to draw again, then segmented ones with regular checkpoints."""
        # Never wait for the next frame of a camera or a pipe; and a correction does not step through all frames.
        ahead = self._source.reiterable and self._job.parts is None
        saved = time.perf_counter()
        if self._done:
            self._show_progress()  # decoding the frames up to the first new one may take minutes
        with (
            read_ahead(self._frames_to_read(), depth) as read,
            LookAhead(read, self._segmenter if ahead else None, lambda frame: frame.picture) as frames,
            FreeCores(frames.threads) as cores,
        ):
            for frame in frames:
                if self._unfinished:
                    self._draw_again(frame, self._unfinished.pop(0), writer)
                    continue
                cores.adjust()
                self._segment(frame, writer)
                now = time.perf_counter()
                self._seconds = now - self._began
                if now - saved >= self._job.output.checkpoint_seconds or self._done % PIECE_FRAMES == 0:
                    writer.put(self._save_point())
                    saved = now

    def _frames_to_read(self) -> Iterator[Frame]:
        """The source's frames from the first needed one on."""
        last, parts = self._last, self._job.parts
        needed = self._unfinished[0].frame if self._unfinished else -1 if last is None else last + 1
        if parts is None:
            return (frame for frame in self._source if frame.index >= needed)
        later = ((max(first, needed), stop) for first, stop in parts if stop > needed)
        return chain.from_iterable(self._source.between(first, stop) for first, stop in later)

    def _draw_again(self, frame: Frame, record: FrameRecord, writer: _Writer) -> None:
        """Pass a frame that is done to the writer, with its mask. Raises InputError if the source changed."""
        if frame.index != record.frame:
            raise InputError(f"{self._source.name} has other frames than before; start again with `overwrite`")
        path = self._folder.mask(frame.name)
        labels = read_label_png(path)
        if labels.shape != frame.picture.shape[:2]:
            raise damaged(path)
        if self._job.overlay_side:
            writer.put(Redraw(frame, labels, record.ticks))

    def _segment(self, frame: Frame, writer: _Writer) -> None:
        """Segment a new frame, pass it to the writer, and call the hooks."""
        self._settled = False
        given = self._job.inputs.at(frame)
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
        self._network_seconds += float(last.network_seconds)
        hooks = self._job.hooks
        notes: tuple[ReviewNote, ...] = ()
        if hooks.on_step and self._job.corrects(frame.index):
            notes = tuple(ReviewNote(*note) for note in hooks.on_step(frame, last, self._segmenter) or ())
        writer.put(FrameResult(frame, last, given, notes))
        self._first = frame.index if self._first is None else self._first
        self._last, self._done, self._settled = frame.index, self._done + 1, True
        self._show_progress()
        if hooks.on_frame:
            hooks.on_frame(frame, labels)

    def _show_progress(self) -> None:
        parts, backward = self._job.parts, self._job.backward
        if self._job.hooks.progress:
            whole = self._source.length if parts is None else sum(stop - first for first, stop in parts)
            self._job.hooks.progress(backward + self._done, None if whole is None else backward + whole)

    @property
    def progress(self) -> RunProgress:
        """The progress so far; only the writing thread knows how long the journal is."""
        warnings = tuple(dict.fromkeys((*self._warnings, *self._source.warnings)))
        return RunProgress(self._done, 0, self._seconds, self._network_seconds, warnings)

    def _save_point(self) -> RunState:
        return RunState(self.progress, {key: np.array(value) for key, value in self._segmenter.state().items()})

    def _check_all_used(self) -> None:
        """Warn or raise about inputs for frames that were never read, because the source is shorter than stated."""
        first, last = self._first, self._last
        if self._job.parts is not None:  # the run that is corrected used all inputs
            return
        if first is None or last is None:
            raise NothingToFollowError(f"{self._source.name} has no readable frame in this range; check `start`")
        unused, starts = self._job.inputs.unused(first, last), self._job.inputs.starts
        if starts and set(starts) <= set(unused):
            raise NothingToFollowError(
                f"there is no frame {unused[0]} to start in; {self._source.label} has the frames {first} to {last}"
            )
        if unused:
            frames = listed(unused, 8)
            self._warnings += (f"the inputs of frame {frames} were not used, because the source ended at frame {last}",)
