"""Corrects a finished run with additional masks: only frames between a new mask's neighbours are segmented again.

The run goes through the whole source again, with journal, checkpoints and overlay as in any run. In frames that do not
change, its segmenter returns the results of the earlier run, without using the network.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.following import GivenMasks, encode_masks, pass_backward
from hodor_cli.engine.plan import Plan
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.images.label_png import read_label_png
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import FrameRecord, ReportRecord, decode
from hodor_cli.run.settings import Click, RunHooks
from hodor_cli.video.frames import FrameSource

Labels = NDArray[np.uint16]


class _RawFrames(msgspec.Struct, frozen=True):
    frames: list[dict[str, Any]]


class EarlierRun:
    """The masks and the report of a finished run, in their places or set aside."""

    def __init__(self, folder: OutputFolder, *, aside: bool = False) -> None:
        """aside: whether `set_aside` has begun to move them."""
        moved = folder.earlier / folder.report.name
        aside = aside and moved.exists()
        self._masks = folder.earlier / folder.masks.name if aside else folder.masks
        if not self._masks.is_dir():
            self._masks = folder.masks  # interrupted after the report was moved, before the masks were
        data = (moved if aside else folder.report).read_bytes()
        self.report = decode(data, ReportRecord, str(folder.report))
        raw = decode(data, _RawFrames, str(folder.report)).frames
        fields = set(FrameRecord.__struct_fields__)
        self.records: dict[int, FrameRecord] = {}
        self.extras: dict[int, dict[str, Any]] = {}
        for frame in raw:
            record = decode(msgspec.json.encode(frame), FrameRecord, str(folder.report))
            self.records[record.frame] = record
            self.extras[record.frame] = {key: frame[key] for key in frame if key not in fields or key == "review"}

    def labels(self, frame: int) -> Labels:
        """The label map of a frame."""
        return read_label_png(self._masks / f"{self.records[frame].name}.png")

    def given(self) -> dict[int, Labels]:
        """The masks that were given, by frame, without those made from boxes and clicks."""
        found = {}
        for frame, record in self.records.items():
            ids = set(record.given).difference(record.boxes, self.report.clicks.get(frame, {}))
            if ids:
                labels = self.labels(frame)
                found[frame] = np.where(np.isin(labels, list(ids)), labels, 0).astype(np.uint16)
        return found

    def inputs(self, further: RunInputs) -> RunInputs:
        """The inputs of the earlier run together with `further`, which take precedence for each object in a frame."""
        masks: dict[int, Any] = dict(self.given())
        for frame in further.masks:
            labels = further.labels(frame)
            if labels is not None and frame in masks:
                kept = np.where(np.isin(masks[frame], np.unique(labels)), 0, masks[frame])
                labels = np.where(labels > 0, labels, kept).astype(np.uint16)
            masks[frame] = labels
        boxes = {frame: dict(of) for frame, of in self.report.boxes.items()}
        clicks: dict[int, dict[int, Sequence[Click]]] = {
            frame: {key: [Click(*one) for one in found] for key, found in of.items()}
            for frame, of in self.report.clicks.items()
        }
        removals = {frame: set(ids) for frame, ids in self.report.removals.items()}
        for frame, of in further.boxes.items():
            boxes.setdefault(frame, {}).update(of)
        for frame, of_clicks in further.clicks.items():
            clicks.setdefault(frame, {}).update(of_clicks)
        for frame, ids in further.removals.items():
            removals.setdefault(frame, set()).update(ids)
        return replace(
            further,
            masks=dict(sorted(masks.items())),
            boxes=dict(sorted(boxes.items())),
            clicks=dict(sorted(clicks.items())),
            removals={frame: tuple(sorted(ids)) for frame, ids in sorted(removals.items())},
            appears={**self.report.appears, **further.appears},
            names={**self.report.names, **further.names},
        )


def set_aside(folder: OutputFolder) -> None:
    """Move the earlier run's report and masks to the place from which the correction reads them. It can be called again
    after an interruption."""
    folder.earlier.mkdir(parents=True, exist_ok=True)
    for path in (folder.report, folder.masks):
        moved = folder.earlier / path.name
        if path.exists() and not moved.exists():
            os.replace(path, moved)
    folder.remove_drawn()


def changed(then: RunInputs, now: RunInputs, count: int) -> tuple[list[tuple[int, int]], set[int]]:
    """The ranges (first, last) of frames that may change between two sets of inputs, and the changed objects."""
    plans = [GivenMasks(_labels_of(inputs), inputs.removals, inputs.appears).plan for inputs in (then, now)]
    events: set[tuple[int, int]] = set()
    for frame in sorted({*then.starts, *now.starts}):
        before, after = (inputs.labels(frame) for inputs in (then, now))
        for object_id in _ids(before) | _ids(after):
            if before is None or after is None or ((before == object_id) != (after == object_id)).any():
                events.add((object_id, frame))
        if then.boxes.get(frame) != now.boxes.get(frame):
            events |= {(i, frame) for i in {*then.boxes.get(frame, {}), *now.boxes.get(frame, {})}}
    for frame in {*then.clicks, *now.clicks}:
        if then.clicks.get(frame) != now.clicks.get(frame):
            events |= {(i, frame) for i in {*then.clicks.get(frame, {}), *now.clicks.get(frame, {})}}
    for frame in {*then.removals, *now.removals}:
        events |= {(i, frame) for i in {*then.removals.get(frame, ())} ^ {*now.removals.get(frame, ())}}
    for object_id in {*then.appears, *now.appears}:
        if then.appears.get(object_id) != now.appears.get(object_id):
            events.add((object_id, then.appears.get(object_id, now.appears.get(object_id, 0))))
    ranges = sorted(_reach(plans, object_id, frame, count) for object_id, frame in events)
    merged: list[tuple[int, int]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged, {object_id for object_id, _ in events}


def _reach(plans: Iterable[Plan], object_id: int, frame: int, count: int) -> tuple[int, int]:
    """The range of frames between an object's masks before and after a frame, the larger one of all plans."""
    low, high = frame, frame
    for plan in plans:
        marks = [mark for mark, ids in plan.marked.items() if object_id in ids]
        low = min(low, max((mark for mark in marks if mark < frame), default=-1) + 1)
        high = max(high, min((mark for mark in marks if mark > frame), default=count) - 1)
    return low, high


