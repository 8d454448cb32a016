"""Writes the table of tracks as CSV, one line for each object in each frame, and `sv.Detections`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import extra
from hodor_cli.files import csv_text
from hodor_cli.formats.annotations import Annotations
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.label_png import box_of, ids_in, window_of

COLUMNS = ("frame", "name", "time", "id", "class", "x", "y", "width", "height", "area", "centre_x", "centre_y",
           "confidence")  # fmt: skip


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write tracks.csv.

    Times are in seconds; boxes, centres of mass and areas are in pixels (pixel i extends from i to i + 1).
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


def detections_of(
    labels: NDArray[np.integer], confidence: Mapping[int, float] | None = None, names: Mapping[int, str] | None = None
) -> Any:
    """The objects of an (H, W) label map as `sv.Detections`: boxes and masks; `tracker_id` is the object id, `class_id`
    the index of the class in `names`, `data["class_name"]` the class. Raises UsageError if supervision is not
    installed."""
    with extra("supervision", "`to_supervision`"):
        import supervision
    ids = ids_in(np.asarray(labels))
    if not ids:
        return supervision.Detections.empty()
    masks = np.stack([np.asarray(labels) == object_id for object_id in ids])
    boxes = [box_of(mask) or (0, 0, 0, 0) for mask in masks]
    called = [(names or {}).get(object_id, "object") for object_id in ids]
    order = list(dict.fromkeys([*(names or {}).values(), "object"]))
    return supervision.Detections(
        xyxy=np.array([(left, top, left + width, top + height) for left, top, width, height in boxes], np.float32),
        mask=masks,
        confidence=np.array([(confidence or {}).get(object_id, 1.0) for object_id in ids], np.float32),
        class_id=np.array([order.index(name) for name in called]),
        tracker_id=np.array(ids),
        data={"class_name": np.array(called)},
    )
