"""The data of a step: the decoded logits, measures of each object's mask, and the masks to encode."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.history import HistoryEntry, HistoryRing
from hodor_cli.engine.labels import areas
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.step_result import ObjectResult
from hodor_cli.errors import DeviceError, WeightsError
from hodor_cli.model.background import to_stride8
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Cue
from hodor_cli.runtime.preprocess import Geometry, resize


@dataclass(frozen=True)
class Decoded:
    """The result of decoding a frame.

    logits: (1, 10 + I, h, w) at stride 4, objects in the order of `object_ids`. cue: the cue that was used. cut_off: by
    object id, as in `ObjectResult`. followed: the objects of earlier frames; they come first in `object_ids`.
    """

    object_ids: ObjectIds
    logits: Tensor
    cue: Cue | None
    cut_off: dict[int, float]
    followed: ObjectIds


@dataclass
class Measures:
    """What is measured about the masks, by object id; see `ObjectResult`."""

    confidence: dict[int, float] = field(default_factory=dict)
    cut_off: dict[int, float] = field(default_factory=dict)
    agreement: dict[int, float] = field(default_factory=dict)
    change: dict[int, float] = field(default_factory=dict)
    too_small: Collection[int] = ()

    def results(self, labels: np.ndarray, object_ids: Iterable[int]) -> dict[int, ObjectResult]:
        """The result of each object in a label map (H, W)."""
        counts = areas(labels, list(object_ids))
        return {
            i: ObjectResult(
                area=area,
                confidence=self.confidence.get(i, 0.0),
                lost=not area,
                cut_off=self.cut_off.get(i, 0.0),
                agreement=self.agreement.get(i),
                change=self.change.get(i),
                too_small=i in self.too_small,
            )
            for i, area in counts.items()
        }


def masks_to_encode(logits: Tensor, reference: dict[int, Tensor], ids: ObjectIds, geometry: Geometry) -> Tensor:
    """Soft object masks (1, I, h, w) at stride 8 for a frame's descriptors.

    logits: (1, 10 + I, 2h, 2w) at stride 4. reference: the masks given in the frame, (padded H, padded W) by id.
    """
    probabilities = logits.softmax(dim=1)
    if not reference:
        # Equals upsampling to the padded size and resizing that to stride 8.
        return torch.nn.functional.avg_pool2d(probabilities[:, NUM_NON_OBJECT:], 2)
    full = resize(probabilities, geometry.padded)
    # Inside a reference mask its own channel is the mask, and every other channel is 0.
    for mask in reference.values():
        full = full * (1 - mask)
    for object_id, mask in reference.items():
        full[:, NUM_NON_OBJECT + ids.row(object_id)] = mask
    return to_stride8(full[:, NUM_NON_OBJECT:])


def hold_lost(entry: HistoryEntry, masks: Tensor, ring: HistoryRing, model: Hodor) -> HistoryEntry:
    """Give objects that have no pixel above 0.5 in `masks` (I, h, w) their newest earlier descriptor, without the place
    that it describes: they may return anywhere."""
    lost = (masks.flatten(1).amax(dim=1) <= 0.5).tolist()
    if not any(lost):
        return entry
    objects = entry.objects.clone()
    for row, (object_id, is_lost) in enumerate(zip(entry.object_ids, lost, strict=True)):
        earlier = ring.newest(object_id) if is_lost else None
        if earlier is not None:
            objects[row] = model.without_place(earlier)
    return replace(entry, objects=objects)


def require_numbers(values: Tensor, frame: int, dtype: torch.dtype) -> None:
    """Raise WeightsError or DeviceError if the network, computing in `dtype`, returned NaN or an infinite value."""
    if bool(torch.isfinite(values).all()):
        return
    what = f"the network returned NaN or infinite values in frame {frame}"
    if dtype == torch.float32:
        raise WeightsError(f"{what}; its weights are damaged or diverged in training, so choose others with `weights`")
    name = str(dtype).removeprefix("torch.")
    raise DeviceError(f"{what} in {name}; set `precision` to fp32, or choose other weights with `weights`")
