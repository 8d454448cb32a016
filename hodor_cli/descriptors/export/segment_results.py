"""The result folder of `hodor segment` as a source for export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hodor_cli.descriptors.export.sources import ExportSource, video_with_masks
from hodor_cli.errors import InputError
from hodor_cli.video.source import open_source


def is_segment_result(folder: Path) -> bool:
    """True for a folder that a finished `hodor segment` made."""
    return (folder / "report.json").is_file() and (folder / "masks").is_dir()


def segment_result(folder: Path, video: Path | None = None, *, every: int = 1, name: str | None = None) -> ExportSource:
    """The masks in `folder`/masks, with each object's confidence from report.json, on the video they were made from.

    video: where the video is; by default where the report says, or else beside the folder.
    Raises InputError if the video cannot be found or the report cannot be read.
    """
    report = _read_report(folder / "report.json")
    path = video or _find_video(folder, report)
    if path is None:
        raise InputError(
            f"{folder} does not say where its video is; give both: `hodor export-descriptors VIDEO --masks {folder}`"
        )
    confidence = {
        int(frame["frame"]): {int(key): float(value["confidence"]) for key, value in frame["objects"].items()}
        for frame in report.get("frames", [])
    }
    return video_with_masks(
        open_source(path), path, folder / "masks", every=every, name=name, confidence=confidence, kind="segment"
    )


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(report.get("frames"), list):
            raise ValueError("no frames")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a report of `hodor segment` ({error}); run it again") from None
    return report


def _find_video(folder: Path, report: dict[str, Any]) -> Path | None:
    source = report.get("source", {})
    place = report.get("place", {}).get("source")
    if place and Path(place).exists():
        return Path(place)
    # By default results lie in NAME.hodor beside NAME.mp4.
    name = str(source.get("name", ""))
    beside = [
        path for path in folder.resolve().parent.glob("*") if name and path.stem == name and path != folder.resolve()
    ]
    candidates = [
        path for path in beside if path.is_dir() or path.suffix.lower() in (".mp4", ".mov", ".avi", ".mkv", ".webm")
    ]
    return candidates[0] if len(candidates) == 1 else None
