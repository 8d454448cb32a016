"""Writes every frame's mask, overlay and journal entry, in the order of the frames, in the writing thread.

Results do not depend on when a run was interrupted: the overlay is divided into pieces at fixed frames, and the frames
of an unfinished piece are drawn again from their masks.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.step_result import StepResult
from hodor_cli.errors import OutputError
from hodor_cli.files import append_whole, write_whole, writing
from hodor_cli.images.label_png import Box, extents, window_of, write_label_png
from hodor_cli.records import FrameRecord, ObjectRecord, ReviewNote
from hodor_cli.run.inputs import FrameInputs
from hodor_cli.run.output import OutputFolder, damaged, read_journal
from hodor_cli.run.resume import RunProgress, RunState, save_run_state
from hodor_cli.run.settings import RunJob
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.h264 import Timeline, VideoWriter
from hodor_cli.video.joining import Piece, join_videos
from hodor_cli.video.overlay import draw_on_video
from hodor_cli.video.sound import add_sound

#: Frames in one finished piece of the overlay video.
PIECE_FRAMES = 48
#: The longer side, in pixels, at which components are found; a low resolution ignores specks.
_COMPONENT_SIDE = 288


@dataclass(frozen=True)
class FrameResult:
    """A frame with its result, its inputs, and the notes that `RunHooks.on_step` returned."""

    frame: Frame
    step: StepResult
    inputs: FrameInputs = field(default_factory=FrameInputs)
    review: tuple[ReviewNote, ...] = ()


@dataclass(frozen=True)
class Redraw:
    """A frame done by the interrupted run whose piece of the overlay is unfinished."""

    frame: Frame
    labels: NDArray[np.uint16]
    ticks: int


class ResultsWriter:
    """Writes masks, overlay pieces, journal and checkpoints into a result folder; pass items to `handle` in order."""

    def __init__(self, folder: OutputFolder, job: RunJob, resumed: RunProgress) -> None:
        """resumed: the progress to continue from. Raises OutputError if files of it are missing or damaged."""
        self._folder, self._job, self._timeline = folder, job, Timeline(job.source.fps)
        #: Frames whose results are written: their number, the first, the last, and those of the overlay's unfinished
        #: piece.
        self.done = 0
        self.first: FrameRecord | None = None
        self.last: FrameRecord | None = None
        self.unfinished: list[FrameRecord] = []
        for record in read_journal(folder.journal, to_byte=resumed.journal_bytes) if resumed.done else ():
            self.first, self.last = self.first or record, record
            self.done += 1
            self.unfinished = [*self.unfinished, record] if self.done % PIECE_FRAMES else []
            if not (mask := folder.mask(record.name)).is_file():
                raise OutputError(f"{mask} is missing, so the run cannot be resumed; start it again with `overwrite`")
        if self.done != resumed.done:
            raise damaged(folder.journal)
        #: The time of the first frame, in seconds; None before there is one.
        self.first_time = None if self.first is None else self.first.time
        self._ticks = None if self.last is None else self.last.ticks
        #: The length of the journal in bytes.
        self._size = resumed.journal_bytes
        with writing(folder.root):
            self._journal = folder.journal.open("r+b" if self._size else "wb", buffering=0)
            self._journal.truncate(self._size)
            self._journal.seek(self._size)
        self._piece: tuple[io.BytesIO, VideoWriter, int] | None = None
        # The frames of the unfinished piece come first, as `Redraw` items.
        self._drawn = self.done // PIECE_FRAMES * PIECE_FRAMES

    def handle(self, item: FrameResult | Redraw | RunState) -> None:
        """Write one item: a frame, or a checkpoint after the frames so far. Raises OutputError if that fails."""
        with writing(self._folder.root):
            if isinstance(item, Redraw):
                self._draw(item.frame, item.labels, item.ticks)
            elif isinstance(item, RunState):
                progress = replace(item.progress, done=self.done, journal_bytes=self._size)
                save_run_state(self._folder.checkpoint, RunState(progress, item.state))
            else:
                try:
                    self._write(item)
                except OutputError as error:  # the OSError, so that `writing` says how to resume the run
                    raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None

    def close(self) -> None:
        with writing(self._folder.root):
            self._close_piece()
            self._journal.close()

    def pieces(self) -> Iterator[Piece]:
        """Yield the finished pieces of the overlay, in order."""
        if self._job.overlay_side:
            for position, record in enumerate(read_journal(self._folder.journal)):
                if position % PIECE_FRAMES == 0:
                    yield Piece(self._folder.piece(position // PIECE_FRAMES), record.ticks)

    def abandon(self) -> None:
        """Close all files without finishing; the run can be resumed from its last checkpoint."""
        self._journal.close()
        if self._piece is not None:
            self._piece[1].discard()
            self._piece = None

    def _write(self, item: FrameResult) -> None:
        frame = item.frame
        if self.first_time is None:
            self.first_time = round(float(frame.time), 6)  # as in the journal, for a resumed run
        ticks = self._timeline.ticks(self.done, frame.time - self.first_time, self._ticks)
        self._ticks = self._job.ticks.get(frame.index, ticks)
        # The journal is written first, because it lists the files that a later run with `overwrite` removes.
        line = msgspec.json.encode(frame_record(item, ticks=self._ticks)) + b"\n"
        append_whole(self._journal, line)
        self._size += len(line)
        write_label_png(self._folder.mask(frame.name), item.step.labels)
        for object_id, mask in item.inputs.box_masks.items():
            self._folder.box_masks.mkdir(exist_ok=True)
            write_label_png(self._folder.box_mask(frame.name, object_id), mask.astype(np.uint16) * object_id)
        self.done += 1
        self._draw(frame, item.step.labels, self._ticks)

    def _draw(self, frame: Frame, labels: NDArray[np.uint16], ticks: int) -> None:
        if self._job.overlay_side is None:
            return
        if self._piece is None:
            buffer = io.BytesIO()  # a piece is small, and only `_close_piece` then meets a full disk
            source, side = self._job.source, self._job.overlay_side
            video = VideoWriter(buffer, source.fps, source.pixel_aspect, source.colours, side=side)
            self._piece = (buffer, video, ticks)
        _, video, begin = self._piece
        canvas = draw_on_video(video, frame.picture, labels, ids=self._job.shows_ids)
        video.write(canvas, ticks=ticks - begin, duration=frame.duration)
        self._drawn += 1
        if self._drawn % PIECE_FRAMES == 0:
            self._close_piece()

    def _close_piece(self) -> None:
        if self._piece is not None:
            buffer, video, _ = self._piece
            self._piece = None
            video.close()
            number = (self._drawn - 1) // PIECE_FRAMES
            write_whole(self._folder.piece(number), buffer.getvalue())


def join_overlay(folder: OutputFolder, source: FrameSource, pieces: Iterable[Piece], begin: float) -> None:
    """Join pieces into `folder.joined`, with the source's sound from `begin` (seconds) on. Raises OutputError."""
    with writing(folder.root):
        join_videos(pieces, folder.joined, source.fps)
        if source.sound is not None:
            source.warn(add_sound(folder.joined, source.sound, begin))


