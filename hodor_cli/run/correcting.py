"""A finished run with a further mask: only the frames between that mask's neighbours are followed again.

The run goes through the whole source once more, and so keeps journal, checkpoints and overlay as ever; but in frames
that nothing changes, its segmenter takes what the earlier run found, and the network does not run.
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
    """What a finished run found: its masks and its report, wherever they lie now."""

    def __init__(self, folder: OutputFolder, *, aside: bool = False) -> None:
        """aside: whether `set_aside` has begun to move them."""
        moved = folder.earlier / folder.report.name
        aside = aside and moved.exists()
        self._masks = folder.earlier / folder.masks.name if aside else folder.masks
        if not self._masks.is_dir():
            self._masks = folder.masks  # cut off between moving the report and the masks
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
        """The masks given as such, by frame; those made from boxes and clicks are not among them."""
        found = {}
        for frame, record in self.records.items():
            ids = set(record.given).difference(record.boxes, self.report.clicks.get(frame, {}))
            if ids:
                labels = self.labels(frame)
                found[frame] = np.where(np.isin(labels, list(ids)), labels, 0).astype(np.uint16)
        return found

    def inputs(self, further: RunInputs) -> RunInputs:
        """All that was given then and now. In a frame of both, what is given now counts, object by object."""
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
    """Move the earlier run's report and masks to where the correction reads them; can be called again."""
    folder.earlier.mkdir(parents=True, exist_ok=True)
    for path in (folder.report, folder.masks):
        moved = folder.earlier / path.name
        if path.exists() and not moved.exists():
            os.replace(path, moved)
    folder.remove_drawn()


def changed(then: RunInputs, now: RunInputs, count: int) -> tuple[list[tuple[int, int]], set[int]]:
    """The ranges (first, last) of frames that may change between two sets of inputs, and the objects that do."""
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
    """The frames between the neighbouring masks of an object around a frame, in whichever plan they are farther."""
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
    """Gives what the earlier run found, and follows the changed objects again where they may change.

    Other objects keep their masks, except where a changed one lies now or lay before.
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
        """Goes back at once, leaving in `maps` what that found; `inputs` is what is given then and now."""
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
        """None that a caller could remove: the plan says who is followed."""
        return []

    @property
    def kept_extra(self) -> Mapping[str, Any] | None:
        """What callers had added to the newest frame, if it was kept."""
        frame = self._next - 1
        return None if self._inside(frame) else self._earlier.extras.get(frame, {})

    def step(
        self, frame: NDArray[np.uint8], masks: NDArray[np.integer] | None = None, *, time: float | None = None
    ) -> Labels:
        """The next frame's label map, found again or kept."""
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
        """Those of the newest frame; none of a kept one."""
        return self._segmenter.descriptors() if self._inside(self._next - 1) else FrameDescriptors({}, None)

    def state(self) -> dict[str, NDArray[Any]]:
        """As a segmenter's."""
        return {**self._segmenter.state(), "correcting/next": np.array(self._next)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """What `state` gave."""
        self._segmenter.load_state(state)
        self._next = int(state["correcting/next"])

    def _inside(self, frame: int) -> bool:
        return any(low <= frame <= high for low, high in self._ranges)

    def _joined(self, frame: int, given: NDArray[np.integer] | None) -> Labels:
        """What is given in a frame, and the unchanged objects where they were found."""
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
