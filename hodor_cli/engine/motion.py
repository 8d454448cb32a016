"""How far an object can move from one frame to the next; whatever looks like it beyond that limit is another object.

Matching with the previous frame finds the parts of a dog; something alike on the other side of the picture is a second
dog. So objects are kept near where they were, within a limit that depends on their speed so far and on the time passed.
There are three exceptions:

- An object that moves faster than expected: its mask is connected across the limit, and has not grown.
- A part that matches nothing in the previous frame, such as a wing that opens, or the front of a bus that appears from
  behind a tree. A second dog would have matched, except one that enters the frame: parts at its border do not count.
- A part that was hidden for a while may return, until the object is as large as it has been.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.matching import PART, kept_near, surroundings

#: The time between frames, in seconds, that the model's `spread` is meant for.
_USUAL_SECONDS = 1 / 24
#: The limit is at most this many times the model's `spread`, however much time has passed and however high the speed.
_MOST = 4
#: The limit is at least this many times the distance that the object moves at its last speed.
_AHEAD = 1.5
#: A mask that is connected across the limit is kept whole if its area is at most this many times that before.
_GROWTH = 1.25
#: If a smaller share of it than this is beyond the limit, it is a fringe, not a moving front, and is cut off silently.
_FRONT = 0.1
#: A cell that matches worse than this (see `Matcher.nearby`) was not in the previous frame.
_NEW = 0.5
#: With returning parts, an object may be this many times its largest height, width and area so far.
_LARGER = 1.1


class Extent(NamedTuple):
    """The largest height, width and area, in cells of stride 8, that an object has had."""

    height: float = 0.0
    width: float = 0.0
    area: float = 0.0


class _Track(NamedTuple):
    """Where an object was, in cells of stride 8, and its speed in cells per second (without times, per frame)."""

    y: float
    x: float
    speed: float


class Motion:
    """How the objects have moved, and how large they have been; constant in the length of the video.

    Its dictionaries are replaced, never modified in place: see `Followed.copy`.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._largest: dict[int, Extent] = {}
        self._time: float | None = None

    def largest(self, object_ids: Sequence[int]) -> list[Extent]:
        """The largest extent of each object so far, including before it was lost."""
        return [self._largest.get(object_id, Extent()) for object_id in object_ids]

    def radii(self, object_ids: Sequence[int], spread: int, time: float | None) -> list[int]:
        """How many cells away from its previous mask each object can be at `time` (in seconds; None: one frame on)."""
        passed = self._passed(time)
        # Rounded, because the times of successive frames at 24 or 23.976 frames/s differ by a little more than that.
        usual = spread if time is None else spread * max(1.0, round(passed / _USUAL_SECONDS, 1))
        tracks = (self._tracks.get(object_id) for object_id in object_ids)
        ahead = (0.0 if track is None else _AHEAD * track.speed * passed for track in tracks)
        return [min(math.ceil(max(usual, cells)), _MOST * spread) for cells in ahead]

    def observe(self, object_ids: Sequence[int], masks: Tensor, time: float | None) -> None:
        """Record where the objects are at `time`, and how large, from soft masks (I, h, w) at stride 8."""
        passed, self._time = self._passed(time), time
        self._tracks, self._largest = dict(self._tracks), dict(self._largest)
        for object_id, part in zip(object_ids, (masks > PART).cpu().numpy(), strict=True):
            rows, columns = part.sum(axis=1), part.sum(axis=0)
            area = int(rows.sum())
            if not area:
                self._tracks.pop(object_id, None)
                continue
            now = Extent(np.ptp(rows.nonzero()[0]) + 1, np.ptp(columns.nonzero()[0]) + 1, area)
            self._largest[object_id] = Extent(*map(max, now, self._largest.get(object_id, now)))
            y, x = (float(line @ np.arange(len(line))) / area for line in (rows, columns))
            before = self._tracks.get(object_id)
            speed = math.hypot(y - before.y, x - before.x) / passed if before is not None and passed > 0 else 0.0
            self._tracks[object_id] = _Track(y, x, speed)

    def forget(self, object_id: int) -> None:
        """Remove an object, for example because a correction says that it was elsewhere."""
        self._tracks = {key: track for key, track in self._tracks.items() if key != object_id}
        self._largest = {key: extent for key, extent in self._largest.items() if key != object_id}

    def scaled(self, factor: float) -> Motion:
        """The same for a map with sides `factor` times as long."""
        motion = Motion()
        motion._time = self._time
        motion._tracks = {key: _Track(*(factor * n for n in track)) for key, track in self._tracks.items()}
        motion._largest = {
            key: Extent(factor * extent.height, factor * extent.width, factor**2 * extent.area)
            for key, extent in self._largest.items()
        }
        return motion

    def pack(self) -> dict[str, np.ndarray]:
        """The object as arrays that `np.savez` can write."""
        return {
            "motion/object_ids": np.array(list(self._tracks), dtype=np.int64),
            "motion/tracks": np.array(list(self._tracks.values()), dtype=np.float64).reshape(-1, 3),
            "motion/seen_ids": np.array(list(self._largest), dtype=np.int64),
            "motion/largest": np.array(list(self._largest.values()), dtype=np.float64).reshape(-1, 3),
            "motion/time": np.array(math.nan if self._time is None else self._time),
        }

    @staticmethod
    def unpack(arrays: Mapping[str, np.ndarray]) -> Motion:
        """The object that `pack` returned as arrays."""
        motion = Motion()
        ids, tracks = arrays["motion/object_ids"].tolist(), arrays["motion/tracks"].tolist()
        motion._tracks = {int(key): _Track(*values) for key, values in zip(ids, tracks, strict=True)}
        seen, largest = arrays["motion/seen_ids"].tolist(), arrays["motion/largest"].tolist()
        motion._largest = {int(key): Extent(*values) for key, values in zip(seen, largest, strict=True)}
        time = float(arrays["motion/time"])
        motion._time = None if math.isnan(time) else time
        return motion

    def _passed(self, time: float | None) -> float:
        """Time since the last observed frame: in seconds, or 1 if frames have no times."""
        if time is None:
            return 1.0
        return _USUAL_SECONDS if self._time is None else max(0.0, time - self._time)


