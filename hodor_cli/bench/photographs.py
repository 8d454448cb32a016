"""Photographs made on the spot, for measuring training without a data set."""

from __future__ import annotations

from multiprocessing.synchronize import Event

import numpy as np
from numpy.typing import NDArray

from hodor_cli.bench.clip import make_clip
from hodor_cli.training.samples.cutouts import Masks
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import AugmentSettings


class SyntheticPhotographs:
    """A `TrainingSet` of pictures with `objects` ellipses each, which are there from the start: nothing is decoded.

    gate: while it is closed (not set) no sample is made, in any process. With it the workers of a loader rest while
    something else is measured.
    """

    def __init__(
        self,
        settings: AugmentSettings,
        size: tuple[int, int],
        objects: int,
        *,
        count: int = 8,
        gate: Event | None = None,
    ) -> None:
        self.settings, self.gate = settings, gate
        width, height = size
        self.sizes = [(height, width)] * count
        self.object_counts = [objects] * count
        self.groups = ["synthetic"] * count
        clips = [make_clip(width, height, 2, objects, seed) for seed in range(count)]
        self._pictures: list[tuple[NDArray[np.uint8], Masks]] = [
            (clip.frames[0], [clip.first_labels == i + 1 for i in range(objects)]) for clip in clips
        ]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sequence of picture `index`."""
        if self.gate is not None:
            self.gate.wait()
        image, masks = self._pictures[index]
        return make_still_sequence(
            image, masks[:num_objects], rng, self.settings, out_size, name=str(index), others=self._other
        )

    def _other(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
        return self._pictures[int(rng.integers(len(self._pictures)))]
