"""Training sets, which make samples; here each sample is a sequence made from one labelled picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco import Still
from hodor_cli.samples.cutouts import Cutout, still_cutout
from hodor_cli.samples.sample import Masks, TrainingSample
from hodor_cli.samples.sequence import make_still_sequence
from hodor_cli.samples.settings import AugmentSettings


class TrainingSet(ABC):
    """Items from which samples are made.

    Each list has one entry per item. sizes: (height, width) of its frames. object_counts: how many objects it can show,
    at least 1. groups: the name by which sampling is balanced: a source, source/coverage, or a clip.
    """

    sizes: Sequence[tuple[int, int]]
    object_counts: Sequence[int]
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.sizes)

    @abstractmethod
    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """A sample of item `index` with exactly `num_objects` of its objects. out_size: (height, width)."""


class Pictures(Protocol):
    """Labelled pictures, such as `StillImages`, with the lists of a `TrainingSet`."""

    @property
    def sizes(self) -> Sequence[tuple[int, int]]: ...

    @property
    def object_counts(self) -> Sequence[int]: ...

    @property
    def groups(self) -> Sequence[str]: ...

    def load(self, index: int) -> Still:
        """Decode a picture and its masks."""


class PhotographSet(TrainingSet):
    """Each item is a photograph, and a sample is an augmented sequence of it.

    chosen: indices of the pictures that are items, None for all. The others still serve as backgrounds and occluders.
    """

    def __init__(self, pictures: Pictures, settings: AugmentSettings, chosen: Sequence[int] | None = None) -> None:
        sizes, counts, groups = pictures.sizes, pictures.object_counts, pictures.groups
        self.pictures, self.settings = pictures, settings
        self.chosen: Sequence[int] = range(len(sizes)) if chosen is None else chosen
        self.sizes = [sizes[picture] for picture in self.chosen]
        self.object_counts = [counts[picture] for picture in self.chosen]
        self.groups = [groups[picture] for picture in self.chosen]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        still = self.pictures.load(self.chosen[index])

        def other(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
            found = self.pictures.load(int(rng.integers(len(self.pictures.sizes))))
            return found.image, found.masks

        masks = chosen_of(still.masks, num_objects, rng)
        return make_still_sequence(still.image, masks, rng, self.settings, out_size, name=still.name, others=other)

    def cut_out(self, index: int, frames: int, rng: np.random.Generator) -> Cutout | None:
        """An object of item `index` over `frames` frames; None if it cannot be cut out."""
        still = self.pictures.load(self.chosen[index])
        return still_cutout(still.image, still.masks[int(rng.integers(len(still.masks)))], frames)

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """An item that shows what item `index` shows: itself, or the same clip at another time."""
        return index


def chosen_of(among: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    """At most `count` of these, in random order."""
    return [among[int(i)] for i in rng.permutation(len(among))[:count]]
