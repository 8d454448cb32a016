"""Photographs made on the spot, for measuring training without a data set."""

from __future__ import annotations

from multiprocessing.synchronize import Event

import numpy as np
from numpy.typing import NDArray

from hodor_cli.bench.clip import make_clip
from hodor_cli.training.samples.cutouts import Masks
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sets import TrainingSet
from hodor_cli.training.samples.settings import AugmentSettings


class SyntheticPhotographs(TrainingSet):
    """Pictures with `objects` ellipses each, which are there from the start: nothing is decoded.

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
        self.items = self.all_items = [
            (clip.frames[0], [clip.first_labels == i + 1 for i in range(objects)]) for clip in clips
        ]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sequence of picture `index`."""
        if self.gate is not None:
            self.gate.wait()
        return super().make(index, num_objects, rng, out_size)

    def load(self, item: tuple[NDArray[np.uint8], Masks]) -> tuple[NDArray[np.uint8], Masks]:
        """An item is its own picture and masks."""
        return item
