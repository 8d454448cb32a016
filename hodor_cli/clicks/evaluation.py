"""Evaluation of masks from clicks by the field's protocol (RITM, sec. 4): simulated clicks in the largest error.

NoC@85 and NoC@90 are the numbers of clicks needed for an IoU of 0.85 and 0.90; an object that does not reach it in 20
clicks counts as 20.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.clicks.simulation import next_click
from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError
from hodor_cli.formats.opening import open_set
from hodor_cli.images.sheet import scaled
from hodor_cli.images.spacing import evenly_spaced

MOST_CLICKS = 20
#: The mean IoU is reported after these numbers of clicks.
REPORTED = (1, 2, 3, 5, 10)
TARGETS = (0.85, 0.90)
#: The longer side, in pixels, to which a picture is reduced; GrabCut's time grows with the area.
_GRABCUT_SIDE = 400
_RADIUS = 5
_ITERATIONS = 3
_LIMITS = ObjectLimits(min_area=300, min_side=10)


class ClickMethod(Protocol):
    """What is evaluated: `Clicker`, or any other method that takes a frame and clicks."""

    def set_frame(self, image: NDArray[np.uint8]) -> None: ...
    def click(self, x: float, y: float, *, positive: bool = True) -> NDArray[np.bool_]: ...


class Case(NamedTuple):
    """An object to click: the frame (H, W, 3) and the object's true mask (H, W)."""

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class ClickScores:
    """ious: case -> IoU after each click. frame_seconds, click_seconds: time for each frame and each click."""

    ious: dict[str, tuple[float, ...]]
    frame_seconds: tuple[float, ...] = ()
    click_seconds: tuple[float, ...] = ()

    def mean_iou(self, clicks: int) -> float:
        """The mean IoU over all cases after this number of clicks."""
        return float(np.mean([ious[clicks - 1] for ious in self.ious.values()]))

    def clicks_for(self, iou: float) -> float:
        """Mean number of clicks needed for an IoU (NoC)."""
        needed = (
            next((n for n, one in enumerate(ious, start=1) if one >= iou), MOST_CLICKS) for ious in self.ious.values()
        )
        return float(np.mean(list(needed)))

    def failures(self, iou: float) -> int:
        """Number of cases that do not reach the IoU."""
        return sum(max(ious) < iou for ious in self.ious.values())

    def to_dict(self) -> dict[str, Any]:
        """What `hodor evaluate-clicks --json` writes."""
        return {
            "cases": len(self.ious),
            "mean_iou": {str(n): round(self.mean_iou(n), 4) for n in REPORTED},
            "noc": {f"{round(100 * t)}": round(self.clicks_for(t), 3) for t in TARGETS},
            "not_reached": {f"{round(100 * t)}": self.failures(t) for t in TARGETS},
            "ms_per_frame": round(1000 * float(np.median(self.frame_seconds)), 1),
            "ms_per_click": round(1000 * float(np.median(self.click_seconds)), 1),
            "ious": {name: [round(iou, 4) for iou in ious] for name, ious in self.ious.items()},
        }


def evaluate_clicks(
    cases: Iterator[Case], method: ClickMethod, progress: Callable[[int], None] | None = None
) -> ClickScores:
    """Click each case, at most 20 times, and compare each mask with the truth.

    progress: called with the number of cases done. Raises DataError if there is no case.
    """
    ious: dict[str, tuple[float, ...]] = {}
    frames: list[float] = []
    clicks: list[float] = []
    for case in cases:
        began = time.perf_counter()
        method.set_frame(case.image)
        frames.append(time.perf_counter() - began)
        ious[case.name] = _click_through(case, method, clicks)
        if progress is not None:
            progress(len(ious))
    if not ious:
        raise DataError("there is no object to click in this data set")
    return ClickScores(ious, tuple(frames), tuple(clicks))


