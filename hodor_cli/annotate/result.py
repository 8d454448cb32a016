"""Writes a project's report, so that every command that accepts a result of `hodor segment` also accepts a project."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.annotate.project import Labels, Project, made_by_hand
from hodor_cli.errors import InputError, OutputError
from hodor_cli.files import writing
from hodor_cli.records import FrameRecord, ReportRecord, ReviewItem, SpeedRecord, SuggestedFrame, is_report, read_record
from hodor_cli.run.choosing import suggested
from hodor_cli.run.finish import report_of, write_report
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder, default_folder
from hodor_cli.run.resume import run_identity
from hodor_cli.run.review import review_frames
from hodor_cli.run.settings import RunSegmenter, SegmentSettings
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.source import open_again, open_source

#: Frames that have changed since -> their earlier records, and files with their earlier masks.
Before = Mapping[int, tuple[FrameRecord, Path]]


@dataclass(frozen=True)
class _ByHand:
    """A label map of the objects made by hand in a frame, read from the file `path` when it is used. damaged: as in
    `inputs_by_hand`."""

    project: Project
    record: FrameRecord
    path: Path
    damaged: Callable[[str], None] | None = None

    def __array__(self, dtype: object = None, copy: object = None) -> Labels:
        try:
            return made_by_hand(self.project.read(self.path), self.record)
        except InputError as error:
            if self.damaged is None:
                raise
            self.damaged(str(error))
            return np.zeros(self.project.size, np.uint16)


def inputs_by_hand(
    project: Project, before: Before | None = None, damaged: Callable[[str], None] | None = None
) -> RunInputs:
    """All masks made by hand, as inputs for a run of `hodor segment`. before: frames to use in their earlier state.
    damaged: called with a sentence about each damaged mask, which is then empty; without it, an InputError."""
    now = {index: (record, project.folder.mask(record.name)) for index, record in list(project.records.items())}
    frames = dict(sorted({**now, **(before or {})}.items()))
    return RunInputs(
        masks={
            index: _ByHand(project, record, path, damaged) for index, (record, path) in frames.items() if record.given
        },
        removals={index: record.removed for index, (record, _) in frames.items() if record.removed},
        names={entry.id: entry.name for entry in project.entries() if entry.name},
    )


#: The frames to review, and the frames to mask next, the most useful first.
Advice = tuple[Sequence[ReviewItem], tuple[SuggestedFrame, ...]]


def advice_of(project: Project) -> Advice:
    records = [record for _, record in sorted(project.records.items())]
    return review_frames(records), suggested(records)


def write_project_report(
    project: Project, source: FrameSource, settings: SegmentSettings, segmenter: RunSegmenter | None
) -> Advice:
    """Write report.json and return its advice. Raises OutputError.

    segmenter: the segmenter that made the masks; None if it has not been loaded yet.
    """
    folder = project.folder
    identity = run_identity(source, inputs_by_hand(project, damaged=source.warn), settings, segmenter)
    records = [record for _, record in sorted(project.records.items())]
    report = report_of(identity, SpeedRecord(len(records), 0.0), source.warnings, lambda: records)
    with writing(folder.root, again="open the project again"):
        write_report(folder.report, report, records, annotated=project.mark)
    return report.review, report.suggest


def open_target(source: Path | str, out: Path | None) -> tuple[FrameSource, OutputFolder]:
    """Open the frames and the project folder of `hodor annotate SOURCE --out OUT`; SOURCE is a video or a result.

    Raises InputError if a result's video is missing, OutputError if the folder belongs to another video, and whatever
    `open_source` raises.
    """
    path = Path(source)
    if path.is_dir() and is_report(path / "report.json"):
        if out is not None and out.resolve() != path.resolve():
            raise OutputError(f"{path} is a result, which is edited in place; leave `out` out")
        place = read_record(path / "report.json", ReportRecord).place.get("source", "")
        if not place or not Path(place).exists():
            where = f" at {place}" if place else ""
            raise InputError(f"the video of {path} is no longer{where}; name it: hodor annotate VIDEO --out {path}")
        source, out = place, path
    report = (out or default_folder(path.stem, source)) / "report.json"
    axes = read_record(report, ReportRecord).axes_at(source) if is_report(report) else None
    frames = open_source(source, axes=axes)
    folder = OutputFolder(out or default_folder(frames.name, source))
    if is_report(folder.report):
        run = read_record(folder.report, ReportRecord)
        frames.close()
        frames, same = open_again(run, source)  # with the run's range, which the fingerprint of a folder covers
        if not same or run.source.size != (frames.height, frames.width):
            frames.close()
            raise OutputError(f"{folder.root} holds the masks of another video; choose another folder with `out`")
    return frames, folder


def continued_settings(folder: OutputFolder, settings: SegmentSettings) -> SegmentSettings:
    """`settings`, with defaults replaced by the settings of the result in the folder: a result is corrected with the
    settings it was made with, so that `segment` can resume it. Raises OutputError if the report is damaged."""
    if not is_report(folder.report):
        return settings
    report = read_record(folder.report, ReportRecord)
    then: dict[str, Any] = dict(report.settings)
    if Path(report.weights.name).is_file():
        then["weights"] = report.weights.name
    kept = ("device", "start_from", "adapt")
    known = [one for one in fields(settings) if one.name in then and one.name not in kept]
    return dataclasses.replace(
        settings, **{one.name: then[one.name] for one in known if getattr(settings, one.name) == one.default}
    )
