"""What a correction changes, and a segmenter that keeps the earlier results everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.clicks.shapes import without_enclosed
from hodor_cli.engine.following import GivenMasks, passes_backward
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.labels import areas
from hodor_cli.engine.soft_maps import PackedMaps
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.images.label_png import ids_in
from hodor_cli.records import FrameRecord
from hodor_cli.run.inputs import FrameInputs, Labels, RunInputs
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.yuv import Picture

#: Pairs of frames: first and last (included), or first and stop (excluded).
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
        """The frames of first..last that may change.

        Adding, removing or replacing an input changes its object in the frames between the object's previous mask and
        its next one. If these differ between the two sets of inputs, the wider range is taken.
        """
        marked = [GivenMasks(inputs.masks, inputs.removals, inputs.appears).plan.marked for inputs in (then, now)]
        changed = _differing(then, now)
        ranges = []
        for object_id, frame in changed:
            low = high = frame
            for plan in marked:
                marks = [mark for mark, ids in plan.items() if object_id in ids]
                low = min(low, max((mark for mark in marks if mark < frame), default=-1) + 1)
                high = max(high, min((mark for mark in marks if mark > frame), default=sys.maxsize) - 1)
            ranges.append((max(low, first), min(high, last)))
        return ChangedPart(merged(ranges), frozenset(object_id for object_id, _ in changed))


def _differing(then: RunInputs, now: RunInputs) -> set[tuple[int, int]]:
    """(object id, frame) of each input that differs."""
    found: set[tuple[int, int]] = set()
    for frame in {*then.starts, *then.removals, *now.starts, *now.removals}:
        before, after = _given(then, frame), _given(now, frame)
        found |= {(key, frame) for key in {*before, *after} if before.get(key) != after.get(key)}
    for object_id in {*then.appears, *now.appears}:
        frames = {inputs.appears.get(object_id) for inputs in (then, now)}
        found |= {(object_id, frame) for frame in frames if frame is not None and len(frames) > 1}
    return found


def _given(inputs: RunInputs, frame: int) -> dict[int, tuple[Any, ...]]:
    """Object id -> its mask, box, clicks and removal in a frame, in a form that can be compared."""
    labels, removed = inputs.labels(frame), inputs.removals.get(frame, ())
    masks = {} if labels is None else {key: (labels == key).tobytes() for key in ids_in(labels)}
    boxes, clicks = inputs.boxes.get(frame, {}), inputs.clicks.get(frame, {})
    ids = {*masks, *boxes, *clicks, *removed}
    return {key: (masks.get(key), boxes.get(key), clicks.get(key), key in removed) for key in ids}


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted ranges; overlapping and adjacent ones are joined."""
    found: Ranges = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


@dataclass(frozen=True)
class Part:
    """The part of a result that is corrected: what changes in it, and the frames to segment again.

    records, labels: the earlier result, as the record and the label map of each frame.
    """

    change: ChangedPart
    frames: Sequence[int]
    records: Mapping[int, FrameRecord]
    labels: Callable[[int], Labels]

    def first_masks(self) -> list[NDArray[np.bool_]]:
        """The masks in the first frame with masks, including those made from boxes and clicks."""
        frame = next(frame for frame in sorted(self.records) if self.records[frame].given)
        labels = self.labels(frame)
        return [labels == object_id for object_id in self.records[frame].given]


class CorrectingSegmenter:
    """Returns the results of the earlier run, except for changed objects in frames that may change.

    Other objects keep their masks, except where a changed object is now or was before.
    """

    def __init__(
        self,
        segmenter: OfflineSegmenter,
        source: FrameSource,
        inputs: RunInputs,
        part: Part,
        maps: PackedMaps,
        progress: Callable[[int, int], object],
    ) -> None:
        """Make the passes backward immediately and store their results in `maps`; progress: as in `passes_backward`."""
        self._segmenter, self._next = segmenter, 0
        self._part, self._change = part, part.change
        ranges = part.change.ranges
        masks: dict[int, Labels] = {}
        for low, high in ranges:
            for edge in (low - 1, high + 1):
                if edge in part.records:
                    masks[edge] = part.labels(edge)
            for index in inputs.starts:
                if low <= index <= high:
                    for frame in source.between(index, index + 1):
                        masks[index] = self._joined(index, inputs.at(frame))
        self._given = given = GivenMasks(masks, inputs.removals, inputs.appears)
        segmenter.plan(given.plan, first=source.start, maps=maps)
        segmenter.choose_resolution(part.first_masks())
        stretches = [one for low, high in ranges for one in given.plan.stretches(low, high + 1)]
        #: Number of frames in the passes backward.
        self.backward_frames = passes_backward(segmenter, source, given, stretches, maps, progress=progress)
        self.last = StepResult(np.zeros((0, 0), np.uint16))

    @property
    def object_ids(self) -> list[int]:
        """Always empty: the plan decides which objects are followed, so callers must not remove any."""
        return []

    def step(self, frame: Picture, masks: NDArray[np.integer] | None = None, *, time: float | None = None) -> Labels:
        at = self._part.frames[self._next]
        inside, starts = self._change.covers(at), self._change.covers(at + 1)
        if inside or starts:
            if not inside or self._segmenter.position != at:
                self._segmenter.go_to(at)
            self._segmenter.step(frame, self._given.at(at), time=time)
        self.last = self._corrected(at, self._segmenter.last) if inside else self._kept(at)
        self._next += 1
        return self.last.labels

    def remove(self, object_id: int) -> None:
        self._segmenter.remove(object_id)

    def descriptors(self) -> FrameDescriptors:
        """The descriptors of the newest frame that may change."""
        return self._segmenter.descriptors()

    def state(self) -> dict[str, NDArray[Any]]:
        return {**self._segmenter.state(), "correcting/next": np.array(self._next)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._segmenter.load_state(state)
        self._next = int(state["correcting/next"])

    def _joined(self, frame: int, given: FrameInputs) -> Labels:
        """The masks given in a frame, in front of the earlier masks of unchanged objects. Only an object that a mask
        made from a box covers almost completely stays in front of it, such as a ball before a person."""
        earlier = self._part.labels(frame)
        earlier[np.isin(earlier, [*self._change.object_ids, *ids_in(given.labels)])] = 0
        if given.labels is None:
            return earlier
        joined = np.where(given.labels > 0, given.labels, earlier).astype(np.uint16)
        for object_id in given.boxes.keys() & given.box_masks.keys():
            mask = given.box_masks[object_id]
            enclosed = mask & ~without_enclosed(mask, earlier, object_id)
            joined[enclosed] = earlier[enclosed]
        return joined

    def _kept(self, frame: int) -> StepResult:
        record = self._part.records[frame]
        objects = {
            key: ObjectResult(
                entry.area, entry.confidence, entry.lost, entry.cut_off or 0.0, entry.agreement, entry.change,
                entry.disagreement, entry.too_small,
            )
            for key, entry in record.objects.items()
        }  # fmt: skip
        return StepResult(self._part.labels(frame), objects, list(record.warnings))

    def _corrected(self, frame: int, found: StepResult) -> StepResult:
        kept, changed = self._kept(frame), list(self._change.object_ids)
        touched = np.isin(kept.labels, changed) | np.isin(found.labels, changed)
        labels = np.where(touched, found.labels, kept.labels)
        objects = {key: entry for key, entry in kept.objects.items() if key not in changed}
        objects |= {key: entry for key, entry in found.objects.items() if key in changed}
        for key, area in areas(labels, list(objects)).items():
            objects[key] = replace(objects[key], area=area, lost=not area)
        return replace(found, labels=labels, objects=objects)
