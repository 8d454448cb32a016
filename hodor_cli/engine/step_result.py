"""What the segmenter hands out besides label maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ObjectResult:
    """One object in one frame.

    area: pixels of its mask. confidence: mean probability inside it, 0..1. lost: whether it has no pixel. cut_off: the
    share (0..1) of what hangs together with it that lay farther away than it can have moved, and was left out.
    agreement: soft IoU of its mask with what matching carried over from the frame in which it was given. change: how
    far its descriptor is from the one it was given with, in units of how far that was from the background. Both are
    None where they are not known, and where its mask is given. disagreement: how much (0..1) the masks followed from an
    earlier and from a later given mask differ, as 1 - soft IoU; None where there is only one of them.
    """

    area: int
    confidence: float
    lost: bool
    cut_off: float = 0.0
    agreement: float | None = None
    change: float | None = None
    disagreement: float | None = None


@dataclass(frozen=True)
class StepResult:
    """What a step found: the label map (H, W) uint16, a result per object, warnings, seconds spent in the network.

    An object whose given mask was too small to be encoded is in the result of that frame and of no later one.
    """

    labels: np.ndarray
    objects: dict[int, ObjectResult] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    network_seconds: float = 0.0

    def to_supervision(self, names: Mapping[int, str] | None = None) -> Any:
        """The frame's objects as `supervision.Detections`, with their ids as `tracker_id`; names: id -> class name."""
        from hodor_cli.formats.tables import detections_of

        return detections_of(self.labels, {key: one.confidence for key, one in self.objects.items()}, names)


@dataclass(frozen=True)
class FrameDescriptors:
    """Descriptors of the newest frame: objects {id: (D,)} and background (9, D), float32."""

    objects: dict[int, np.ndarray]
    background: np.ndarray | None
