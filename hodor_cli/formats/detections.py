"""Objects as `supervision.Detections`, with their ids as tracker ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.mask_values import ids_in
from hodor_cli.errors import InputError
from hodor_cli.images.extent import box_of


def detections_of(
    labels: NDArray[np.integer], confidence: Mapping[int, float] | None = None, names: Mapping[int, str] | None = None
) -> Any:
    """`sv.Detections` of an (H, W) label map: boxes and masks; `tracker_id` is the object id, `class_id` the index of
    the class among `names`, `data["class_name"]` the class. Raises InputError if supervision is not installed."""
    try:
        import supervision
    except ImportError as error:
        raise InputError("supervision is not installed; pip install 'hodor-cli[supervision]'") from error
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
