"""Renders the result of a run in a notebook: the overlay video, its objects, and the frames to review."""

from __future__ import annotations

import base64
from contextlib import suppress
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
    overlay, report = summary.files.get("overlay"), summary.files.get("report")
    video: str | None = None
    objects: dict[int, ObjectSummary] = {}
    with suppress(OSError):
        if overlay is not None and overlay.stat().st_size <= _MOST_BYTES:
            video = "data:video/mp4;base64," + base64.b64encode(overlay.read_bytes()).decode()
    with suppress(OSError, OutputError):
        objects = {} if report is None else decode(report.read_bytes(), ReportRecord, str(report)).objects
    colours = object_colours(np.array(list(objects), dtype=int)).tolist()
    return render(
        "hodor_cli.run",
        "notebook.html",
        summary=summary,
        video=video,
        overlay=overlay,
        rows=[(key, tuple(colour), objects[key]) for key, colour in zip(objects, colours, strict=True)],
        review=summary.review[:_MOST_REVIEWS],
        more=max(0, len(summary.review) - _MOST_REVIEWS),
    )
