"""The end of a run: report.json, with the result for every object in every frame, and review.html."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli import __version__
from hodor_cli.files import put_in_place, replacing, writing
from hodor_cli.records import (
    REPORT_FORMAT,
    REPORT_VERSION,
    FrameRecord,
    ObjectSummary,
    ReportRecord,
    ReviewItem,
    RunIdentity,
    SpeedRecord,
    read_record,
)
from hodor_cli.run.choosing import suggested
from hodor_cli.run.output import OutputFolder, read_journal
from hodor_cli.run.resume import RunProgress, refuse_differences
from hodor_cli.run.review import review_frames
from hodor_cli.run.review_page import write_review_page
from hodor_cli.run.settings import SegmentSummary


def finish_run(folder: OutputFolder, identity: RunIdentity, run: RunProgress, *, resumed_from: int) -> SegmentSummary:
    """Write review.html and then report.json from the complete journal, and remove `.progress`. Raises OutputError.

    run: the frames that were segmented, not those kept of an earlier run.
    """
    with writing(folder.root):
        objects = summarise_objects(read_journal(folder.journal))
        review = review_frames(read_journal(folder.journal))
        speed = SpeedRecord(
            frames=sum(1 for _ in read_journal(folder.journal)),
            frames_per_second=round(run.done / run.seconds, 3) if run.seconds > 0 else 0.0,
            seconds=round(run.seconds, 3),
            network_seconds=round(run.network_seconds, 3),
        )
        warnings = dict.fromkeys(run.warnings)  # of the source and the inputs, then of the frames
        for record in read_journal(folder.journal):
            warnings.update(dict.fromkeys(record.warnings))
        plain = msgspec.to_builtins(identity, str_keys=True)
        header = {"hodor_version": __version__, **{name: plain[name] for name in RunIdentity.__struct_fields__}}
        header |= {"speed": speed, "warnings": tuple(warnings), "suggest": suggested(read_journal(folder.journal))}
        page = folder.progress / folder.review.name
        overlay = folder.overlay if folder.overlay.exists() else None
        write_review_page(page, identity, objects, review, read_journal(folder.journal), speed.frames, overlay)
        put_in_place(page, folder.review)
        report = folder.progress / folder.report.name
        write_report(report, header, objects, review, read_journal(folder.journal))
        put_in_place(report, folder.report)
        shutil.rmtree(folder.progress)
    return replace(read_summary(folder, identity), resumed_from=resumed_from, already_finished=False)


def read_summary(folder: OutputFolder, identity: RunIdentity) -> SegmentSummary:
    """The summary of a finished run. Raises OutputError if its report is damaged or its identity differs."""
    report = read_record(folder.report, ReportRecord)
    refuse_differences(report, identity, folder.root)
    places = {"masks": folder.masks, "overlay": folder.overlay, "review": folder.review, "report": folder.report}
    places["boxes"] = folder.box_masks
    return SegmentSummary(
        out=folder.root,
        frames=report.speed.frames,
        object_ids=tuple(report.objects),
        frames_per_second=report.speed.frames_per_second,
        review=report.review,
        warnings=report.warnings,
        files={key: path for key, path in places.items() if path.exists()},
        resumed_from=report.speed.frames,
        already_finished=True,
    )


def summarise_objects(records: Iterable[FrameRecord]) -> dict[int, ObjectSummary]:
    """For each object: its first frame, the number of frames in which it is present or lost, its mean confidence."""
    totals: dict[int, list[Any]] = {}
    for record in records:
        for key, entry in record.objects.items():
            total = totals.setdefault(key, [record.frame, 0, 0, 0.0])
            total[1 + entry.lost] += 1
            total[3] += 0.0 if entry.lost else entry.confidence
    return {
        key: ObjectSummary(first, present, lost, round(confidence / present, 4) if present else 0.0)
        for key, (first, present, lost, confidence) in sorted(totals.items())
    }


def write_report(
    path: Path,
    header: Mapping[str, Any],
    objects: Mapping[int, ObjectSummary],
    review: Iterable[ReviewItem],
    records: Iterable[FrameRecord],
) -> None:
    """Write report.json atomically, one frame at a time, so that memory does not grow with the video.

    header: the fields before the frames (source, weights, settings, speed, warnings). objects: the result of
    `summarise_objects`.
    """
    with replacing(path, durable=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"format": "{REPORT_FORMAT}", "version": {REPORT_VERSION},\n')
        for key, value in header.items():
            file.write(f"{json.dumps(key)}: {_json(value)},\n")
        file.write(f'"objects": {_json(objects)},\n')
        frames = (msgspec.structs.replace(record, ticks=0) for record in records)  # only the unfinished run needs ticks
        for title, values, end in (("review", review, ","), ("frames", frames, "}")):
            file.write(f'"{title}": [')
            for position, value in enumerate(values):
                file.write((",\n  " if position else "\n  ") + _json(value))
            file.write(f"\n]{end}\n")


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value, str_keys=True))