def limited(
    logits: Tensor,
    masks: Tensor,
    radii: Sequence[int],
    largest: Sequence[Extent],
    size: tuple[int, int],
    matched: Tensor | None = None,
) -> tuple[Tensor, list[float]]:
    """Keep objects near where they were.

    Args:
        logits: (1, 10 + I, 2h, 2w) of this frame, at stride 4.
        masks: (I, h, w) soft masks of the previous frame, at stride 8.
        radii: I distances in cells of stride 8.
        largest: the largest extent of each object so far.
        size: (height, width) of the frame on the maps at stride 4; the rest is padding.
        matched: (1, 1, h, w) in 0..1, how well each cell matches the previous frame.
    Returns:
        The logits, with those of each object lowered where it cannot be; and for each object the share (0..1) of its
        connected mask that was cut off.
    """
    near = torch.empty_like(masks)[None]
    for radius in set(radii):
        rows = [row for row, other in enumerate(radii) if other == radius]
        near[:, rows] = surroundings(masks[None, rows], radius)
    new = torch.zeros(near.shape[2:], dtype=torch.bool) if matched is None else matched[0, 0] < _NEW
    found = logits.softmax(dim=1)[0, NUM_NON_OBJECT:] > 0.5
    beyond = (found & (F.interpolate(near, scale_factor=2, mode="nearest")[0] == 0)).flatten(1).any(dim=1).tolist()
    cut = [0.0] * len(radii)
    for row in (row for row, outside in enumerate(beyond) if outside):
        parts = _Parts(found[row], near[0, row], new, size)
        allowed = parts.returning(largest[row])
        if parts.share >= _FRONT:
            if parts.whole.sum() <= _GROWTH * 4 * int((masks[row] > 0.5).sum()):
                allowed |= parts.whole
            else:
                cut[row] = parts.share
        near[0, row] = torch.from_numpy(parts.near | _cells(allowed)).to(near)
    return kept_near(logits, near), cut


class _Parts:
    """The connected parts of an object's mask (2h, 2w), some of which reach into the area where the object can be.

    near: that area, (h, w) bool: cells where the argument `near` is 1 or `new` is true, without the parts that enter
        at the border of the frame and do not touch `near`, as another object would.
    whole: the parts that reach into it, (2h, 2w) bool.
    share: how much (0..1) of `whole` lies outside of it.
    """

    def __init__(self, found: Tensor, near: Tensor, new: Tensor, size: tuple[int, int]) -> None:
        mask = found.cpu().numpy()
        self.near = near.cpu().numpy() > 0
        _, self._labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        left, top, width, height, self._area = boxes.T
        # Signed so that the box around several boxes has the maximum of each number.
        self._sides = np.stack((-top, top + height, -left, left + width), axis=1)
        at_border = np.flatnonzero(np.any(self._sides >= (0, size[0], 0, size[1]), axis=1))
        # Label 0 is the background.
        coming_in = np.setdiff1d(at_border, [0, *np.unique(self._labels[mask & pixels_of(self.near)])])
        self.near |= new.cpu().numpy() & ~_cells(np.isin(self._labels, coming_in))
        inside = pixels_of(self.near)
        self._reaching = np.unique(self._labels[mask & inside])
        self.whole = np.isin(self._labels, self._reaching)
        area = int(self.whole.sum())
        self.share = int((self.whole & ~inside).sum()) / area if area else 0.0

    def returning(self, largest: Extent) -> np.ndarray:
        """The other parts, (2h, 2w) bool, that may return: with them the object is no larger than it has been."""
        returned: list[int] = []
        if len(self._reaching):
            sides, area = self._sides[self._reaching].max(axis=0), self._area[self._reaching].sum()
            limits = _LARGER * np.array((2 * largest.height, 2 * largest.width, 4 * largest.area))
            others = set(range(1, len(self._area))) - set(self._reaching.tolist())
            for part in sorted(others, key=lambda part: -self._area[part]):
                around, together = np.maximum(sides, self._sides[part]), area + self._area[part]
                if np.all((around[0] + around[1], around[2] + around[3], together) <= limits):
                    sides, area = around, together
                    returned.append(part)
        return np.isin(self._labels, returned)


def pixels_of(cells: np.ndarray) -> np.ndarray:
    """Cells (h, w) at twice the resolution, (2h, 2w)."""
    return cells.repeat(2, axis=0).repeat(2, axis=1)


def _cells(pixels: np.ndarray) -> np.ndarray:
    """The cells (h, w) that contain a true pixel of (2h, 2w)."""
    return np.any(pixels.reshape(len(pixels) // 2, 2, -1, 2), axis=(1, 3))
