"""The results and inputs of a finished run that is corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hodor_cli.images.label_png import read_label_png
from hodor_cli.run.inputs import HasLabels, RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import FrameRecord, ReportRecord, decode
from hodor_cli.run.settings import Click

Labels = NDArray[np.uint16]


class _RawFrames(msgspec.Struct, frozen=True):
    frames: list[dict[str, Any]]


class EarlierRun:
    """The masks and the report of a finished run. records: by frame, with the values that callers had added."""

    def __init__(self, folder: OutputFolder) -> None:
        """Raises OutputError for a damaged report."""
        self._folder = folder
        data, what = folder.report.read_bytes(), str(folder.report)
        self.report = decode(data, ReportRecord, what)
        fields = set(FrameRecord.__struct_fields__)
        self.records: dict[int, FrameRecord] = {}
        for frame in decode(data, _RawFrames, what).frames:
            added = {key: frame[key] for key in frame if key not in fields}
            record = decode(msgspec.json.encode({**frame, "extra": added}), FrameRecord, what)
            self.records[record.frame] = record

    def labels(self, frame: int) -> Labels:
        """The label map of a frame."""
        return read_label_png(self._folder.mask(self.records[frame].name))

    def first_masks(self) -> dict[int, NDArray[np.bool_]]:
        """The masks with which the run began, by object, also those made from boxes and clicks."""
        frame = next(frame for frame in sorted(self.records) if self.records[frame].given)
        labels = self.labels(frame)
        return {object_id: labels == object_id for object_id in self.records[frame].given}

    @cached_property
    def inputs(self) -> RunInputs:
        """The inputs of the run."""
        report = self.report
        clicks: dict[int, dict[int, Sequence[Click]]] = {
            frame: {key: [Click(*one) for one in found] for key, found in of.items()}
            for frame, of in report.clicks.items()
        }
        return RunInputs(
            masks=self._masks(),
            boxes=report.boxes,
            removals=report.removals,
            clicks=clicks,
            names=report.names,
            appears=report.appears,
        )

    def _masks(self) -> dict[int, HasLabels]:
        """The masks that were given, by frame, without those made from boxes and clicks."""
        found: dict[int, HasLabels] = {}
        for frame, record in self.records.items():
            ids = set(record.given).difference(record.boxes, self.report.clicks.get(frame, {}))
            if ids:
                found[frame] = _GivenThen(self, frame, sorted(ids))
        return found


class _GivenThen:
    """The given objects of a frame's label map, read at each use."""

    def __init__(self, earlier: EarlierRun, frame: int, object_ids: list[int]) -> None:
        self._earlier, self._frame, self._object_ids = earlier, frame, object_ids

    @property
    def labels(self) -> Labels:
        labels = self._earlier.labels(self._frame)
        return np.where(np.isin(labels, self._object_ids), labels, 0).astype(np.uint16)


def together(then: RunInputs, now: RunInputs) -> RunInputs:
    """The inputs of an earlier run together with new ones, which take precedence for each object in a frame.

    New clicks correct an earlier mask or box.
    """
    masks: dict[int, Any] = dict(then.masks)
    boxes, clicks = _copy(then.boxes), _copy(then.clicks)
    removals = {frame: set(ids) for frame, ids in then.removals.items()}
    for frame in {*now.starts, *now.removals}:
        labels = now.labels(frame)
        marked = {*ids_of(labels), *now.boxes.get(frame, {})}
        settled = marked | set(now.removals.get(frame, ()))
        removals[frame] = removals.get(frame, set()) - marked - set(now.clicks.get(frame, {}))
        removals[frame] |= set(now.removals.get(frame, ()))
        for before in (boxes, clicks):
            before[frame] = {key: one for key, one in before.get(frame, {}).items() if key not in settled}
        boxes[frame] |= now.boxes.get(frame, {})
        clicks[frame] |= now.clicks.get(frame, {})
        was = then.labels(frame)
        if was is not None:
            kept = np.where(np.isin(was, list(settled)), 0, was).astype(np.uint16)
            labels = kept if labels is None else np.where(labels > 0, labels, kept).astype(np.uint16)
        masks[frame] = labels
    first = {key: frame for frame in reversed(now.starts) for key in now.ids_of(frame)}
    return replace(
        now,
        masks={frame: given for frame, given in sorted(masks.items()) if given is not None and _any(given)},
        boxes={frame: of for frame, of in sorted(boxes.items()) if of},
        clicks={frame: of for frame, of in sorted(clicks.items()) if of},
        removals={frame: tuple(sorted(ids)) for frame, ids in sorted(removals.items()) if ids},
        appears={key: at for key, at in then.appears.items() if first.get(key, at) >= at} | dict(now.appears),
        names={**then.names, **now.names},
    )


def ids_of(labels: NDArray[np.integer] | None) -> set[int]:
    """The ids in a label map."""
    return set() if labels is None else {int(i) for i in np.unique(labels) if i}


def _copy(by_frame: Mapping[int, Mapping[int, Any]]) -> dict[int, dict[int, Any]]:
    return {frame: dict(of) for frame, of in by_frame.items()}


def _any(given: Any) -> bool:
    return bool(np.asarray(getattr(given, "labels", given)).any())
