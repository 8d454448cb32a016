"""What the segmenter returns besides label maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ObjectResult:
    """One object in one frame.

    area: number of pixels of its mask.
    confidence: mean probability inside the mask, 0..1.
    lost: whether the mask has no pixel.
    cut_off: share (0..1) of the connected mask that lay farther away than the object can have moved, and was left out.
    agreement: soft IoU (0..1) of the mask with the one that matching carries over from the frame in which it was given.
    change: distance of the descriptor from that of the given mask, divided by that one's distance from the background.
    disagreement: 1 - soft IoU of the masks followed from an earlier and from a later given mask; None if there is only
        one of these.
    too_small: whether the mask given in the frame was too small to be encoded, so that nothing follows from it.
    `agreement` and `change` are None if they are unknown, or if the frame's mask is given.
    """

    area: int
    confidence: float
    lost: bool
    cut_off: float = 0.0
    agreement: float | None = None
    change: float | None = None
    disagreement: float | None = None
    too_small: bool = False


@dataclass(frozen=True)
class StepResult:
    """The result of a step: label map (H, W) uint16, a result per object, warnings, and seconds spent in the network.

    An object whose given mask was too small to be encoded is in the result of that frame only. Without arguments: the
    result before the first step.
    """

    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint16))
    objects: dict[int, ObjectResult] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    network_seconds: float = 0.0

    def to_supervision(self, names: Mapping[int, str] | None = None) -> Any:
        """The objects as `supervision.Detections`, with their ids as `tracker_id`. names: object id -> class name."""
        from hodor_cli.formats.tables import detections_of

        return detections_of(self.labels, {key: one.confidence for key, one in self.objects.items()}, names)


@dataclass(frozen=True)
class FrameDescriptors:
    """Descriptors of the newest frame: objects {id: (D,)} and background (9, D), float32."""

    objects: dict[int, np.ndarray]
    background: np.ndarray | None
