"""Pictures kept out of training, so that it can be told whether the network got better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hodor_cli.training.samples.composites import FilmingSet
from hodor_cli.training.samples.cutouts import Filmed
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sets import ClipTraining


class Subset:
    """Some of the items of a training set, as one."""

    def __init__(self, dataset: FilmingSet, items: Sequence[int]) -> None:
        self.dataset, self.items = dataset, list(items)
        self.sizes = [dataset.sizes[item] for item in items]
        self.object_counts = [dataset.object_counts[item] for item in items]
        self.groups = [dataset.groups[item] for item in items]
        self._places = {item: place for place, item in enumerate(items)}

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sample of item `index`."""
        return self.dataset.make(self.items[index], num_objects, rng, out_size)

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """An object of item `index` over so many frames."""
        return self.dataset.film(self.items[index], frames, rng)

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """An item that shows what item `index` shows, if it is among these; otherwise the item itself."""
        return self._places.get(self.dataset.twin_of(self.items[index], rng), index)


def hold_out(dataset: FilmingSet, count: int) -> tuple[FilmingSet, FilmingSet | None]:
    """The items to train on, and up to `count` that are kept out; None where there are fewer than eight of them.

    They lie evenly among the others; of clips, whose frames look alike, one in the middle is kept out as a whole.
    """
    total = len(dataset.sizes)
    if isinstance(dataset, ClipTraining):
        clips = list(dict.fromkeys(dataset.groups))
        kept_out = [i for i in range(total) if dataset.groups[i] == clips[len(clips) // 2]] if len(clips) >= 8 else []
    else:
        number = min(count, total // 8)
        kept_out = [(2 * place + 1) * total // (2 * number) for place in range(number)]
    if not kept_out or not count:
        return dataset, None
    apart = set(kept_out)
    return Subset(dataset, [item for item in range(total) if item not in apart]), Subset(dataset, kept_out)
