"""The results and inputs of a finished run that is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np

from hodor_cli.datasets.labels.combining import PackedMask
from hodor_cli.errors import OutputError
from hodor_cli.images.label_png import Box, ids_in, read_label_png
from hodor_cli.images.paths import listed
from hodor_cli.records import Click, Report, read_record
from hodor_cli.run.inputs import Labels, RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.prompts import Placed, UnclearMarkError, far
from hodor_cli.run.resume import differences, refuse_differences, run_identity
from hodor_cli.run.settings import RunSegmenter, SegmentSettings
from hodor_cli.video.frames import FrameSource

T = TypeVar("T", Box, Click)


class EarlierRun:
    """The masks and the report of a finished run. records: frame -> its record."""

    def __init__(self, folder: OutputFolder) -> None:
        """Raises OutputError for a damaged report."""
        self._folder = folder
        self.report = read_record(folder.report, Report)
        self.records = {record.frame: record for record in self.report.frames}

    def labels(self, frame: int) -> Labels:
        return read_label_png(self._folder.mask(self.records[frame].name))

    @cached_property
    def inputs(self) -> RunInputs:
        """The inputs of the run; `masks` does not include those made from boxes and clicks."""
        report, masks = self.report, dict[int, PackedMask]()
        for frame, record in self.records.items():
            # Not the record's boxes: `hodor annotate` keeps these, for their files, but has made masks of them.
            if ids := set(record.given).difference(report.boxes.get(frame, {}), report.clicks.get(frame, {})):
                labels = self.labels(frame)
                masks[frame] = PackedMask(np.where(np.isin(labels, sorted(ids)), labels, 0))
        return RunInputs(masks, report.boxes, report.removals, report.clicks, report.names, report.appears)

    def identified(self, marks: Sequence[Placed[T]]) -> list[Placed[T]]:
        """Boxes or clicks of a correction; those without an id get that of the object that they mean.

        One that this run was given already has the id from then. Another click corrects the only object that was given
        in its frame, unless it is positive and far from that object. Raises UnclearMarkError for all others, which may
        correct an object or start one.
        """
        return [(frame, self._object_of(frame, mark) if key is None else key, mark) for frame, key, mark in marks]

    def _object_of(self, frame: int, mark: Box | Click) -> int:
        ids, is_click = sorted(self.report.objects), isinstance(mark, Click)
        if (record := self.records.get(frame)) is not None:
            same = [key for key, box in record.boxes.items() if mark == box]
            same += [key for key, clicks in record.clicks.items() if mark in clicks]
            if isinstance(mark, Click) and len(record.given) == 1:
                box = record.objects[record.given[0]].box
                same += () if mark[2] and box is not None and far(mark, box) else record.given
            if same:
                return same[0]
        name, sign = ("click", "" if mark[2] else "-") if is_click else ("box", "")
        text = sign + ",".join(map(str, mark[:2] if is_click else mark))
        of = f"object {ids[0]}" if len(ids) == 1 else f"one of the objects {listed(ids, 8)}"
        why = f"the {name} {text} in frame {frame} could correct {of} of the earlier run or start another one"
        raise UnclearMarkError(why, f"{frame}:{max(ids, default=0) + 1}={text}", name)


def finished_run(folder: OutputFolder) -> EarlierRun | None:
    """The finished run in a folder, if there is one. Raises OutputError."""
    return EarlierRun(folder) if folder.state() == "finished" else None


def together(then: RunInputs, now: RunInputs) -> RunInputs:
    """The inputs of an earlier run and new ones together; new ones replace those of the same object and frame.

    New clicks correct an earlier mask or box.
    """
    masks: dict[int, Any] = dict(then.masks)
    boxes: dict[int, dict[int, Any]] = {frame: dict(of) for frame, of in then.boxes.items()}
    clicks: dict[int, dict[int, Any]] = {frame: dict(of) for frame, of in then.clicks.items()}
    removals = {frame: set(ids) for frame, ids in then.removals.items()}
    for frame in {*now.starts, *now.removals}:
        labels = now.labels(frame)
        marked = {*ids_in(labels), *now.boxes.get(frame, {})}
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
        if labels is not None:
            masks[frame] = labels
    given = RunInputs(masks)
    first = {key: frame for frame in reversed(now.starts) for key in now.ids_of(frame)}
    return replace(
        now,
        masks={frame: masks[frame] for frame in sorted(masks) if np.any(given.labels(frame))},
        boxes={frame: of for frame, of in sorted(boxes.items()) if of},
        clicks={frame: of for frame, of in sorted(clicks.items()) if of},
        removals={frame: tuple(sorted(ids)) for frame, ids in sorted(removals.items()) if ids},
        appears={key: at for key, at in then.appears.items() if first.get(key, at) >= at} | dict(now.appears),
        names={**then.names, **now.names},
    )


def corrected_run(
    folder: OutputFolder, source: FrameSource, inputs: RunInputs, settings: SegmentSettings, segmenter: RunSegmenter
) -> tuple[EarlierRun | None, RunInputs]:
    """The finished run that these inputs correct, or None; and the inputs of both together."""
    earlier = finished_run(folder)
    if earlier is None or set(earlier.report.clicks).intersection(earlier.report.masks):
        return None, inputs  # the masks before the clicks corrected them are not stored
    if inputs.starts and earlier.report.settings.get("start_from") and not settings.start_from:
        raise OutputError(
            f"the run in {folder.root} started from saved objects (`known`), so `resume` cannot correct it with masks, "
            f"boxes or clicks; correct it with hodor annotate {folder.root}, or start again with `overwrite`"
        )
    joined = together(earlier.inputs, inputs)
    identity = run_identity(source, joined, settings, segmenter)
    given = ("masks", "boxes", "clicks", "removals", "appears")
    same = msgspec.structs.replace(identity, **{part: getattr(earlier.report, part) for part in given})
    refuse_differences(earlier.report, same, folder.root)
    if not differences(earlier.report, identity) and identity.names == earlier.report.names:
        return None, joined
    frames = sorted(earlier.records)
    if not frames or frames != list(range(source.start, frames[-1] + 1)):
        raise OutputError(
            f"{folder.root} has masks of {len(frames)} frames; track the others with hodor annotate, or `overwrite`"
        )
    return earlier, joined
