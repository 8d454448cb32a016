"""Which frame to mask next: the one whose mask would spare the most doubt in the frames around it (as XMem++ asks)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

#: What a frame is worth by itself: without any sign of doubt, masks are spread evenly.
_BASE = 0.05
#: Share of the disagreement of two passes, and of a look that has changed, that counts beside missing confidence.
_DISAGREEMENT, _CHANGE, _MOST_CHANGE = 0.5, 0.1, 1.0
#: An object that is nowhere to be seen is in doubt by this much: it may be hidden.
_LOST = 0.3
#: Frames of a gap that are tried.
_TRIED = 256


class Doubtful(Protocol):
    """What is said of an object in a frame; `ObjectResult` and a report's records are."""

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
    """A frame to mask: its number, and the share (0..1) of all doubt that its mask would spare."""

    frame: int
    gain: float


def doubt_of(objects: Iterable[Doubtful]) -> float:
    """How doubtful a frame's masks are: the mean over its objects, 0 for a frame without any."""
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
    """The frames to mask next, the most useful one first; each counts on those before it.

    A frame's doubt is taken to grow with its distance from the nearest masked frame; so a mask in between spares each
    frame the share by which it brings that distance down.

    Args:
        doubts: of every frame, as `doubt_of` gives it.
        masked: positions in `doubts` of the frames that have masks.
        count: how many frames.
    """
    values, marks, found = np.array(doubts, dtype=float), sorted(set(masked)), []
    total = max(float(values.sum()), 1e-9)
    for _ in range(min(count, len(values) - len(marks))):
        gap, frame, shares = max(
            (_best(values, *gap) for gap in _gaps(marks, len(values))), key=lambda one: one[2].sum()
        )
        found.append(Suggestion(frame, min(float(shares.sum()) / total, 1.0)))
        values[gap] -= shares
        marks = sorted((*marks, frame))
    return found


def _gaps(marks: list[int], length: int) -> list[tuple[int, int]]:
    """(before, after): masked frames with others between them; -1 and `length` where there is none."""
    edges = [-1, *marks, length]
    return [(a, b) for a, b in pairwise(edges) if b - a > 1]


def _best(values: np.ndarray, before: int, after: int) -> tuple[slice, int, np.ndarray]:
    """A gap's frames, the one of them whose mask spares most, and the doubt that it spares each."""
    inside = np.arange(before + 1, after)
    far = np.full(len(inside), float(len(inside)))
    if before >= 0:
        far = np.minimum(far, inside - before)
    if after < len(values):
        far = np.minimum(far, after - inside)
    tried = inside[np.unique(np.linspace(0, len(inside) - 1, min(len(inside), _TRIED)).round().astype(int))]
    near = np.abs(inside[None] - tried[:, None])
    spared = np.clip(1 - near / far, 0, 1) * values[inside]
    place = int(spared.sum(axis=1).argmax())
    return slice(before + 1, after), int(tried[place]), spared[place]
