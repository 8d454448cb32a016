"""Photographs as a training set: each item becomes an augmented sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco import StillImages
from hodor_cli.training.samples.filmed import Filmed, still_filmed
from hodor_cli.training.samples.layers import Masks
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import AugmentSettings


class StillTraining:
    """A `TrainingSet` of photographs. Occluders and backgrounds come from the same photographs."""

    def __init__(self, images: StillImages, settings: AugmentSettings) -> None:
        self.images = images
        self.settings = settings
        self.sizes = images.sizes
        self.object_counts = images.object_counts
        self.groups = images.groups

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sequence of photograph `index` with `num_objects` of its objects; out_size is (height, width)."""
        still = self.images.load(index)
        masks = choose_objects(still.masks, num_objects, rng)
        return make_still_sequence(
            still.image, masks, rng, self.settings, out_size, name=still.name, others=self._other
        )

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """One of the objects of photograph `index`."""
        still = self.images.load(index)
        return still_filmed(still.image, still.masks[int(rng.integers(len(still.masks)))], frames)

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """The photograph itself."""
        return index

    def _other(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
        still = self.images.load(int(rng.integers(len(self.images))))
        return still.image, still.masks


def choose_objects(masks: Masks, num_objects: int, rng: np.random.Generator) -> Masks:
    """`num_objects` of the masks, in random order."""
    return [masks[int(i)] for i in rng.permutation(len(masks))[:num_objects]]
