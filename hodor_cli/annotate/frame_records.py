"""The records of a project's frames: those of a result's report, and those of edited frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from hodor_cli.files import harmless
from hodor_cli.images.label_png import box_of
from hodor_cli.run.earlier import EarlierRun
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import FrameRecord, ObjectRecord

Labels = NDArray[np.uint16]


def empty_record(record: FrameRecord) -> FrameRecord:
    """The record of a frame without any object."""
    return replace(record, objects={}, given=(), removed=(), boxes={}, warnings=(), review=(), extra={})


def edited_record(base: FrameRecord, labels: Labels, touched: Iterable[int], *, by_hand: bool = True) -> FrameRecord:
    """A frame's record after its label map was edited.

    touched: the edited objects; those in the frame become given, the others removed from this frame on. An object that
    the edit only painted over keeps its confidence.
    """
    objects: dict[int, ObjectRecord] = {}
    touched = set(touched)
    given, removed = set(base.given), set(base.removed)
    areas = np.bincount(labels.reshape(-1))
    for object_id in sorted({*base.objects, *touched, *(np.flatnonzero(areas[1:]) + 1).tolist()}):
        area, old = int(areas[object_id]) if object_id < len(areas) else 0, base.objects.get(object_id)
        if object_id in touched and by_hand:
            (given.add if area else given.discard)(object_id)
            (removed.discard if area else removed.add)(object_id)
            if area:
                objects[object_id] = ObjectRecord(area, box_of(labels == object_id), 1.0, False)
        elif area and old is not None and old.area == area:
            objects[object_id] = old
        elif area:
            known = old or ObjectRecord(area, None, 1.0, False)
            objects[object_id] = replace(known, area=area, box=box_of(labels == object_id), lost=False)
        elif old is not None:
            objects[object_id] = ObjectRecord(0, None, 0.0, True)
            given.discard(object_id)
    return replace(base, objects=objects, given=tuple(sorted(given)), removed=tuple(sorted(removed)))


def report_records(folder: OutputFolder) -> tuple[dict[int, FrameRecord], dict[int, str]]:
    """The frames of a result's report by index, and its objects' names. Raises OutputError if it is damaged."""
    if not folder.report.is_file():
        return {}, {}
    earlier = EarlierRun(folder)
    return earlier.records, {key: harmless(name)[:80] for key, name in earlier.report.names.items()}
