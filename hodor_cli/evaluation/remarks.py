"""Notices predicted masks whose values mean something else than those of the truth, so that nobody takes their low
scores for the method's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from hodor_cli.datasets.labels.decode import present_ids
from hodor_cli.datasets.labels.mask_values import LabelMap
from hodor_cli.errors import InputError
from hodor_cli.images.paths import listed

#: J below which an object is not where its id says, and above which it is where another id says.
_WRONG, _RIGHT = 0.1, 0.5
#: Masks of several objects may be scored against one merged object; no benchmark has so many in a frame.
_MOST_VALUES = 16


def refuse_soft_map(prediction: LabelMap, name: str, frame: str) -> None:
    """Raise InputError for a mask of one object with more values than objects could have."""
    values = len(np.unique(prediction) if prediction.dtype.kind == "f" else present_ids(prediction, [1, 255]))
    if values > _MOST_VALUES:
        raise InputError(
            f"the prediction of {name} frame {frame} holds {values} different values, as a soft (probability) map or "
            "blended edges do, and everything but 0 would be the object; threshold it"
        )


def exchanged_ids(
    name: str, frame: str, truth: LabelMap, prediction: LabelMap, own: Mapping[int, float]
) -> Iterator[str]:
    """Yield a sentence if predicted ids (or 0, the background) cover objects instead of the objects' own ids.

    own: J of each object of a frame, by its id. Meant for the first frame that counts: there no method has had the time
    to confuse objects as thoroughly as another palette does.
    """
    found = []
    for object_id, j in own.items():
        of_truth = (truth == object_id).view(np.uint8)
        if j >= _WRONG or not (area := cv2.countNonZero(of_truth)):
            continue
        inside = np.bincount(prediction[of_truth != 0].astype(np.intp))
        best = int(inside.argmax())
        union = area + int(np.count_nonzero(prediction == best)) - int(inside[best])
        if best != object_id and inside[best] / union > _RIGHT:
            found.append(f"object {object_id} has the value {best}")
    if found:
        yield (
            f"the ids of {name} seem to be exchanged: in the prediction of frame {frame}, {listed(found, 6)}; "
            "keep the ids of the first frame"
        )
