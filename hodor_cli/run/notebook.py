"""Renders the result of a run in a notebook: the overlay video, its objects, and the frames to review."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.errors import OutputError
from hodor_cli.pages import render
from hodor_cli.run.records import ObjectSummary, ReportRecord, decode
from hodor_cli.video.overlay import object_colours

if TYPE_CHECKING:
    from hodor_cli.run.settings import SegmentSummary

#: A larger video is named instead of embedded, because a notebook file stores all that it shows.
_MOST_BYTES = 12 * 2**20
_MOST_REVIEWS = 8


def notebook_html(summary: SegmentSummary) -> str:
    """The HTML of a result. Files that were removed since are left out."""
    overlay = summary.files.get("overlay")
    rows = [
        (object_id, tuple(int(value) for value in object_colours(np.array([object_id]))[0]), of_object)
        for object_id, of_object in _objects(summary.files.get("report")).items()
    ]
    return render(
        "hodor_cli.run",
        "notebook.html",
        summary=summary,
        video=_video(overlay),
        overlay=overlay,
        rows=rows,
        review=summary.review[:_MOST_REVIEWS],
        more=max(0, len(summary.review) - _MOST_REVIEWS),
    )


def _video(overlay: Path | None) -> str | None:
    """The overlay as a data URI; None if there is none or it is too large for a notebook."""
    try:
        if overlay is None or overlay.stat().st_size > _MOST_BYTES:
            return None
        return "data:video/mp4;base64," + base64.b64encode(overlay.read_bytes()).decode()
    except OSError:
        return None


def _objects(report: Path | None) -> dict[int, ObjectSummary]:
    try:
        return {} if report is None else decode(report.read_bytes(), ReportRecord, str(report)).objects
    except (OSError, OutputError):
        return {}
