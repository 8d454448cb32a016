"""Batches of training samples, each determined by the seed and the iteration alone.

A resumed run therefore sees the same samples in the same order, with any number of worker processes or ranks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from hodor_cli.errors import DataError, HodorError
from hodor_cli.runtime.preprocess import STRIDE
from hodor_cli.samples.sample import Batch, TrainingSample, collate
from hodor_cli.samples.sets import TrainingSet
from hodor_cli.samples.settings import BatchSettings

Pools = list[tuple[float, int, np.ndarray]]  # (weight, set, item indices), to draw items from

_BATCH_STREAM, _SAMPLE_STREAM = 1, 2  # separate random streams for plans and samples
_TRIES = 5  # other items to try in place of one that cannot be read


@dataclass(frozen=True)
class PlannedSample:
    """One sample to be made: item `index` of set `dataset`, from the random stream `counter`."""

    dataset: int
    index: int
    counter: int
    out_size: tuple[int, int]


@dataclass(frozen=True)
class BatchPlan:
    """Samples with `num_objects` objects each, to be padded to `pad_size` (height, width)."""

    num_objects: int
    pad_size: tuple[int, int]
    samples: tuple[PlannedSample, ...]


class Batches(Dataset["Batch | HodorError"]):
    """`batches[iteration]` is the part of that iteration's batch that rank `rank` of `world` computes.

    All samples of a batch have the same number of objects and similar aspect ratios. weights: how often each set is
    drawn from. world: a divisor of the batch size. Raises DataError if the weights leave nothing to draw.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        settings: BatchSettings,
        weights: Sequence[float] | None = None,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.sets, self.settings, self.seed = list(sets), settings, seed
        share = settings.batch_size // world
        self._share = slice(rank * share, (rank + 1) * share)
        self._pools: Pools = []
        for number, (dataset, weight) in enumerate(zip(sets, weights or [1.0] * len(sets), strict=True)):
            self._pools += pools_of(dataset, settings, number, weight)
        if not self._pools:
            raise DataError("the weights leave no sample to draw")
        self._counts = [np.minimum(dataset.object_counts, settings.max_objects) for dataset in self.sets]
        # The index of the nearest aspect ratio, for each item.
        ratios = np.log(settings.aspects)
        shapes = [np.log([max(w, 1) / max(h, 1) for h, w in dataset.sizes]) for dataset in self.sets]
        self._buckets = [np.abs(ratios - shape[:, None]).argmin(axis=1) for shape in shapes]
        self._eligible: dict[tuple[int, int], Pools] = {}

    def __getitem__(self, iteration: int) -> Batch | HodorError:
        """The batch from `collate`, with `iteration` and `unreadable`: a sentence about each file that cannot be read.

        Another sample replaces the one from such a file, so that one damaged file does not end a run of several days.
        Raises DataError if many files cannot be read. A worker process returns errors, because torch would wrap them in
        a traceback.
        """
        unreadable: list[str] = []
        try:
            plan = self.plan(iteration)
            samples = [self.sample(planned, plan.num_objects, unreadable) for planned in plan.samples]
        except HodorError as error:
            if get_worker_info() is None:
                raise
            return error
        return {**collate(samples, plan.pad_size), "iteration": iteration, "unreadable": unreadable}

    def plan(self, iteration: int) -> BatchPlan:
        """The part of an iteration's batch that this rank makes."""
        rng = np.random.default_rng([self.seed, iteration, _BATCH_STREAM])
        dataset, index = draw_item(self._pools, rng)
        alike = self._alike(int(self._counts[dataset][index]), int(self._buckets[dataset][index]))
        others = (draw_item(alike, rng) for _ in range(self.settings.batch_size - 1))
        whole = self.plan_of([(dataset, index), *others], iteration)
        return BatchPlan(whole.num_objects, whole.pad_size, whole.samples[self._share])

    def plan_of(self, chosen: Sequence[tuple[int, int]], iteration: int) -> BatchPlan:
        """The plan of a batch of these (set, item) pairs, with as many objects as the first item has."""
        settings, samples = self.settings, []
        for place, (number, item) in enumerate(chosen):
            height, width = self.sets[number].sizes[item]
            if settings.exact:
                scale = math.sqrt(settings.area / (height * width))
                size = max(1, round(height * scale)), max(1, round(width * scale))
            else:
                size = bucket_size(settings.aspects[self._buckets[number][item]], settings.area)
            samples.append(PlannedSample(number, item, iteration * len(chosen) + place, size))
        height, width = (-(-max(sample.out_size[axis] for sample in samples) // STRIDE) * STRIDE for axis in (0, 1))
        number, item = chosen[0]
        return BatchPlan(int(self._counts[number][item]), (height, width), tuple(samples))

    def sample(self, planned: PlannedSample, num_objects: int, unreadable: list[str] | None = None) -> TrainingSample:
        """Make a planned sample or, if its file cannot be read, one from a similar item.

        unreadable: receives a sentence about each such file. Raises DataError after several such files, or after the
        first if `unreadable` is None.
        """
        tries: list[int] = []
        while True:
            rng = np.random.default_rng([self.seed, planned.counter, _SAMPLE_STREAM, *tries])
            try:
                return self.sets[planned.dataset].make(planned.index, num_objects, rng, planned.out_size)
            except DataError as error:
                if unreadable is None or len(tries) == _TRIES:
                    raise
                unreadable.append(str(error))
            tries.append(1)
            alike = self._alike(num_objects, int(self._buckets[planned.dataset][planned.index]))
            rng = np.random.default_rng([self.seed, planned.counter, _BATCH_STREAM, *tries])
            number, item = draw_item(alike, rng)
            planned = replace(planned, dataset=number, index=item)

    def _alike(self, objects: int, bucket: int) -> Pools:
        """The pools, reduced to items of one aspect ratio with at least `objects` objects."""
        key = objects, bucket
        if key not in self._eligible:
            self._eligible[key] = []
            for weight, number, items in self._pools:
                fits = (self._counts[number][items] >= objects) & (self._buckets[number][items] == bucket)
                if fits.any():
                    # A source keeps the part of its weight that corresponds to the items that fit.
                    self._eligible[key].append((weight * float(fits.mean()), number, items[fits]))
        return self._eligible[key]


def bucket_size(aspect: float, area: float) -> tuple[int, int]:
    """(height, width), multiples of 32, with about this area and aspect ratio (width / height)."""
    height, width = math.sqrt(area / aspect), math.sqrt(area * aspect)
    return max(1, round(height / STRIDE)) * STRIDE, max(1, round(width / STRIDE)) * STRIDE


def pools_of(dataset: TrainingSet, settings: BatchSettings, number: int, weight: float = 1.0) -> Pools:
    """The groups of set `number`, each with its share of the set's weight."""
    groups, shares = np.asarray(dataset.groups), group_shares(dataset.groups, settings)
    return [
        (share * weight, number, np.flatnonzero(groups == group))
        for group, share in shares.items()
        if share * weight > 0
    ]


def group_shares(groups: Sequence[str], settings: BatchSettings) -> dict[str, float]:
    """The share of each group in a set's samples, summing to 1 (all 0 if the weights leave nothing)."""
    sizes = Counter(groups)
    totals: Counter[str] = Counter()
    for name, count in sizes.items():
        totals[name.partition("/")[0]] += count
    shares = {}
    for name, count in sorted(sizes.items()):
        source = name.partition("/")[0]
        factor = settings.source_weights.get(name, settings.source_weights.get(source, 1.0))
        # `balance` applies between sources; the coverages of a source share its weight by their number of images.
        shares[name] = factor * totals[source] ** settings.balance * count / totals[source]
    total = sum(shares.values())
    return {name: share / total if total > 0 else 0.0 for name, share in shares.items()}


def unknown_sources(settings: BatchSettings, sets: Sequence[TrainingSet]) -> list[str]:
    """The names in `source_weights` that no set has."""
    groups = {group for dataset in sets for group in dataset.groups}
    return sorted(set(settings.source_weights) - groups - {group.partition("/")[0] for group in groups})


def draw_item(pools: Pools, rng: np.random.Generator) -> tuple[int, int]:
    """A (set, item) pair: a pool is drawn by weight, then one of its items uniformly."""
    weights = np.array([weight for weight, _, _ in pools])
    _, number, items = pools[int(rng.choice(len(pools), p=weights / weights.sum()))]
    return number, int(items[int(rng.integers(len(items)))])
