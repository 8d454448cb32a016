"""The report of a run: what happened to every object in every frame, and which frames a person should look at."""

from __future__ import annotations

import json
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.files import replacing
from hodor_cli.run.output import REPORT_FORMAT
from hodor_cli.run.settings import Box, ObjectOutcome, ReviewItem
from hodor_cli.video.source import Frame

REPORT_VERSION = 1
#: A present object whose mean probability inside its mask is below this is worth a look.
LOW_CONFIDENCE = 0.6
#: So is one whose confidence falls by this much below the median of the frames just before,
CONFIDENCE_FALL = 0.15
#: and one whose area grows or shrinks by more than this factor from one frame to the next.
AREA_JUMP = 2.5
#: Areas below this many pixels jump without meaning anything.
_SMALL_AREA = 64
_RECENT_FRAMES = 5
_LOW = "low confidence"

Record = Mapping[str, Any]


def frame_record(
    frame: Frame,
    labels: NDArray[np.uint16],
    objects: Mapping[int, ObjectOutcome],
    *,
    given: Iterable[int] = (),
    boxes: Mapping[int, Box] | None = None,
    warnings: Iterable[str] = (),
    extra: Mapping[str, Any] | None = None,
    with_rle: bool = False,
) -> dict[str, Any]:
    """One frame's entry: per object area (px), box (x, y, width, height; null where it is absent), confidence and lost.

    `given` are the objects whose mask was given in this frame, `boxes` those made from a box. `with_rle` adds the masks
    as COCO run lengths.
    """
    from hodor_cli.datasets.video_rle import encode_rle

    entry: dict[str, Any] = {"frame": int(frame.index), "name": frame.name, "time": round(float(frame.time), 6)}
    entry["objects"] = {}
    runs = {}
    for object_id, outcome in sorted(objects.items()):
        mask = labels == object_id
        box = mask_box(mask)
        confidence = float(outcome.confidence)
        entry["objects"][str(object_id)] = {
            "area": int(outcome.area),
            "box": box,
            "confidence": round(confidence, 4) if math.isfinite(confidence) else 0.0,
            "lost": bool(outcome.lost),
        }
        if with_rle and box is not None:
            runs[str(object_id)] = encode_rle(mask)["counts"]
    optional = {
        "given": sorted(int(key) for key in given),
        "boxes": {str(key): [int(side) for side in box] for key, box in (boxes or {}).items()},
        "warnings": list(warnings),
        "rle": runs,
    }
    return entry | {key: value for key, value in optional.items() if value} | dict(extra or {})


def mask_box(mask: NDArray[np.bool_]) -> list[int] | None:
    """x, y, width and height of the smallest box around an (H, W) mask; None if it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    columns = np.flatnonzero(mask[top : bottom + 1].any(axis=0))
    return [int(columns[0]), top, int(columns[-1] - columns[0] + 1), bottom - top + 1]


@dataclass
class _Recent:
    """What came before, of one object."""

    area: int = 0
    lost: bool = False
    confidences: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_FRAMES))


def review_frames(records: Iterable[Record]) -> list[ReviewItem]:
    """The stretches of frames to look at, by frame: objects that are lost or return, whose confidence is low or falls
    sharply, or whose area jumps; and what a record itself names (`review`: a list of object, reason, detail)."""
    recent: dict[int, _Recent] = {}
    running: dict[tuple[int, str], tuple[int, ReviewItem]] = {}
    done: list[ReviewItem] = []
    for position, record in enumerate(records):
        for object_id, reason, detail in _reasons(record, recent):
            index, name = int(record["frame"]), str(record["name"])
            last, item = running.get((object_id, reason), (-2, None))
            if item is None or last != position - 1:
                done += [] if item is None else [item]
                item = ReviewItem(object_id, reason, index, index, name, name, detail)
            # The lowest confidence of a stretch; of anything else, what was said first.
            said = min(item.detail, detail) if reason == _LOW else item.detail or detail
            running[object_id, reason] = (position, replace(item, last_frame=index, last_name=name, detail=said))
    done += [item for _, item in running.values()]
    return sorted(done, key=lambda item: (item.first_frame, item.object_id, item.reason))


def _reasons(record: Record, recent: dict[int, _Recent]) -> Iterator[tuple[int, str, str]]:
    for key, entry in record["objects"].items():
        object_id, given = int(key), int(key) in record.get("given", ())
        known = recent.setdefault(object_id, _Recent())
        area, confidence, lost = int(entry["area"]), float(entry["confidence"]), bool(entry["lost"])
        if lost:
            yield object_id, "lost", ""
            known.confidences.clear()
        elif not given:
            if known.lost:
                yield object_id, "returned", ""
            if confidence < LOW_CONFIDENCE:
                yield object_id, _LOW, f"down to {confidence:.2f}"
            before = statistics.median(known.confidences) if known.confidences else 0.0
            if before - confidence > CONFIDENCE_FALL:
                yield object_id, "confidence fell", f"from {before:.2f} to {confidence:.2f}"
            low, high = sorted((area, known.area))
            if low > 0 and high >= _SMALL_AREA and high > AREA_JUMP * low:
                yield object_id, "area jumped", f"from {known.area} to {area} px"
        known.area, known.lost = area, lost
        if given:
            known.confidences.clear()
        elif not lost:
            known.confidences.append(confidence)
    for added in record.get("review", ()):
        yield int(added["object"]), str(added["reason"]), str(added.get("detail", ""))


def summarise_objects(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """Per object: its first frame, in how many frames it is present or lost, and its mean confidence where present."""
    totals: dict[str, dict[str, Any]] = {}
    for record in records:
        for key, entry in record["objects"].items():
            total = totals.setdefault(key, {"first_frame": record["frame"], "present": 0, "lost": 0, "confidence": 0.0})
            total["lost" if entry["lost"] else "present"] += 1
            if not entry["lost"]:
                total["confidence"] += entry["confidence"]
    return {
        key: {
            "first_frame": total["first_frame"],
            "frames_present": total["present"],
            "frames_lost": total["lost"],
            "mean_confidence": round(total["confidence"] / total["present"], 4) if total["present"] else 0.0,
        }
        for key, total in sorted(totals.items(), key=lambda item: int(item[0]))
    }


def write_report(
    path: Path,
    header: Mapping[str, Any],
    objects: Mapping[str, Any],
    review: Iterable[ReviewItem],
    records: Callable[[], Iterable[Record]],
) -> None:
    """Write report.json, one frame at a time so that memory does not grow with the video. The file appears whole.

    `header` holds what stands in front of the frames (source, weights, settings, speed, warnings), `objects` what
    `summarise_objects` gives.
    """
    with replacing(path, durable=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"format": "{REPORT_FORMAT}", "version": {REPORT_VERSION},\n')
        for key, value in header.items():
            file.write(f"{json.dumps(key)}: {json.dumps(value)},\n")
        file.write(f'"objects": {json.dumps(objects)},\n"review": [')
        for position, item in enumerate(review):
            values = asdict(item)
            values = {"object": values.pop("object_id")} | values
            file.write((",\n  " if position else "\n  ") + json.dumps(values))
        file.write('\n],\n"frames": [')
        for position, record in enumerate(records()):
            kept = {key: value for key, value in record.items() if key not in ("rle", "ticks")}
            file.write((",\n  " if position else "\n  ") + json.dumps(kept))
        file.write("\n]}\n")
