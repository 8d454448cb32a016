"""Training sets: what samples are made of; photographs as augmented sequences."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco import StillImages
from hodor_cli.samples.cutouts import Filmed, still_filmed
from hodor_cli.samples.sample import Masks, TrainingSample
from hodor_cli.samples.sequence import make_still_sequence
from hodor_cli.samples.settings import AugmentSettings

Set = TypeVar("Set", bound="TrainingSet")


class TrainingSet:
    """Items, of each of which a sample can be made; here each is a photograph with its masks.

    The lists have one entry for each item: sizes (height, width); object_counts, how many objects it can offer, at
    least 1; groups, what sampling balances: its source, source/coverage, or clip.
    """

    settings: AugmentSettings
    items: Sequence[Any]
    sizes: Sequence[tuple[int, int]]
    object_counts: Sequence[int]
    groups: Sequence[str]
    #: Of which occluders and backgrounds are taken: also those that are kept out of training.
    all_items: Sequence[Any]

    def __len__(self) -> int:
        return len(self.sizes)

    def load(self, item: Any) -> tuple[NDArray[np.uint8], Masks]:
        """The picture, (h, w, 3) uint8 RGB, and the masks (h, w) of an item."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What item `index` is, for messages."""
        return str(index)

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """A sample of item `index` with exactly `num_objects` of its objects; out_size is (height, width)."""
        image, masks = self.load(self.items[index])

        def other(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
            return self.load(self.all_items[int(rng.integers(len(self.all_items)))])

        chosen = chosen_of(masks, num_objects, rng)
        return make_still_sequence(image, chosen, rng, self.settings, out_size, name=self.name(index), others=other)

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """An object of item `index` over so many frames; None if it cannot be cut out."""
        image, masks = self.load(self.items[index])
        return still_filmed(image, masks[int(rng.integers(len(masks)))], frames)

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """An item that shows what item `index` shows: itself, or the same clip at another time."""
        return index

    def subset(self: Set, chosen: Sequence[int]) -> Set:
        """Some of the items, as a set of their own."""
        part = copy.copy(self)
        for name in ("items", "sizes", "object_counts", "groups"):
            values = getattr(self, name)
            setattr(part, name, [values[index] for index in chosen])
        return part


class StillTraining(TrainingSet):
    """Photographs."""

    def __init__(self, images: StillImages, settings: AugmentSettings) -> None:
        self.images, self.settings = images, settings
        self.items = self.all_items = range(len(images))
        self.sizes, self.object_counts, self.groups = images.sizes, images.object_counts, images.groups

    def load(self, item: int) -> tuple[NDArray[np.uint8], Masks]:
        still = self.images.load(item)
        return still.image, still.masks

    def name(self, index: int) -> str:
        return self.images.name(self.items[index])


def chosen_of(among: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    """`count` of these, in random order."""
    return [among[int(i)] for i in rng.permutation(len(among))[:count]]
