"""Corrects a finished run with additional masks: only frames from the previous mask to the next one are recomputed.

A correction is a separate run in a folder inside `.progress`, over the parts of the video that change (whole pieces of
the overlay, if there is one). When it is finished, its masks replace those that differ, and journal and overlay are
joined from both runs. Until then the earlier result does not change.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace

import msgspec
import numpy as np

from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.errors import HodorError, OutputError
from hodor_cli.files import put_in_place, replacing, writing
from hodor_cli.images.label_png import read_label_png
from hodor_cli.records import RunIdentity, is_report
from hodor_cli.run.correcting import ChangedPart, CorrectingSegmenter, Part, Ranges, merged
from hodor_cli.run.earlier import EarlierRun
from hodor_cli.run.finish import finish_run
from hodor_cli.run.loop import RunLoop
from hodor_cli.run.output import OutputFolder, damaged, read_journal
from hodor_cli.run.results import PIECE_FRAMES, join_overlay
from hodor_cli.run.resume import differences, load_run_state, prepare, read_run
from hodor_cli.run.settings import RunJob, RunOutput, SegmentSummary
from hodor_cli.video.joining import Piece, frame_times


def correct(
    folder: OutputFolder, earlier: EarlierRun, job: RunJob, segmenter: OfflineSegmenter, identity: RunIdentity
) -> SegmentSummary:
    """Correct a finished run. Its result does not change until all corrected frames are written."""
    own = folder.correction
    try:
        then = read_run(own.run)
    except OutputError:  # damaged
        then = None
    if own.root.is_dir() and (then is None or differences(then, identity)):
        shutil.rmtree(own.root)  # an unfinished correction with other inputs
    try:
        checkpoint = prepare(own, identity, RunOutput(resume=True))
        correction = Correction(folder, earlier, job)
        part = Part(correction.change, list(correction.frames), earlier.records, earlier.labels)
        maps, progress = MapFolder(own.backward), job.hooks.backward_progress(len(part.frames))
        correcting = CorrectingSegmenter(segmenter, job.source, job.inputs, part, maps, progress)
        job = replace(
            job, parts=correction.parts, ticks=correction.ticks, backward=correcting.backward_frames,
            corrects=correction.change.covers,
        )  # fmt: skip
        run = RunLoop(job, correcting, own, checkpoint)
        run.work()
        if job.overlay_side:
            begin = next(iter(earlier.records.values())).time
            join_overlay(folder, job.source, correction.pieces(run.results.pieces()), begin)
        correction.write_journal()
    except HodorError as error:
        if not isinstance(error, OutputError):  # after an OutputError (a full disk) the correction can be resumed
            shutil.rmtree(folder.progress, ignore_errors=True)
        raise
    return finish_correction(folder)


def is_moving(folder: OutputFolder) -> bool:
    """Whether a correction was interrupted while its masks were being moved to their places."""
    return folder.journal.is_file() and folder.correction.journal.is_file() and not is_report(folder.report)


def finish_correction(folder: OutputFolder) -> SegmentSummary:
    """Move the corrected masks to their places and write the report of the whole result."""
    found, checkpoint = read_run(folder.correction.run), load_run_state(folder.correction.checkpoint)
    if found is None or checkpoint is None:
        raise damaged(folder.correction.run)
    kept = sum(1 for _ in read_journal(folder.journal)) - sum(1 for _ in read_journal(folder.correction.journal))
    move_masks(folder)
    return finish_run(folder, found, checkpoint.progress, resumed_from=kept)


def move_masks(folder: OutputFolder) -> None:
    """Move the masks that differ, and the overlay, to their places. Safe to repeat after an interruption."""
    own = folder.correction
    with writing(folder.root):
        if is_report(folder.report):  # a folder with masks of both runs must not look finished
            put_in_place(folder.report, folder.replaced)
        for record in read_journal(own.journal):
            new, old = own.mask(record.name), folder.mask(record.name)
            if new.is_file() and not (old.is_file() and np.array_equal(read_label_png(new), read_label_png(old))):
                put_in_place(new, old)
            for object_id in (*record.boxes, *record.clicks):
                if own.box_mask(record.name, object_id).is_file():
                    folder.box_masks.mkdir(exist_ok=True)
                    put_in_place(own.box_mask(record.name, object_id), folder.box_mask(record.name, object_id))
        folder.remove_exports()
        if folder.joined.is_file():
            put_in_place(folder.joined, folder.overlay)


class Correction:
    """The parts of a finished run that are recomputed, and how they are joined with the rest."""

    def __init__(self, folder: OutputFolder, earlier: EarlierRun, job: RunJob) -> None:
        """job: its inputs are those of the earlier run together with the new ones."""
        self.folder, self.earlier = folder, earlier
        self._frames = sorted(earlier.records)
        self.change = ChangedPart.between(earlier.inputs, job.inputs, self._frames[0], self._frames[-1])
        fps = earlier.report.source.fps
        times = frame_times(folder.overlay, fps) if job.overlay_side else []
        alike = (len(earlier.inputs.object_ids) > 1) == job.shows_ids
        fits = len(times) == len(self._frames) and all(key for _, key in times[::PIECE_FRAMES])
        fits = fits and folder.review.exists()  # removed by `hodor annotate`, which may leave an older overlay
        #: Frame -> time in the overlay; empty if no piece of the overlay can be kept.
        self.ticks = {frame: ticks for frame, (ticks, _) in zip(self._frames, times, strict=False)} if fits else {}
        #: The frames (first, stop) to segment or draw again.
        self.parts = self._parts(whole=job.overlay_side is not None and not (fits and alike))

    def _parts(self, *, whole: bool) -> Ranges:
        first, last = self._frames[0], self._frames[-1]
        if whole:
            return [(first, last + 1)]
        parts = []
        for low, high in self.change.ranges:
            low, high = max(low - 1, first), min(high, last)  # starting from the masks in the frame before
            if self.ticks:
                low = first + (low - first) // PIECE_FRAMES * PIECE_FRAMES
                high = min(first + ((high - first) // PIECE_FRAMES + 1) * PIECE_FRAMES - 1, last)
            parts.append((low, high))
        return [(low, high + 1) for low, high in merged(parts)]

    @property
    def frames(self) -> Iterator[int]:
        return (frame for first, stop in self.parts for frame in range(first, stop))

    def pieces(self, made: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces of the whole overlay in order. made: those that were drawn again."""
        if not self.ticks:
            yield from made
            return
        drawn = set(self.frames)
        again, kept = iter(made), 0
        for position in range(0, len(self._frames), PIECE_FRAMES):
            count = min(PIECE_FRAMES, len(self._frames) - position)
            if self._frames[position] not in drawn:
                kept += count
                continue
            yield from self._old_piece(position - kept, kept)
            kept = 0
            yield next(again)._replace(start=self._start(position))
        yield from self._old_piece(len(self._frames) - kept, kept)

    def _old_piece(self, position: int, count: int) -> Iterator[Piece]:
        if count:
            yield Piece(self.folder.overlay, self._start(position), position, count)

    def _start(self, position: int) -> int:
        return self.ticks[self._frames[position]]

    def write_journal(self) -> None:
        """Write the journal of the whole result, with the new records of frames that may change.

        A journal without a report marks a folder in which masks are being moved.
        """
        again = {record.frame: record for record in read_journal(self.folder.correction.journal)}
        with writing(self.folder.root), replacing(self.folder.journal) as temporary, temporary.open("wb") as file:
            for frame in self._frames:
                changed = again.get(frame) if self.change.covers(frame) else None
                record = msgspec.structs.replace(changed or self.earlier.records[frame], ticks=self.ticks.get(frame, 0))
                file.write(msgspec.json.encode(record) + b"\n")