def frame_record(result: FrameResult, *, ticks: int) -> FrameRecord:
    """The record of one frame for the journal and the report."""
    step, inputs, objects, found = result.step, result.inputs, {}, extents(result.step.labels)
    for object_id, outcome in sorted(step.objects.items()):
        _, box = found.get(object_id, (0, None))
        objects[object_id] = ObjectRecord(
            area=int(outcome.area),
            box=box,
            confidence=_rounded(outcome.confidence) or 0.0,
            lost=bool(outcome.lost),
            cut_off=_rounded(outcome.cut_off) or None,
            elsewhere=None if box is None else _rounded(_elsewhere(step.labels, object_id, box)) or None,
            agreement=_rounded(outcome.agreement, 2),
            change=_rounded(outcome.change, 2),
            disagreement=_rounded(outcome.disagreement, 2),
            too_small=outcome.too_small,
        )
    return FrameRecord(
        frame=int(result.frame.index),
        name=result.frame.name,
        time=round(float(result.frame.time), 6),
        objects=objects,
        given=tuple(sorted(inputs.given)),
        boxes=dict(inputs.boxes),
        clicks={key: tuple(clicks) for key, clicks in inputs.clicks.items()},
        removed=tuple(sorted(inputs.removed)),
        warnings=(*inputs.warnings, *step.warnings),
        review=result.review,
        ticks=ticks,
    )


def _elsewhere(labels: NDArray[np.uint16], object_id: int, box: Box) -> float:
    """The share (0..1) of an object with this box that is outside its largest connected component."""
    step = max(1, round(max(labels.shape) / _COMPONENT_SIDE))
    part = (labels[window_of(box)][::step, ::step] == object_id).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(1 - areas.max() / areas.sum()) if count > 2 else 0.0


def _rounded(value: float | None, digits: int = 4) -> float | None:
    """The value rounded to digits that are the same on all machines and with any number of threads."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
