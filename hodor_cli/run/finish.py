"""Finishes a run: writes review page and report, and removes `.progress`."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from hodor_cli import __version__
from hodor_cli.files import put_in_place, writing
from hodor_cli.run.journal import read_journal
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import ReportRecord, RunIdentity, SpeedRecord, decode
from hodor_cli.run.report import summarise_objects, write_report
from hodor_cli.run.resume import Progressed
from hodor_cli.run.review import review_frames
from hodor_cli.run.review_page import write_review_page
from hodor_cli.run.settings import SegmentSummary
from hodor_cli.run.suggesting import suggested


def finish_run(folder: OutputFolder, identity: RunIdentity, spent: Progressed, *, resumed_from: int) -> SegmentSummary:
    """Write what needs the journal of the whole run, report.json last, and remove `.progress`. Raises OutputError.

    spent: the number of frames segmented, the time for them, and warnings.
    """
    with writing(folder.root):
        objects = summarise_objects(read_journal(folder.journal))
        review = review_frames(read_journal(folder.journal))
        speed = SpeedRecord(
            frames=sum(1 for _ in read_journal(folder.journal)),
            frames_per_second=round(spent.done / spent.seconds, 3) if spent.seconds > 0 else 0.0,
            seconds=round(spent.seconds, 3),
            network_seconds=round(spent.network_seconds, 3),
        )
        warnings = dict.fromkeys(spent.warnings)  # of the source and the inputs, then of the frames
        for record in read_journal(folder.journal):
            warnings.update(dict.fromkeys(record.warnings))
        header = {"hodor_version": __version__, **msgspec.to_builtins(identity, str_keys=True)}
        page = folder.progress / folder.review.name
        overlay = folder.overlay if folder.overlay.exists() else None
        write_review_page(page, identity, objects, review, read_journal(folder.journal), overlay)
        put_in_place(page, folder.review)
        report = folder.progress / folder.report.name
        write_report(
            report,
            header | {"speed": speed, "warnings": tuple(warnings), "suggest": suggested(read_journal(folder.journal))},
            objects,
            review,
            lambda: read_journal(folder.journal),
        )
        put_in_place(report, folder.report)
        shutil.rmtree(folder.progress)
    return SegmentSummary(
        out=folder.root,
        frames=speed.frames,
        object_ids=tuple(objects),
        frames_per_second=speed.frames_per_second,
        review=tuple(review),
        warnings=tuple(warnings),
        files=_files(folder),
        resumed_from=resumed_from,
    )


def read_summary(folder: OutputFolder) -> tuple[SegmentSummary, RunIdentity]:
    """The summary of a finished run and its identity, from its report. Raises OutputError for a damaged report."""
    report = decode(folder.report.read_bytes(), ReportRecord, str(folder.report))
    summary = SegmentSummary(
        out=folder.root,
        frames=report.speed.frames,
        object_ids=tuple(report.objects),
        frames_per_second=report.speed.frames_per_second,
        review=report.review,
        warnings=report.warnings,
        files=_files(folder),
        resumed_from=report.speed.frames,
        already_finished=True,
    )
    return summary, report


def _files(folder: OutputFolder) -> dict[str, Path]:
    places = {"masks": folder.masks, "overlay": folder.overlay, "review": folder.review, "report": folder.report}
    places["boxes"] = folder.box_masks
    return {key: path for key, path in places.items() if path.exists()}
