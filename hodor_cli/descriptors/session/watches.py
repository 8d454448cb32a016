"""Watching a run by its descriptors alone: swapped ids, one object under two ids, and shot cuts.

A watch corrects nothing; it names frames to review. (`run/review.py` reports objects that stop looking like their given
mask.) Memory is constant: a few descriptors per object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from hodor_cli.engine import Segmenter, StepResult
from hodor_cli.video.frames import Frame

REFERENCE_FRAMES = 5
# When something is worth a look; `benchmarks/drift_limits.py` measures these values on real videos.
SAME = 0.06  # distance between two ids, in units of an object's distance to its background; similar children: < 0.25
SWAPPED = 0.8  # distance to the other id's reference, divided by the distance to the object's own
CUT = 0.5  # step of the background, in units of the distance between its cells
CUT_JUMP = 2.5  # the same step, as a multiple of the median of the latest steps
LASTING = 3  # frames in a row that anything but a cut must last

#: For the report's `review`: an object, the reason to look at it, and a detail.
Note = tuple[int, str, str]

#: The reason and the detail of a pair's events, from the other id and the event's value.
_WORDS = {
    "same": ("may be the same object as {}", "distance {:.2f}"),
    "swapped": ("may have swapped ids with {}", "{:.2f} times as far from the other's earlier look as from its own"),
}
_KINDS = list(_WORDS)


@dataclass(frozen=True)
class DriftEvent:
    """One finding in one frame. kind: "swapped", "same" or "cut"; object_id, other: the ids of a pair."""

    kind: str
    frame: int
    object_id: int
    other: int
    value: float


@dataclass
class _Track:
    reference: list[np.ndarray] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)

    def apart(self, descriptor: np.ndarray) -> float:
        return float(np.linalg.norm(descriptor - np.mean(self.reference, axis=0)))


class DriftMonitor:
    """Detects swapped ids, one object under two ids, and shot cuts from the descriptors of successive frames.

    Distances are measured in units taken from the video itself, so that the limits do not depend on the model: for
    objects, their distance to the background in their reference frames; for the background, the distance between its
    nine cells.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._background: np.ndarray | None = None
        self._steps: deque[float] = deque(maxlen=24)
        #: (kind, id, other id) -> number of frames in a row.
        self._lasting: dict[tuple[str, int, int], int] = {}

    def review(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> list[Note]:
        """The objects of the segmenter's latest frame that are worth a look."""
        if not result.objects:
            return []
        found = segmenter.descriptors()
        present = {key for key, value in result.objects.items() if not value.lost}
        objects = {key: value for key, value in found.objects.items() if key in present}
        notes: list[Note] = []
        for event in self.add(frame.index, objects, found.background):
            if event.kind == "cut":
                detail = f"background changed by {event.value:.2f}"
                notes += [(key, "a shot cut is likely", detail) for key in result.objects]
            else:
                reason, detail = _WORDS[event.kind]
                notes.append((event.object_id, reason.format(event.other), detail.format(event.value)))
        return notes

    def add(self, frame: int, objects: Mapping[int, np.ndarray], background: np.ndarray | None) -> list[DriftEvent]:
        """Add a frame's descriptors and return its events. objects: {id: (C,)} of those present. background: (9, C)."""
        events = self._cut(frame, background)
        if events:  # a cut changes everything at the same time, so earlier frames prove nothing
            self._lasting.clear()
        for object_id, descriptor in objects.items():
            track = self._tracks.setdefault(object_id, _Track())
            if len(track.reference) < REFERENCE_FRAMES:
                if background is not None:
                    track.scale.append(unit_of(descriptor, background))
                track.reference.append(np.asarray(descriptor, np.float64))
        holding = {(event.kind, event.object_id, event.other): event for event in self._pairs(frame, objects)}
        self._lasting = {key: self._lasting.get(key, 0) + 1 for key in holding}
        return events + [event for key, event in holding.items() if self._lasting[key] >= LASTING]

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next frame's events depend on, as arrays that `np.savez` can write."""
        lasting = [(_KINDS.index(kind), a, b, count) for (kind, a, b), count in self._lasting.items()]
        arrays = {"steps": np.array(self._steps), "lasting": np.array(lasting, np.int64).reshape(-1, 4)}
        if self._background is not None:
            arrays["background"] = self._background
        for object_id, track in self._tracks.items():
            arrays[f"track/{object_id}/reference"] = np.array(track.reference)
            arrays[f"track/{object_id}/scale"] = np.array(track.scale)
        return arrays

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of `state`."""
        self._steps = deque(arrays["steps"].tolist(), maxlen=self._steps.maxlen)
        self._background = arrays.get("background")
        self._lasting = {(_KINDS[kind], a, b): count for kind, a, b, count in arrays["lasting"].tolist()}
        self._tracks = {}
        for key in arrays:
            if key.endswith("/reference"):
                scale = arrays[key.replace("/reference", "/scale")].tolist()
                self._tracks[int(key.split("/")[1])] = _Track(list(arrays[key]), scale)

    def _pairs(self, frame: int, objects: Mapping[int, np.ndarray]) -> list[DriftEvent]:
        found = []
        for a, b in combinations([key for key in objects if self._tracks[key].scale], 2):
            first, second = self._tracks[a], self._tracks[b]
            unit = max(float(np.median(first.scale)), float(np.median(second.scale)), 1e-9)
            apart = float(np.linalg.norm(objects[a] - objects[b])) / unit
            if apart < SAME:
                found.append(DriftEvent("same", frame, a, b, apart))
            ratio = max(
                second.apart(objects[a]) / max(first.apart(objects[a]), 1e-9),
                first.apart(objects[b]) / max(second.apart(objects[b]), 1e-9),
            )
            if ratio < SWAPPED:
                found.append(DriftEvent("swapped", frame, a, b, ratio))
        return found

    def _cut(self, frame: int, background: np.ndarray | None) -> list[DriftEvent]:
        before, self._background = self._background, background
        if before is None or background is None:
            return []
        step = background_step(before, background)
        usual = float(np.median(self._steps)) if self._steps else step
        self._steps.append(step)
        if len(self._steps) > 2 and step > CUT and step > CUT_JUMP * usual:
            return [DriftEvent("cut", frame, 0, 0, step)]
        return []


def background_step(before: np.ndarray, after: np.ndarray) -> float:
    """How much two frames' background descriptors (9, C) differ: the median cell's step over the cells' own spread."""
    step = np.median(np.linalg.norm(after - before, axis=1))
    pairs = np.linalg.norm(after[:, None] - after[None], axis=2)[np.triu_indices(len(after), 1)]
    return float(step / max(float(np.median(pairs)), 1e-9))


def unit_of(descriptor: np.ndarray, background: np.ndarray) -> float:
    """The median distance from a descriptor (C,) to the cells (9, C) of its background."""
    return float(np.median(np.linalg.norm(background - descriptor, axis=1)))
