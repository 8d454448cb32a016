"""Suggests the frame to mask next: the one whose mask would remove the most doubt from the frames around it.

XMem++ (ICCV 2023) suggests frames for the same purpose, by another criterion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from hodor_cli.images.spacing import evenly_spaced

#: The doubt of a frame without any sign of doubt; it spreads suggestions evenly if no frame has one.
_BASE = 0.05
#: Weights of the passes' disagreement and of the descriptor's change (up to _MOST_CHANGE), relative to 1 - confidence.
_DISAGREEMENT, _CHANGE, _MOST_CHANGE = 0.5, 0.1, 1.0
#: The doubt of a lost object, which may be hidden.
_LOST = 0.3
#: How many frames of a gap are tried.
_TRIED = 256


class Doubtful(Protocol):
    """An object's result in a frame, such as `ObjectResult` or a record of the report."""

    @property
    def confidence(self) -> float: ...
    @property
    def lost(self) -> bool: ...
    @property
    def change(self) -> float | None: ...
    @property
    def disagreement(self) -> float | None: ...


@dataclass(frozen=True)
class Suggestion:
    """A frame to mask: its index, and the share (0..1) of all doubt that its mask would remove."""

    frame: int
    gain: float


def doubt_of(objects: Iterable[Doubtful]) -> float:
    """How doubtful a frame's masks are: the mean over its objects, or 0 without objects."""
    doubts = [
        _LOST
        if entry.lost
        else (1 - entry.confidence)
        + _DISAGREEMENT * (entry.disagreement or 0.0)
        + _CHANGE * min(entry.change or 0.0, _MOST_CHANGE)
        for entry in objects
    ]
    return _BASE + float(np.mean(doubts)) if doubts else 0.0


def suggest_frames(doubts: Sequence[float], masked: Collection[int], count: int = 1) -> list[Suggestion]:
    """The frames to mask next, the most useful first; each one assumes that the previous ones get masks.

    A frame's doubt is assumed to be proportional to its distance from the nearest masked frame. So a new mask reduces
    each frame's doubt by the same share as that distance.

    Args:
        doubts: of all frames, as `doubt_of` returns them.
        masked: positions in `doubts` of the masked frames.
        count: the number of suggestions.
    """
    values, marks, found = np.array(doubts, dtype=float), sorted(set(masked)), []
    total = max(float(values.sum()), 1e-9)
    for _ in range(min(count, len(values) - len(marks))):
        # Masked frames with unmasked ones between them; -1 and the length stand for no masked frame on that side.
        gaps = [(a, b) for a, b in pairwise([-1, *marks, len(values)]) if b - a > 1]
        gap, frame, shares = max((_best(values, *gap) for gap in gaps), key=lambda one: one[2].sum())
        found.append(Suggestion(frame, min(float(shares.sum()) / total, 1.0)))
        values[gap] -= shares
        marks = sorted((*marks, frame))
    return found


def _best(values: np.ndarray, before: int, after: int) -> tuple[slice, int, np.ndarray]:
    """A gap's frames, the one whose mask would remove the most doubt, and the doubt that it would remove from each."""
    inside = np.arange(before + 1, after)
    far = np.full(len(inside), float(len(inside)))
    if before >= 0:
        far = np.minimum(far, inside - before)
    if after < len(values):
        far = np.minimum(far, after - inside)
    weights = values[inside]

    def removed(frame: int) -> np.ndarray:
        return np.asarray(np.clip(1 - np.abs(inside - frame) / far, 0, 1) * weights)

    tried = inside[evenly_spaced(len(inside), _TRIED)].tolist()  # one by one, because a video may be long
    best = max(tried, key=lambda frame: float(removed(frame).sum()))
    return slice(before + 1, after), best, removed(best)
