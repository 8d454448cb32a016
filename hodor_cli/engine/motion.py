"""How far an object may get from one frame to the next: what looks like it beyond that is taken for another object.

A match with the previous frame says where an object's parts are; what looks alike on the other side of the picture is
a second dog. So objects are kept near where they were, within a distance that follows how fast they were seen to move
and how much time has passed. An object that moves faster than was foreseen is recognised by its shape: it hangs
together across the limit without having grown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.matching import PART, kept_near, surroundings

#: The time between frames, in seconds, for which the model's `spread` is meant.
_USUAL_SECONDS = 1 / 24
#: How many times the model's `spread` the limit may become, by time or by speed.
_MOST = 4
#: The limit is at least this many times the last distance moved.
_AHEAD = 1.5
#: An object that hangs together across the limit is whole if its area is at most this many times the earlier one.
_GROWTH = 1.25
#: Less than this share of it beyond the limit is cut off without a warning, because it is a fringe and no moving front.
_FRONT = 0.1


@dataclass(frozen=True)
class _Track:
    """Where an object was, in cells of stride 8, and the cells it moved per unit of time (second, or else frame)."""

    y: float
    x: float
    speed: float


class Motion:
    """What was seen of the objects' movement; constant in the length of the video."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._time: float | None = None

    def copy(self) -> Motion:
        """Another one that knows the same."""
        motion = Motion()
        motion._tracks, motion._time = dict(self._tracks), self._time
        return motion

    def radii(self, object_ids: Sequence[int], spread: int, time: float | None) -> list[int]:
        """How many cells each object may get away from its previous mask until `time` (seconds, None: one frame on)."""
        passed = self._passed(time)
        usual = spread if time is None else spread * max(1.0, passed / _USUAL_SECONDS)
        tracks = (self._tracks.get(object_id) for object_id in object_ids)
        ahead = (0.0 if track is None else _AHEAD * track.speed * passed for track in tracks)
        return [min(math.ceil(max(usual, cells)), _MOST * spread) for cells in ahead]

    def observe(self, object_ids: Sequence[int], masks: Tensor, time: float | None) -> None:
        """Note where objects with soft masks (I, h, w) at stride 8 are at `time`."""
        passed, self._time = self._passed(time), time
        parts = (masks > PART).float()
        area = parts.sum(dim=(1, 2)).clamp(min=1)
        rows, columns = (torch.arange(side, device=masks.device, dtype=torch.float32) for side in masks.shape[1:])
        centres = torch.stack(
            ((parts.sum(dim=2) @ rows) / area, (parts.sum(dim=1) @ columns) / area, parts.amax(dim=(1, 2))), dim=1
        )
        for object_id, (y, x, there) in zip(object_ids, centres.tolist(), strict=True):
            before = self._tracks.get(object_id)
            if not there:
                self._tracks.pop(object_id, None)
            elif before is None or passed <= 0:
                self._tracks[object_id] = _Track(y, x, 0.0)
            else:
                self._tracks[object_id] = _Track(y, x, math.hypot(y - before.y, x - before.x) / passed)

    def forget(self, object_id: int) -> None:
        """Remove an object, for example because a correction says that it was elsewhere."""
        self._tracks.pop(object_id, None)

    def state(self) -> dict[str, np.ndarray]:
        """As arrays that `np.savez` can write."""
        tracks = [(track.y, track.x, track.speed) for track in self._tracks.values()]
        return {
            "motion/object_ids": np.array(list(self._tracks), dtype=np.int64),
            "motion/tracks": np.array(tracks, dtype=np.float64).reshape(-1, 3),
            "motion/time": np.array(math.nan if self._time is None else self._time),
        }

    @staticmethod
    def of_state(arrays: Mapping[str, np.ndarray]) -> Motion:
        """What `state` gave."""
        motion = Motion()
        ids, tracks = arrays["motion/object_ids"].tolist(), arrays["motion/tracks"].tolist()
        motion._tracks = {int(key): _Track(*values) for key, values in zip(ids, tracks, strict=True)}
        time = float(arrays["motion/time"])
        motion._time = None if math.isnan(time) else time
        return motion

    def _passed(self, time: float | None) -> float:
        """Time since the last frame that was observed: in seconds, or 1 where frames have no times."""
        if time is None:
            return 1.0
        return _USUAL_SECONDS if self._time is None else max(0.0, time - self._time)


def limited(logits: Tensor, masks: Tensor, radii: Sequence[int]) -> tuple[Tensor, list[float]]:
    """Keep objects near where they were.

    Args:
        logits: (1, 10 + I, 2h, 2w) of this frame, at stride 4.
        masks: (I, h, w) soft masks of the previous frame, at stride 8.
        radii: I distances in cells of stride 8.
    Returns:
        Logits with the objects' lowered where they cannot be, and per object the share (0..1) of what hangs together
        with it that was cut off.
    """
    near = torch.empty_like(masks)[None]
    for radius in set(radii):
        rows = [row for row, of_row in enumerate(radii) if of_row == radius]
        near[:, rows] = surroundings(masks[None, rows], radius)
    found = logits.softmax(dim=1)[0, NUM_NON_OBJECT:] > 0.5
    beyond = (found & (F.interpolate(near, scale_factor=2, mode="nearest")[0] == 0)).flatten(1).any(dim=1).tolist()
    cut = [0.0] * len(radii)
    for row in (row for row, outside in enumerate(beyond) if outside):
        whole, share = _across(found[row], near[0, row])
        if share < _FRONT:
            continue
        if whole.sum() <= _GROWTH * 4 * (masks[row] > 0.5).sum():
            near[0, row] = torch.maximum(near[0, row], F.max_pool2d(whole[None, None].float(), 2)[0, 0])
        else:
            cut[row] = share
    return kept_near(logits, near), cut


def _across(found: Tensor, near: Tensor) -> tuple[Tensor, float]:
    """The parts of a mask (2h, 2w) that reach into `near` (h, w), and the share of their area that lies outside."""
    import cv2

    inside = F.interpolate(near[None, None], scale_factor=2, mode="nearest")[0, 0] > 0
    _, parts = cv2.connectedComponents(found.cpu().numpy().astype(np.uint8), connectivity=8)
    labels = torch.from_numpy(parts).to(found.device)
    reaching = torch.unique(labels[found & inside])
    whole = torch.isin(labels, reaching) & found
    area = int(whole.sum())
    return whole, int((whole & ~inside).sum()) / area if area else 0.0
