"""Writes every frame's mask, overlay and journal entry, in the order of the frames, in the writing thread.

The results do not depend on when a run was interrupted: the overlay is divided into pieces at fixed frames, and frames
of an unfinished piece are drawn again from their masks.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import write_whole, writing
from hodor_cli.images.label_png import write_label_png
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import read_journal
from hodor_cli.run.report import FrameResult, frame_record
from hodor_cli.run.resume import Journal, Progressed, RunState, save_run_state
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.h264 import Timeline, VideoWriter, join_videos
from hodor_cli.video.overlay import draw_overlay
from hodor_cli.video.sound import add_sound

#: Frames in one closed piece of the overlay video.
PIECE_FRAMES = 48


@dataclass(frozen=True)
class Redraw:
    """A frame done by the interrupted run whose piece of the overlay is unfinished."""

    frame: Frame
    labels: NDArray[np.uint16]
    ticks: int


@dataclass(frozen=True)
class SavePoint:
    """A request to write a checkpoint after the frames handed over so far."""

    state: Mapping[str, NDArray[Any]]
    seconds: float
    network_seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """Whether to draw the overlay, and object ids in it."""

    overlay: bool
    numbers: bool


class ResultsWriter:
    """Writes masks, overlay pieces, journal and checkpoints into an output folder; pass items to `handle` in order."""

    def __init__(self, folder: OutputFolder, source: FrameSource, drawing: Drawing, resumed: Progressed) -> None:
        """source: has the overlay's frame rate, aspect and sound. resumed: where to continue."""
        self._folder, self._source, self._drawing = folder, source, drawing
        self._timeline = Timeline(source.fps)
        #: Frames whose results are written.
        self.done = resumed.done
        self._first_time: float | None = None
        self._ticks: int | None = None
        if resumed.done:
            for record in read_journal(folder.journal, to_byte=resumed.journal_bytes):
                self._first_time = record.time if self._first_time is None else self._first_time
                self._ticks = record.ticks
        with writing(folder.root):
            self._journal = Journal(folder.journal, resumed.journal_bytes)
        self._piece: tuple[io.BytesIO, VideoWriter, int] | None = None
        # The frames of the unfinished piece come first, as `Redraw` items.
        self._drawn = self.done // PIECE_FRAMES * PIECE_FRAMES

    def handle(self, item: FrameResult | Redraw | SavePoint) -> None:
        """Write one item. Raises OutputError if it cannot be written."""
        with writing(self._folder.root):
            if isinstance(item, FrameResult):
                self._write(item)
            elif isinstance(item, Redraw):
                self._draw(item.frame, item.labels, item.ticks)
            else:
                progress = Progressed(self.done, self._journal.size, item.seconds, item.network_seconds, item.warnings)
                save_run_state(self._folder.checkpoint, RunState(progress, item.state))

    def finish(self) -> None:
        """Close the last piece and join all pieces into overlay.mp4 without encoding them again."""
        with writing(self._folder.root):
            self._close_piece()
            self._journal.close()
            if self._drawing.overlay and self.done:
                starts = (
                    record.ticks
                    for position, record in enumerate(read_journal(self._folder.journal))
                    if position % PIECE_FRAMES == 0
                )
                pieces = ((self._folder.piece(number), ticks) for number, ticks in enumerate(starts))
                joined = self._folder.progress / "overlay.mp4"
                join_videos(pieces, joined, self._source.fps)
                if self._source.sound is not None:
                    self._source.warn(add_sound(joined, self._source.sound, self._first_time or 0.0))
                joined.replace(self._folder.overlay)

    def abandon(self) -> None:
        """Close all files without finishing; the run can be resumed from its last checkpoint."""
        self._journal.close()
        if self._piece is not None:
            self._piece[1].discard()
            self._piece = None

    def _write(self, item: FrameResult) -> None:
        frame = item.frame
        self._first_time = frame.time if self._first_time is None else self._first_time
        self._ticks = self._timeline.ticks(self.done, frame.time - self._first_time, self._ticks)
        # The journal is written first, because it lists the files that a later run with `overwrite` removes.
        self._journal.append(frame_record(item, ticks=self._ticks))
        _write_mask(self._folder.mask(frame.name), item.labels)
        for object_id, mask in item.box_masks.items():
            self._folder.box_masks.mkdir(exist_ok=True)
            _write_mask(self._folder.box_mask(frame.name, object_id), mask.astype(np.uint16) * object_id)
        self.done += 1
        self._draw(frame, item.labels, self._ticks)

    def _draw(self, frame: Frame, labels: NDArray[np.uint16], ticks: int) -> None:
        if not self._drawing.overlay:
            return
        if self._piece is None:
            buffer = io.BytesIO()  # a piece is small; only `_close_piece` writes to the disk and can find it full
            source = self._source
            self._piece = (buffer, VideoWriter(buffer, source.fps, source.pixel_aspect, source.colours), ticks)
        drawn = draw_overlay(frame.image, labels, ids=self._drawing.numbers)
        self._piece[1].write(drawn, ticks=ticks - self._piece[2], duration=frame.duration)
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


def _write_mask(path: Path, labels: NDArray[np.integer]) -> None:
    try:
        write_label_png(path, labels)
    except OutputError as error:
        # The original OSError, so that the message for a full disk names the run's way out.
        raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None
