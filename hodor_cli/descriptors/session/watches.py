"""Watches over a run by descriptors alone: swapped ids, one object under two ids, shot cuts, and unknown objects.

`run/review.py` says when an object stops looking like its given mask. A watch corrects nothing: it names frames to
review. Memory is constant: a few descriptors per object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from hodor_cli.descriptors.export.encode import FeatureTap
from hodor_cli.descriptors.search.projection import Projection
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.engine import Segmenter, StepResult
from hodor_cli.video.frames import Frame

REFERENCE_FRAMES = 5
# When something is worth a look; `benchmarks/drift_limits.py` shows what real videos do.
SAME = 0.06  # of the distance from an object to its background, between two ids; alike children: below 0.25
SWAPPED = 0.8  # distance to the other's reference, of that to the own one
CUT = 0.5  # the background's step, in units of the distance between its cells
CUT_JUMP = 2.5  # and times the median of the last steps
LASTING = 3  # how many frames in a row something must last (not cuts)
#: Without a projection: the distance of descriptors, in the object's unit, above which the found object is taken for
#: another one.
RECOGNISED_BELOW = 0.28

#: An entry of `review` in the report: an object, the reason to look at it, and a detail.
Note = dict[str, Any]

#: The reason and the detail of a pair's events, from the other id and the event's value.
_WORDS = {
    "same": ("may be the same object as {}", "distance {:.2f}"),
    "swapped": ("may have swapped ids with {}", "{:.2f} times as far from that one as from itself before"),
}
_KINDS = list(_WORDS)


def _note(object_id: int, reason: str, detail: str) -> Note:
    return {"object": object_id, "reason": reason, "detail": detail}


@dataclass(frozen=True)
class DriftEvent:
    """One thing seen in one frame. kind: "swapped", "same" or "cut"; object_id, other: the ids of a pair."""

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
    """Sees swapped ids, one object under two ids, and shot cuts, from one frame's descriptors after another.

    Distances are in units of the video itself, so that no limit belongs to one model: an object's in units of how far
    it is from the background around it in its reference frames, the background's in units of how far its nine cells are
    from one another.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._background: np.ndarray | None = None
        self._steps: deque[float] = deque(maxlen=24)
        #: (kind, id, other id) -> how many frames in a row.
        self._lasting: dict[tuple[str, int, int], int] = {}

    def review(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> list[Note]:
        """The objects of the segmenter's newest frame that are worth a look."""
        if not result.objects:
            return []
        found = segmenter.descriptors()
        present = {key for key, value in result.objects.items() if not value.lost}
        objects = {key: value for key, value in found.objects.items() if key in present}
        notes = []
        for event in self.add(frame.index, objects, found.background):
            if event.kind == "cut":
                detail = f"background changed by {event.value:.2f}"
                notes += [_note(key, "a shot cut is likely", detail) for key in result.objects]
            else:
                reason, detail = _WORDS[event.kind]
                notes.append(_note(event.object_id, reason.format(event.other), detail.format(event.value)))
        return notes

    def add(self, frame: int, objects: Mapping[int, np.ndarray], background: np.ndarray | None) -> list[DriftEvent]:
        """Descriptors of a frame: objects {id: (C,)} that are present, background (9, C) or None -> what stands out."""
        events = self._cut(frame, background)
        if events:  # after a cut everything looks different at once; what lasted before is no evidence any more
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
        """Continue from what `state` gave."""
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


class Recognition:
    """Compares what is found with the saved objects {id: (K, C)}, frame by frame.

    A network that starts from a saved object tends to find something in any video: a sleeve where the object is a mug.
    What it finds is compared with the saved object by their distance under the projection, which has learned how far
    apart views of one object are. Without a projection, descriptors are compared, in units of how far the saved object
    is from its own background; that says little, as `benchmarks/from_descriptors.py` shows.

    background (9, C): the saved scene, which gives the unit of distances between descriptors.
    projection: needs the saved rows' features, baseline {id: (K, B)}, and `tap` for those of what is found.
    """

    def __init__(
        self,
        objects: Mapping[int, np.ndarray],
        background: np.ndarray,
        *,
        baseline: Mapping[int, np.ndarray] | None = None,
        projection: Projection | None = None,
        tap: FeatureTap | None = None,
    ) -> None:
        self._projection, self._tap = projection, tap
        if projection is not None and baseline is not None:
            self._saved = {key: projection(rows, baseline[key]) for key, rows in objects.items()}
            self._unit, self.limit = dict.fromkeys(objects, 1.0), projection.alike_below
        else:
            self._saved = {key: np.atleast_2d(rows).astype(np.float64) for key, rows in objects.items()}
            units = {key: unit_of(rows.mean(axis=0), background) for key, rows in self._saved.items()}
            self._unit, self.limit = {key: max(unit, 1e-9) for key, unit in units.items()}, RECOGNISED_BELOW
        self._found = dict.fromkeys(objects, 0)
        self._alike = dict.fromkeys(objects, 0)

    def distance(self, object_id: int, descriptor: np.ndarray, features: np.ndarray | None = None) -> float:
        """From a descriptor (C,), with a projection also features (B,), to the nearest saved row of an object."""
        if self._projection is not None and features is not None:
            descriptor = self._projection(descriptor[None], features[None])[0]
        return float(np.linalg.norm(self._saved[object_id] - descriptor, axis=1).min()) / self._unit[object_id]

    def review(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> list[Note]:
        """The objects of the segmenter's newest frame that do not look like the saved ones."""
        descriptors = segmenter.descriptors().objects
        features = {} if self._tap is None else self._tap.means(masks_of_labels(result.labels))
        notes = []
        for object_id in sorted(self._saved.keys() & descriptors.keys() & result.objects.keys()):
            if result.objects[object_id].lost or (self._tap is not None and object_id not in features):
                continue
            apart = self.distance(object_id, descriptors[object_id], features.get(object_id))
            self._found[object_id] += 1
            if apart < self.limit:
                self._alike[object_id] += 1
            else:
                detail = f"distance {apart:.2f}, alike below {self.limit:.2f}"
                notes.append(_note(object_id, "unlike the saved object", detail))
        return notes

    def unrecognised(self) -> dict[int, tuple[int, int]]:
        """Objects that are probably not in the video: {id: (frames in which it looked alike, frames in which found)}.

        Those are the ones that look alike in fewer than half of the frames in which something was found.
        """
        counts = {key: (self._alike[key], self._found[key]) for key in self._saved}
        return {key: (alike, found) for key, (alike, found) in counts.items() if 2 * alike < found or not found}

    def close(self) -> None:
        """Remove the hook from the network."""
        if self._tap is not None:
            self._tap.close()

    def state(self) -> dict[str, np.ndarray]:
        """The counts so far, as arrays that `np.savez` can write."""
        return {"counts": np.array([(key, self._found[key], self._alike[key]) for key in self._saved])}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` gave."""
        for key, found, alike in arrays["counts"].tolist():
            self._found[key], self._alike[key] = found, alike
