"""Samples with several labelled objects: objects filmed or photographed elsewhere are put into them.

Few clips and photographs show several labelled objects, and a network that sees one object at a time learns to find
"the object", not to tell objects apart. An object cut out of another clip moves as it was filmed, before or behind what
is there, with its true mask; one of the same picture, mirrored and moved, looks alike and is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hodor_cli.training.samples.batches import TrainingSet, group_shares
from hodor_cli.training.samples.cutouts import Filmed
from hodor_cli.training.samples.overlay import add_object
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.settings import AugmentSettings, BatchSettings

#: Draws of a donor, of which some show an object that cannot be cut out, until a sample stays without.
_ATTEMPTS = 4
#: As in sampling: a group of n items gives objects in proportion to n to this power.
_BALANCE = BatchSettings(balance=0.5)


class FilmingSet(TrainingSet, Protocol):
    """A training set whose objects can be cut out."""

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """An object of item `index` over so many frames; None if it cannot be cut out."""
        ...

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """An item that shows what item `index` shows: itself, or the same clip at another time."""
        ...


class _Donor:
    """Draws items of a set, balanced between its groups."""

    def __init__(self, dataset: FilmingSet) -> None:
        self.dataset = dataset
        shares = group_shares(dataset.groups, _BALANCE)
        groups = np.asarray(dataset.groups)
        self._items = [np.flatnonzero(groups == name) for name in shares]
        self._shares = np.array(list(shares.values()))

    def draw(self, frames: int, rng: np.random.Generator) -> Filmed | None:
        items = self._items[int(rng.choice(len(self._items), p=self._shares))]
        return self.dataset.film(int(items[int(rng.integers(len(items)))]), frames, rng)


class Composites:
    """A `TrainingSet` made of another one, with up to `settings.pasted` labelled objects more in each sample.

    Item i always gets the same number more, so that a batch can be planned; which objects, is drawn anew.
    """

    def __init__(
        self,
        base: FilmingSet,
        donors: Sequence[FilmingSet],
        settings: AugmentSettings,
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.base, self.settings = base, settings
        self._donors = [_Donor(donor) for donor in donors]
        shares = np.array([1.0] * len(donors) if weights is None else weights, dtype=float)
        self._shares = shares / shares.sum()
        self.sizes, self.groups = base.sizes, base.groups
        # Spread evenly over neighbouring items, whatever their order.
        more = [(index * 7919) % 1009 % (settings.pasted + 1) for index in range(len(base.sizes))]
        self.object_counts = [own + added for own, added in zip(base.object_counts, more, strict=True)]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sample of item `index`, with objects from elsewhere until it has `num_objects`."""
        sample = self.base.make(index, min(num_objects, self.base.object_counts[index]), rng, out_size)
        while sample.num_objects < num_objects:
            sample = add_object(sample, self._filmed(index, len(sample.frames), rng), rng, self.settings)
        return sample

    def _filmed(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        for _ in range(_ATTEMPTS):
            if rng.random() < self.settings.pasted_twin:
                filmed = self.base.film(self.base.twin_of(index, rng), frames, rng)
            else:
                filmed = self._donors[int(rng.choice(len(self._donors), p=self._shares))].draw(frames, rng)
            if filmed is not None:
                return filmed
        return None
