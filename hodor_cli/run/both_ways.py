"""Runs in both directions: all given masks are encoded and the passes backward made before the loop goes forward.

The segmenter joins its results with the soft maps of those passes in `.progress`. In the correction of a finished run
it keeps the results of the earlier run, except where objects may change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.combining import PackedLabels
from hodor_cli.engine.following import GivenMasks, encode_masks, pass_backward
from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.files import writing
from hodor_cli.run.correcting import ChangedPart
from hodor_cli.run.inputs import Labels, RunInputs, ids_in
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import FrameRecord
from hodor_cli.run.settings import RunHooks
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.yuv import Picture


def able_to_go_back(source: FrameSource, segmenter: Any) -> bool:
    """Whether frames can be read again and the segmenter can follow objects backward."""
    return source.reiterable and hasattr(segmenter, "backward") and not segmenter.object_ids


def follow_backward(
    source: FrameSource, inputs: RunInputs, segmenter: Any, folder: OutputFolder, hooks: RunHooks
) -> RunHooks:
    """Encode all masks and make the passes backward that are not finished; the segmenter can then go forward.

    Returns the hooks for the loop, whose progress includes the frames of the passes backward.
    """
    masks = dict(inputs.masks)
    for at in {*inputs.boxes, *inputs.clicks}:
        for frame in source.between(at, at + 1):
            labels = inputs.at(frame).labels
            if labels is not None:
                masks[at] = PackedLabels(labels)
    given = GivenMasks(masks, inputs.removals, inputs.appears)
    with writing(folder.root):
        maps = MapFolder(folder.backward)
    segmenter.plan(given.plan, first=source.start, maps=maps)
    encode_masks(segmenter, source, given)
    stretches = list(given.plan.stretches(source.start, inputs.starts[-1]))
    with writing(folder.root):
        return counting_from(make_passes(segmenter, source, given, stretches, maps, hooks, source.length), hooks)


def make_passes(
    segmenter: Any,
    source: FrameSource,
    given: GivenMasks,
    stretches: Sequence[tuple[int, int]],
    maps: Collection[int],
    hooks: RunHooks,
    ahead: int | None,
) -> int:
    """Make the passes backward that are not finished; returns their number of frames. ahead: the frames to come."""
    behind, done = sum(top - bottom + 1 for bottom, top in stretches), 0
    for bottom, top in stretches:
        if bottom in maps:  # a pass's last frame: it is finished
            done += top - bottom + 1
            continue
        for _ in pass_backward(segmenter, source, given, (bottom, top)):
            done += 1
            if hooks.progress:
                hooks.progress(done, None if ahead is None else behind + ahead)
    return behind


def counting_from(behind: int, hooks: RunHooks) -> RunHooks:
    """Hooks whose progress counts frames done before as well."""
    shown = hooks.progress
    if shown is None:
        return hooks
    return replace(hooks, progress=lambda done, total: shown(behind + done, None if total is None else behind + total))


class EarlierResult(Protocol):
    """The result that is corrected; see `EarlierRun`."""

    @property
    def records(self) -> Mapping[int, FrameRecord]: ...
    def labels(self, frame: int) -> Labels: ...
    def first_masks(self) -> Mapping[int, NDArray[np.bool_]]: ...


class Part(NamedTuple):
    """What is corrected: the frames that are segmented again, where and which objects change in them, the result."""

    change: ChangedPart
    earlier: EarlierResult
    frames: Sequence[int]


class CorrectingSegmenter:
    """Returns the results of the earlier run, except for changed objects in frames that may change.

    Other objects keep their masks, except where a changed object is now or was before.
    """

    def __init__(
        self,
        segmenter: Any,
        source: FrameSource,
        inputs: RunInputs,
        part: Part,
        maps: MutableMapping[int, bytes],
        hooks: RunHooks,
    ) -> None:
        """Make the passes backward at once and store their results in `maps`."""
        self._segmenter, self._next = segmenter, 0
        self._change, self._earlier, self._frames = part
        ranges = self._change.ranges
        masks: dict[int, Labels] = {}
        for low, high in ranges:
            for edge in (low - 1, high + 1):
                if edge in self._earlier.records:
                    masks[edge] = self._earlier.labels(edge)
            for index in inputs.starts:
                if low <= index <= high:
                    for frame in source.between(index, index + 1):
                        masks[index] = self._joined(index, inputs.at(frame).labels)
        self._given = given = GivenMasks(masks, inputs.removals, inputs.appears)
        segmenter.plan(given.plan, first=source.start, maps=maps)
        segmenter.choose_resolution(self._earlier.first_masks())
        encode_masks(segmenter, source, given)
        stretches = [one for low, high in ranges for one in given.plan.stretches(low, high + 1)]
        #: Number of frames in the passes backward.
        self.behind = make_passes(segmenter, source, given, stretches, maps, hooks, len(self._frames))
        self.last = StepResult(np.zeros((0, 0), np.uint16))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)

    @property
    def object_ids(self) -> list[int]:
        """Always empty, because the plan decides which objects are followed, and callers must not remove any."""
        return []

    @property
    def kept(self) -> bool:
        """Whether the result of the newest frame is from the earlier run."""
        return not self._change.covers(self._frames[self._next - 1])

    def step(self, frame: Picture, masks: NDArray[np.integer] | None = None, *, time: float | None = None) -> Labels:
        at = self._frames[self._next]
        inside, starts = self._change.covers(at), self._change.covers(at + 1)
        if inside or starts:
            if not inside or self._segmenter.position != at:
                self._segmenter.go_to(at)
            self._segmenter.step(frame, self._given.at(at), time=time)
        self.last = self._corrected(at, self._segmenter.last) if inside else self._kept(at)
        self._next += 1
        return self.last.labels

    def descriptors(self) -> FrameDescriptors:
        """The descriptors of the newest frame; empty if its result is from the earlier run."""
        return FrameDescriptors({}, None) if self.kept else self._segmenter.descriptors()

    def state(self) -> dict[str, NDArray[Any]]:
        return {**self._segmenter.state(), "correcting/next": np.array(self._next)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._segmenter.load_state(state)
        self._next = int(state["correcting/next"])

    def _joined(self, frame: int, given: NDArray[np.integer] | None) -> Labels:
        """The masks given in a frame, together with the earlier masks of unchanged objects."""
        labels = self._earlier.labels(frame)
        labels[np.isin(labels, [*self._change.object_ids, *ids_in(given)])] = 0
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
        kept, changed = self._kept(frame), list(self._change.object_ids)
        touched = np.isin(kept.labels, changed) | np.isin(found.labels, changed)
        labels = np.where(touched, found.labels, kept.labels)
        objects = {key: entry for key, entry in kept.objects.items() if key not in changed}
        for key, entry in objects.items():
            area = int((labels == key).sum())
            objects[key] = entry if area == entry.area else replace(entry, area=area, lost=not area)
        objects |= {
            key: replace(entry, area=int((labels == key).sum()))
            for key, entry in found.objects.items()
            if key in changed
        }
        return replace(found, labels=labels, objects=objects)
