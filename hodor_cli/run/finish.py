"""The end of a run: report.json, with the result for every object in every frame, and review.html."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli import __version__
from hodor_cli.files import put_in_place, replacing, writing
from hodor_cli.records import FrameRecord, ObjectSummary, ReportRecord, RunIdentity, SpeedRecord, read_record
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
    records = partial(read_journal, folder.journal)
    with writing(folder.root):
        speed = SpeedRecord(
            frames=sum(1 for _ in records()),
            frames_per_second=round(run.done / run.seconds, 3) if run.seconds > 0 else 0.0,
            seconds=round(run.seconds, 3),
            network_seconds=round(run.network_seconds, 3),
        )
        report = report_of(identity, speed, run.warnings, records)
        page, file = (folder.progress / path.name for path in (folder.review, folder.report))
        write_review_page(page, report, records(), folder.overlay if folder.overlay.exists() else None)
        put_in_place(page, folder.review)
        write_report(file, report, records())
        put_in_place(file, folder.report)
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


def report_of(
    identity: RunIdentity, speed: SpeedRecord, warnings: Iterable[str], records: Callable[[], Iterable[FrameRecord]]
) -> ReportRecord:
    """The report of a run, without its frames. records: returns the records of the frames, in order. warnings: of the
    source and the inputs; those of the frames follow them."""
    of_frames = chain.from_iterable(record.warnings for record in records())
    return ReportRecord(
        **{name: getattr(identity, name) for name in RunIdentity.__struct_fields__}, format="hodor-report", speed=speed,
        warnings=tuple(dict.fromkeys(chain(warnings, of_frames))), objects=summarise_objects(records()),
        review=tuple(review_frames(records())), suggest=suggested(records()),
    )  # fmt: skip


def write_report(path: Path, report: ReportRecord, records: Iterable[FrameRecord], **more: str) -> None:
    """Write report.json atomically, one frame at a time, so that memory does not grow with the video.

    more: further fields.
    """
    plain = msgspec.to_builtins(report, str_keys=True)
    head = {"format": report.format, "version": report.version, "hodor_version": __version__, **plain, **more}
    with replacing(path, durable=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        fields = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
        file.write("{" + fields + '"frames": [')
        for position, record in enumerate(records):
            kept = msgspec.structs.replace(record, ticks=0)  # only an unfinished run needs them
            frame = json.dumps(msgspec.to_builtins(kept, str_keys=True))
            file.write((",\n  " if position else "\n  ") + frame)
        file.write("\n]}\n")
