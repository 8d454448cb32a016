"""The table of tracks as CSV: one line for each object in each frame."""

from __future__ import annotations

import numpy as np

from hodor_cli.files import csv_text
from hodor_cli.formats.annotations import Annotations
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.extent import window_of

COLUMNS = ("frame", "name", "time", "id", "class", "x", "y", "width", "height", "area", "centre_x", "centre_y",
           "confidence")  # fmt: skip


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write tracks.csv.

    Times are in seconds; boxes, centres of mass and areas are in pixels (pixel i reaches from i to i + 1).
    """
    rows: list[tuple[object, ...]] = [COLUMNS]
    for place, picture in enumerate(annotations.pictures):
        frame = place if picture.frame is None else picture.frame
        time = picture.time if picture.time is not None else (frame / annotations.fps if annotations.fps else "")
        for item in annotations.items(picture):
            left, top, _, _ = item.box
            ys, xs = np.nonzero(item.mask[window_of(item.box)])
            middle = round(left + float(xs.mean()) + 0.5, 2), round(top + float(ys.mean()) + 0.5, 2)
            confidence = annotations.confidence.get((frame, item.object_id), "")
            rows.append((frame, picture.name, time, item.object_id, item.label, *item.box, len(xs), *middle,
                         confidence))  # fmt: skip
    out.text("tracks.csv", csv_text(rows).rstrip("\n"))