def cases_of(
    folder: str | Path, limit: int | None = None, *, warn: Callable[[str], object] | None = None
) -> tuple[int, Iterator[Case]]:
    """The number of cases of a data set, at most `limit` (evenly spread), and the cases.

    A clip gives the objects of its first, middle and last labelled frame, a photograph the object in the middle of its
    list. warn: as for `open_set`. Raises DataError.
    """
    found = open_set(folder, limits=_LIMITS, warn=warn)
    if isinstance(found, StillImages):
        indices = evenly_spaced(len(found), limit).tolist()
        stills = ((still, still.objects[len(still.objects) // 2]) for still in map(found.load, indices))
        return len(indices), (Case(f"{s.name}#{one.annotation_id}", s.image, one.mask) for s, one in stills)
    objects = [
        (number, frame, object_id)
        for number, clip in enumerate(found.clips)
        for frame in sorted({clip.labelled[0], clip.labelled[len(clip.labelled) // 2], clip.labelled[-1]})
        for object_id in _LIMITS.usable_ids(found.load_labels(number, frame))
    ]
    objects = [objects[i] for i in evenly_spaced(len(objects), limit)]
    return len(objects), (_of_clip(found, *place) for place in objects)


def _of_clip(clips: ClipSet, number: int, frame: int, object_id: int) -> Case:
    image, labels, clip = clips.load_frame(number, frame), clips.load_labels(number, frame), clips.clips[number]
    return Case(f"{clip.name}/{clip.frames[frame].name}#{object_id}", image, labels == object_id)


def _click_through(case: Case, method: ClickMethod, seconds: list[float]) -> tuple[float, ...]:
    """IoU after each of the 20 clicks; the last IoU is repeated where nothing is left to correct."""
    mask = np.zeros_like(case.truth)
    clicked = np.zeros_like(case.truth)
    ious: list[float] = []
    while len(ious) < MOST_CLICKS:
        click = next_click(case.truth, mask, clicked)
        # After ten clicks, only cases that have not reached 0.90 need more.
        if click is None or (len(ious) >= max(REPORTED) and max(ious) >= max(TARGETS)):
            break
        clicked[click.y, click.x] = True
        began = time.perf_counter()
        mask = method.click(click.x, click.y, positive=click.positive)
        seconds.append(time.perf_counter() - began)
        ious.append(float((mask & case.truth).sum() / (mask | case.truth).sum()))
    return tuple(ious + [ious[-1]] * (MOST_CLICKS - len(ious)))


class GrabCutClicker:
    """The baseline: GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004), which segments from clicks by colour alone."""

    def set_frame(self, image: NDArray[np.uint8]) -> None:
        """Take a frame (H, W, 3) uint8 RGB."""
        self._size = (image.shape[0], image.shape[1])
        self._scale = min(1.0, _GRABCUT_SIDE / max(self._size))
        self._bgr = np.ascontiguousarray(scaled(image, self._scale)[..., ::-1])
        self._labels: NDArray[np.uint8] = np.full(self._bgr.shape[:2], cv2.GC_PR_BGD, dtype=np.uint8)
        self._clicked: NDArray[np.uint8] = np.full(self._bgr.shape[:2], 255, dtype=np.uint8)

    def click(self, x: float, y: float, *, positive: bool = True) -> NDArray[np.bool_]:
        """Add a click at pixel (x, y). Returns the mask, (H, W) bool."""
        sure = cv2.GC_FGD if positive else cv2.GC_BGD
        place = (round(x * self._scale), round(y * self._scale))
        cv2.circle(self._clicked, place, _RADIUS, int(sure), thickness=-1)
        labels = np.where(self._clicked == 255, self._labels, self._clicked)
        if not (labels == cv2.GC_BGD).any() and not (labels == cv2.GC_PR_BGD).any():
            labels[0, 0] = cv2.GC_BGD
        cv2.setRNGSeed(0)
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        try:
            cv2.grabCut(self._bgr, labels, (0, 0, 1, 1), background, foreground, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
        except cv2.error:  # too few pixels of one kind; the clicked pixels remain the result
            pass
        found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        self._labels = np.where(found, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        large = cv2.resize(found.astype(np.uint8), self._size[::-1], interpolation=cv2.INTER_NEAREST)
        return np.asarray(large, dtype=bool)
