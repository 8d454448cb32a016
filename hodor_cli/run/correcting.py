"""Corrects a finished run with additional masks: only frames between a new mask's neighbours are segmented again.

A correction is a run of its own in a folder inside `.progress`, over the parts of the video that change (whole pieces
of the overlay, if there is one). When it is finished, its masks replace those that differ, and journal and overlay are
joined from both runs. Until then the earlier result does not change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from hodor_cli.engine.following import GivenMasks
from hodor_cli.files import put_in_place, replacing, writing
from hodor_cli.images.label_png import read_label_png
from hodor_cli.run.earlier import EarlierRun
from hodor_cli.run.inputs import RunInputs, ids_in
from hodor_cli.run.output import OutputFolder, read_journal
from hodor_cli.run.records import is_report
from hodor_cli.run.results import PIECE_FRAMES, Drawing
from hodor_cli.video.joining import Piece, frame_times

#: Pairs of frames: first and last, or first and stop.
Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class ChangedPart:
    """Ranges (first, last) of frames that may change between two sets of inputs, and the changed objects."""

    ranges: Ranges
    object_ids: frozenset[int]

    def covers(self, frame: int) -> bool:
        return any(low <= frame <= high for low, high in self.ranges)

    @staticmethod
    def between(then: RunInputs, now: RunInputs, first: int, last: int) -> ChangedPart:
        plans = [GivenMasks(inputs.masks, inputs.removals, inputs.appears).plan for inputs in (then, now)]
        events: set[tuple[int, int]] = set()
        for frame in {*then.starts, *now.starts}:
            before, after = (inputs.labels(frame) for inputs in (then, now))
            for object_id in ids_in(before) | ids_in(after):
                if before is None or after is None or ((before == object_id) != (after == object_id)).any():
                    events.add((object_id, frame))
        given: list[tuple[Mapping[int, Mapping[int, Any]], Mapping[int, Mapping[int, Any]]]] = [
            (then.boxes, now.boxes),
            (then.clicks, now.clicks),
            (_by_id(then.removals), _by_id(now.removals)),
        ]
        for was, is_now in given:
            for frame in {*was, *is_now}:
                one, other = was.get(frame, {}), is_now.get(frame, {})
                events |= {(i, frame) for i in {*one, *other} if (i in one, one.get(i)) != (i in other, other.get(i))}
        for object_id in {*then.appears, *now.appears}:
            frames = {inputs.appears.get(object_id) for inputs in (then, now)}
            events |= {(object_id, frame) for frame in frames if frame is not None and len(frames) > 1}
        ranges = []
        for (
            object_id,
            frame,
        ) in events:  # the frames between the object's masks before and after, the most of both plans
            low = high = frame
            for plan in plans:
                marks = [mark for mark, ids in plan.marked.items() if object_id in ids]
                low = min(low, max((mark for mark in marks if mark < frame), default=-1) + 1)
                high = max(high, min((mark for mark in marks if mark > frame), default=sys.maxsize) - 1)
            ranges.append((max(low, first), min(high, last)))
        return ChangedPart(merged(ranges), frozenset(object_id for object_id, _ in events))


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted ranges; overlapping and adjacent ones are joined."""
    found: Ranges = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def _by_id(removals: Mapping[int, Iterable[int]]) -> dict[int, dict[int, None]]:
    return {frame: dict.fromkeys(ids) for frame, ids in removals.items()}


class Correction:
    """The parts of a finished run that are made again, and how they are joined with the rest."""

    def __init__(self, folder: OutputFolder, earlier: EarlierRun, inputs: RunInputs, drawing: Drawing) -> None:
        """inputs: those of the earlier run and the new ones together. drawing: how to draw the overlay."""
        self.folder, self.earlier = folder, earlier
        self._frames = sorted(earlier.records)
        self.change = ChangedPart.between(earlier.inputs, inputs, self._frames[0], self._frames[-1])
        fps = earlier.report.source.fps
        times = frame_times(folder.overlay, fps) if drawing.overlay else []
        alike = (len(earlier.inputs.object_ids) > 1) == drawing.numbers
        fits = len(times) == len(self._frames) and all(key for _, key in times[::PIECE_FRAMES])
        #: Frame -> time in the overlay; empty if no piece of the overlay can be kept.
        self.ticks = {frame: ticks for frame, (ticks, _) in zip(self._frames, times, strict=False)} if fits else {}
        #: The frames (first, stop) to segment or draw again.
        self.parts = self._parts(whole=drawing.overlay and not (fits and alike))

    def _parts(self, *, whole: bool) -> Ranges:
        first, last = self._frames[0], self._frames[-1]
        if whole:
            return [(first, last + 1)]
        parts = []
        for low, high in self.change.ranges:
            low, high = max(low - 1, first), min(high, last)  # it begins with the objects' masks in the frame before
            if self.ticks:
                low = first + (low - first) // PIECE_FRAMES * PIECE_FRAMES
                high = min(first + ((high - first) // PIECE_FRAMES + 1) * PIECE_FRAMES - 1, last)
            parts.append((low, high))
        return [(low, high + 1) for low, high in merged(parts)]

    @property
    def frames(self) -> Iterator[int]:
        return (frame for first, stop in self.parts for frame in range(first, stop))

    def pieces(self, made: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of the whole overlay in order. made: those that were drawn again."""
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

        If it exists without a report, masks are being moved.
        """
        again = {record.frame: record for record in read_journal(self.folder.part.journal)}
        with writing(self.folder.root), replacing(self.folder.journal) as temporary, temporary.open("wb") as file:
            for frame in self._frames:
                changed = again.get(frame) if self.change.covers(frame) else None
                record = msgspec.structs.replace(changed or self.earlier.records[frame], ticks=self.ticks.get(frame, 0))
                file.write(msgspec.json.encode(record) + b"\n")


def move_masks(folder: OutputFolder) -> None:
    """Move the masks that differ, and the overlay, to their places. Can be called again after an interruption."""
    part = folder.part
    with writing(folder.root):
        if is_report(folder.report):
            put_in_place(
                folder.report, folder.replaced
            )  # so that a folder with masks of both runs does not look finished
        for record in read_journal(part.journal):
            new, old = part.mask(record.name), folder.mask(record.name)
            if new.is_file() and not (old.is_file() and np.array_equal(read_label_png(new), read_label_png(old))):
                put_in_place(new, old)
            for object_id in (*record.boxes, *record.clicks):
                if part.box_mask(record.name, object_id).is_file():
                    folder.box_masks.mkdir(exist_ok=True)
                    put_in_place(part.box_mask(record.name, object_id), folder.box_mask(record.name, object_id))
        folder.remove_exports()
        if folder.joined.is_file():
            put_in_place(folder.joined, folder.overlay)
