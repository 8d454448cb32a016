"""Detects predicted masks whose values do not mean the same as the truth's, so that their low scores are not blamed on
the method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from hodor_cli.datasets.labels.decode import present_ids
from hodor_cli.datasets.labels.mask_values import LabelMap
from hodor_cli.errors import InputError
from hodor_cli.images.paths import listed

#: Below this J, an object is not where its own id is; above this J, it is where another id is.
_WRONG, _RIGHT = 0.1, 0.5
#: Masks of several objects may be scored against one merged object, but no benchmark has more objects in a frame.
_MOST_VALUES = 16


def refuse_soft_map(prediction: LabelMap, name: str, frame: str) -> None:
    """Raise InputError if a mask has more different values than there could be objects."""
    values = len(np.unique(prediction) if prediction.dtype.kind == "f" else present_ids(prediction, [1, 255]))
    if values > _MOST_VALUES:
        raise InputError(f"the prediction of {name} frame {frame} has {values} values, like a soft map; threshold it")


def swapped_ids(
    name: str, frame: str, truth: LabelMap, prediction: LabelMap, own: Mapping[int, float]
) -> Iterator[str]:
    """Yield a sentence if other predicted ids (or 0, the background) cover objects instead of the objects' own ids.

    own: object id -> J in this frame. Meant for the first frame that counts, in which no method has had time to confuse
    objects as thoroughly as a different palette does.
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
        yield f"the ids of {name} seem swapped: in frame {frame}, {listed(found, 6)}; keep the ids of the first frame"


def starting_late(name: str, first_frames: Mapping[int, int]) -> Iterator[str]:
    """Yield a sentence if objects are missing from the first labelled frame. first_frames: object id -> index of its
    first labelled frame."""
    if late := [object_id for object_id, frame in first_frames.items() if frame]:
        yield (
            f"object {listed(late)} of {name} is missing from the first mask but counts in all frames; the official "
            "DAVIS package leaves out ids above the largest in that mask"
        )
