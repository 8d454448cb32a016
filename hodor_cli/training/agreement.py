"""What adaptation learns from, and the test that needs no labels: how well the masks of the way there and of the way
back agree (HODOR, sec. 3.5)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.masks import reference_masks_by_id
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.errors import InputError
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import precision_name
from hodor_cli.training.launch import Process
from hodor_cli.training.samples.sample import Masks, TrainingSample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import AugmentSettings

Rgb = NDArray[np.uint8]

#: Share of a budget in seconds that all tests together may take.
_SHARE = 0.3


@dataclass(frozen=True)
class Example:
    """A frame (H, W, 3) uint8 RGB whose label map (H, W) the user gave."""

    frame: Rgb
    labels: NDArray[np.uint16]

    @staticmethod
    def of(frame: Rgb, masks: NDArray[np.generic] | Mapping[int, NDArray[np.generic]], number: int = 0) -> Example:
        """An example from masks as `Segmenter.step` takes them. Raises InputError, naming frame `number`."""
        labels = np.zeros(frame.shape[:2], np.uint16)
        size = (frame.shape[0], frame.shape[1])
        for object_id, mask in reference_masks_by_id(masks, size=size, frame=number).items():
            labels[mask] = object_id
        return Example(frame, labels)

    def require_usable(self, number: int) -> None:
        """Raise InputError, naming example `number`, if there is no object or no background to learn from."""
        inside = np.count_nonzero(self.labels)
        if inside == 0:
            raise InputError(f"the mask of example {number} is empty, so there is nothing to adapt to; mark the object")
        if inside == self.labels.size:
            raise InputError(
                f"the mask of example {number} covers the whole frame, so there is no background to adapt against;"
                " mark the object alone or leave `adapt` out"
            )

    def sample(
        self, rng: np.random.Generator, settings: AugmentSettings, size: tuple[int, int], *, max_objects: int
    ) -> TrainingSample:
        """An augmented sequence with some of the objects, of frames of this size (height, width).

        What passes in front of the objects and behind them is background in the shape of an object. Pieces of the
        objects themselves would teach the network that what looks like an object need not be it; it would then not find
        one again after losing it.
        """
        ids = [int(i) for i in np.unique(self.labels) if i != 0]
        masks = [self.labels == i for i in rng.permutation(ids)[:max_objects]]

        def others(rng: np.random.Generator) -> tuple[Rgb, Masks]:
            return self.frame, self._piece_of_background(masks, rng)

        return make_still_sequence(self.frame, masks, rng, settings, size, others=others)

    def _piece_of_background(self, masks: Masks, rng: np.random.Generator) -> Masks:
        """The shape of an object at a place where mostly background is, if one is found: at most one mask (H, W)."""
        shape = masks[int(rng.integers(len(masks)))]
        rows, columns = np.nonzero(shape)
        rows, columns = rows - rows.min(), columns - columns.min()
        if rng.random() < 0.5:
            columns = columns.max() - columns
        spare = shape.shape[0] - rows.max(), shape.shape[1] - columns.max()
        for _ in range(10):
            piece = np.zeros_like(shape)
            piece[rows + int(rng.integers(spare[0])), columns + int(rng.integers(spare[1]))] = True
            piece &= self.labels == 0
            if np.count_nonzero(piece) > len(rows) / 2:
                return [piece]
        return []


@dataclass(frozen=True)
class CycleTest:
    """Forwards through frames from an example, and back to it: how well the masks of both ways agree.

    each: called after every frame.
    """

    example: Example
    frames: list[Rgb]
    size: tuple[int, int]
    process: Process
    each: Callable[[], object] = lambda: None

    def iou(self, model: Hodor) -> float:
        """Mean IoU of the objects on the way back with those on the way there, 0..1.

        The example itself, whose masks were given, is one of the frames; but the network has learned from it, so the
        others are compared as well.
        """
        there = self.follow(model, [self.example.frame, *self.frames], self.example.labels)
        if not there[-1].any():
            return 0.0
        back = self.follow(model, [*reversed(self.frames), self.example.frame], there[-1])
        ious = []
        for forth, returned in zip(there[:-1], back[:0:-1], strict=True):
            for object_id in np.unique(self.example.labels[self.example.labels > 0]):
                one, other = forth == object_id, returned == object_id
                union = int(np.count_nonzero(one | other))
                ious.append(int(np.count_nonzero(one & other)) / max(union, 1))  # lost on both ways is no agreement
        return float(np.mean(ious))

    def follow(self, model: Hodor, frames: Sequence[Rgb], labels: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
        """The label maps of the frames, from that of the first."""
        segmenter = Segmenter(
            model,
            min_dim=self.size[0],
            max_dim=self.size[1],
            device=self.process.device,
            precision=precision_name(self.process.dtype),
        )
        found = []
        for number, frame in enumerate(frames):
            found.append(segmenter.step(frame, None if number else labels))
            self.each()
        return found

    def affordable(self, model: Hodor, seconds: float | None, tests: int) -> CycleTest | None:
        """The same through as many of the frames as a budget allows for so many tests; None without frames or time."""
        if not self.frames or seconds is None:
            return self if self.frames else None
        example, frames = self.example, self.frames
        self.follow(model, [example.frame], example.labels)  # the first frame is slower than others
        began = time.perf_counter()
        self.follow(model, [example.frame, frames[0]], example.labels)
        each = (time.perf_counter() - began) / 2
        count = int(_SHARE * seconds / (tests * 2 * each))
        if count < 2:
            return None
        places = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
        return dataclasses.replace(self, frames=[frames[place] for place in places])