def _labels_of(inputs: RunInputs) -> dict[int, Labels]:
    return {frame: np.asarray(inputs.labels(frame), np.uint16) for frame in inputs.masks}


def _ids(labels: NDArray[np.integer] | None) -> set[int]:
    return set() if labels is None else {int(i) for i in np.unique(labels) if i}


class CorrectingSegmenter:
    """Returns the results of the earlier run, except for changed objects in frames that may change.

    Other objects keep their masks, except where a changed object is now or was before.
    """

    def __init__(
        self,
        segmenter: Any,
        source: FrameSource,
        inputs: RunInputs,
        earlier: EarlierRun,
        maps: MutableMapping[int, bytes],
        hooks: RunHooks,
    ) -> None:
        """Make the passes backward at once and store their results in `maps`. inputs: of the earlier run and now."""
        self._segmenter, self._earlier, self._next = segmenter, earlier, source.start
        then = earlier.inputs(RunInputs())
        last = max(earlier.records)
        self._ranges, self._changed = changed(then, inputs, last + 1)
        masks: dict[int, Labels] = {}
        for low, high in self._ranges:
            for edge in (low - 1, high + 1):
                if edge in earlier.records:
                    masks[edge] = earlier.labels(edge)
            for index in inputs.starts:
                if low <= index <= high:
                    for frame in source.between(index, index + 1):
                        masks[index] = self._joined(index, inputs.at(frame).labels)
        self._given = given = GivenMasks(masks, inputs.removals, inputs.appears)
        segmenter.plan(given.plan, first=source.start, maps=maps)
        encode_masks(segmenter, source, given)
        done = 0
        for low, high in self._ranges:
            for bottom, top in given.plan.stretches(low, high + 1):
                for _ in pass_backward(segmenter, source, given, (bottom, top)):
                    done += 1
                    if hooks.progress:
                        hooks.progress(done, None)
        self.last = StepResult(np.zeros((0, 0), np.uint16))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)

    @property
    def object_ids(self) -> list[int]:
        """Always empty, because the plan decides which objects are followed, and callers must not remove any."""
        return []

    @property
    def kept_extra(self) -> Mapping[str, Any] | None:
        """What callers had added to the newest frame's record in the earlier run; None if the frame is corrected."""
        frame = self._next - 1
        return None if self._inside(frame) else self._earlier.extras.get(frame, {})

    def step(
        self, frame: NDArray[np.uint8], masks: NDArray[np.integer] | None = None, *, time: float | None = None
    ) -> Labels:
        """The next frame's label map, segmented again or from the earlier run."""
        at = self._next
        inside, starts = self._inside(at), self._inside(at + 1)
        if inside or starts:
            if not inside or self._segmenter.position != at:
                self._segmenter.go_to(at)
            self._segmenter.step(frame, self._given.at(at), time=time)
        self.last = self._corrected(at, self._segmenter.last) if inside else self._kept(at)
        self._next = at + 1
        return self.last.labels

    def descriptors(self) -> FrameDescriptors:
        """The descriptors of the newest frame; empty if its result is from the earlier run."""
        return self._segmenter.descriptors() if self._inside(self._next - 1) else FrameDescriptors({}, None)

    def state(self) -> dict[str, NDArray[Any]]:
        """As `Segmenter.state`."""
        return {**self._segmenter.state(), "correcting/next": np.array(self._next)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the result of `state`."""
        self._segmenter.load_state(state)
        self._next = int(state["correcting/next"])

    def _inside(self, frame: int) -> bool:
        return any(low <= frame <= high for low, high in self._ranges)

    def _joined(self, frame: int, given: NDArray[np.integer] | None) -> Labels:
        """The masks given in a frame, together with the earlier masks of unchanged objects."""
        labels = self._earlier.labels(frame)
        labels[np.isin(labels, [*self._changed, *_ids(given)])] = 0
        return labels if given is None else np.where(given > 0, given, labels).astype(np.uint16)

    def _kept(self, frame: int) -> StepResult:
        objects = {
            key: ObjectResult(
                entry.area, entry.confidence, entry.lost, entry.cut_off or 0.0, entry.agreement, entry.change,
                entry.disagreement,
            )
            for key, entry in self._earlier.records[frame].objects.items()
        }  # fmt: skip
        warnings = list(self._earlier.records[frame].warnings)
        return StepResult(self._earlier.labels(frame), objects, warnings)

    def _corrected(self, frame: int, found: StepResult) -> StepResult:
        kept = self._kept(frame)
        touched = np.isin(kept.labels, list(self._changed)) | np.isin(found.labels, list(self._changed))
        labels = np.where(touched, found.labels, kept.labels)
        objects = {key: entry for key, entry in kept.objects.items() if key not in self._changed}
        for key, entry in objects.items():
            area = int((labels == key).sum())
            objects[key] = entry if area == entry.area else replace(entry, area=area, lost=not area)
        objects |= {
            key: replace(entry, area=int((labels == key).sum()))
            for key, entry in found.objects.items()
            if key in self._changed
        }
        return replace(found, labels=labels, objects=objects)
