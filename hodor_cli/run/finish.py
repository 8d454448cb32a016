"""The end of a run: the overlay joined, annotations and report written, and what was only needed on the way removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hodor_cli.datasets.video_rle import VideoMask, write_video_annotations
from hodor_cli.files import writing
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.report import review_frames, summarise_objects, write_report
from hodor_cli.run.results import ResultsWriter
from hodor_cli.run.resume import read_journal
from hodor_cli.run.settings import ReviewItem, SegmentSummary
from hodor_cli.video.source import FrameSource

#: The parts of a report that say what the run was about, see `run_identity`.
IDENTITY_KEYS = ("source", "masks", "boxes", "weights", "settings", "used")


@dataclass
class RunClock:
    """What a run has used, and what its source complained about; carried on when it is resumed."""

    seconds: float = 0.0
    network_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def finish_run(
    folder: OutputFolder,
    results: ResultsWriter,
    identity: Mapping[str, Any],
    clock: RunClock,
    source: FrameSource,
    *,
    resumed_from: int,
) -> SegmentSummary:
    """Write everything that needs the whole run, report.json last, and remove `.progress`. Raises OutputError."""
    results.finish()
    clock.warnings = tuple(dict.fromkeys((*clock.warnings, *source.warnings)))  # the sound may not have been copied
    with writing(folder.root):
        objects = summarise_objects(read_journal(folder.journal))
        if identity["settings"]["coco"]:
            annotations = folder.progress / folder.annotations.name
            write_video_annotations(
                annotations,
                name=identity["source"]["name"],
                size=tuple(identity["source"]["size"]),
                file_names=(f"{record['name']}.png" for record in read_journal(folder.journal)),
                length=results.done,
                object_ids=[int(key) for key in objects],
                frames_of=lambda object_id: _masks_of(folder, str(object_id)),
            )
            annotations.replace(folder.annotations)
        review = review_frames(read_journal(folder.journal))
        frames_per_second = results.done / clock.seconds if clock.seconds > 0 else 0.0
        header = {
            "hodor_version": _version(),
            **{key: identity[key] for key in IDENTITY_KEYS},
            "place": identity["place"],
            "speed": {
                "frames": results.done,
                "frames_per_second": round(frames_per_second, 3),
                "seconds": round(clock.seconds, 3),
                "network_seconds": round(clock.network_seconds, 3),
            },
            "warnings": list(_warnings(folder, clock)),
        }
        report = folder.progress / folder.report.name
        write_report(report, header, objects, review, lambda: read_journal(folder.journal))
        report.replace(folder.report)
        shutil.rmtree(folder.progress)
    return SegmentSummary(
        out=folder.root,
        frames=results.done,
        object_ids=tuple(int(key) for key in objects),
        frames_per_second=frames_per_second,
        review=tuple(review),
        warnings=tuple(header["warnings"]),
        files=_files(folder),
        resumed_from=resumed_from,
    )


def read_summary(folder: OutputFolder) -> tuple[SegmentSummary, dict[str, Any]]:
    """The summary of a finished run and its identity, from its report."""
    report = json.loads(folder.report.read_text(encoding="utf-8"))
    if folder.progress.is_dir():
        shutil.rmtree(folder.progress)  # a kill came between the report and the tidying up
    review = [ReviewItem(object_id=item.pop("object"), **item) for item in report["review"]]
    summary = SegmentSummary(
        out=folder.root,
        frames=report["speed"]["frames"],
        object_ids=tuple(int(key) for key in report["objects"]),
        frames_per_second=report["speed"]["frames_per_second"],
        review=tuple(review),
        warnings=tuple(report["warnings"]),
        files=_files(folder),
        resumed_from=report["speed"]["frames"],
        already_finished=True,
    )
    return summary, {key: report[key] for key in IDENTITY_KEYS}


def _masks_of(folder: OutputFolder, key: str) -> Iterator[VideoMask | None]:
    for record in read_journal(folder.journal):
        counts = record.get("rle", {}).get(key)
        if counts is None:
            yield None
        else:
            entry = record["objects"][key]
            yield {"counts": counts, "area": entry["area"], "box": entry["box"]}


def _warnings(folder: OutputFolder, clock: RunClock) -> dict[str, None]:
    """Every warning once, in order."""
    found = dict.fromkeys(clock.warnings)
    for record in read_journal(folder.journal):
        found.update(dict.fromkeys(record.get("warnings", ())))
    return found


def _files(folder: OutputFolder) -> dict[str, Path]:
    places = {
        "masks": folder.masks,
        "overlay": folder.overlay,
        "report": folder.report,
        "annotations": folder.annotations,
        "boxes": folder.box_masks,
    }
    return {key: path for key, path in places.items() if path.exists()}


def _version() -> str:
    import hodor_cli

    return str(getattr(hodor_cli, "__version__", "unknown"))
