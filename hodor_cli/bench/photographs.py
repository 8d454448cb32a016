"""Photographs made on the spot, for measuring training without a data set."""

from __future__ import annotations

from multiprocessing.synchronize import Event

import numpy as np
from numpy.typing import NDArray

from hodor_cli.bench.clip import texture
from hodor_cli.training.samples.cutouts import Masks
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import AugmentSettings


class SyntheticPhotographs:
    """A `TrainingSet` of pictures with `objects` ellipses each.

    gate: while it is closed (not set) no sample is made, in any process. With it the workers of a loader rest while
    something else is measured.
    """

    def __init__(
        self,
        settings: AugmentSettings,
        *,
        size: tuple[int, int],
        objects: int,
        count: int = 8,
        gate: Event | None = None,
    ) -> None:
        self.settings = settings
        self.gate = gate
        width, height = size
        self.sizes = [(height, width)] * count
        self.object_counts = [objects] * count
        self.groups = ["synthetic"] * count
        # A data set decodes its files; here the pictures are there from the start, so that making them costs nothing.
        self._pictures = [_picture(index, self.sizes[index], objects) for index in range(count)]

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


def _picture(index: int, size: tuple[int, int], objects: int) -> tuple[NDArray[np.uint8], Masks]:
    rng = np.random.default_rng(index)
    height, width = size
    image = texture(width, height, rng)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    masks = []
    for place in range(objects):
        centre = ((place + 0.5) / objects * width, rng.uniform(0.4, 0.6) * height)
        radii = (0.4 * width / objects, 0.3 * height)
        mask = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
        image[mask] = texture(width, height, rng)[mask]
        masks.append(mask)
    return image, masks
