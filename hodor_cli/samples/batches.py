"""Batches: the plan of each follows from the seed and the iteration alone, and so does each sample.

So a resumed run sees exactly the same order, however many worker processes or ranks there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from hodor_cli.errors import DataError, HodorError, UsageError
from hodor_cli.runtime.threads import forkable_opencv
from hodor_cli.samples.sample import Batch, TrainingSample, collate
from hodor_cli.samples.sets import TrainingSet
from hodor_cli.samples.settings import BatchSettings

Pools = list[tuple[float, int, np.ndarray]]  # (weight, set, item indices), to draw items from

_BATCH_STREAM, _SAMPLE_STREAM = 1, 2  # keep the random numbers of plans and of samples apart
_TRIES = 5  # of other items in place of one that cannot be read
_STRIDE = 32  # sides of a batch are multiples of this, as the network needs them


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
    """`batches[iteration]` is the share of rank `rank`, of `world`, in that iteration's batch.

    Its samples show equally many objects and have similar aspect ratios. weights: how often each set is drawn from.
    Raises DataError if there is nothing to draw, UsageError for weights that are none and for uneven shares.
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
        if not sets:
            raise DataError("there is no data set to draw samples from")
        weights = [1.0] * len(sets) if weights is None else list(weights)
        if len(weights) != len(sets) or any(not math.isfinite(w) or w < 0 for w in weights) or sum(weights) <= 0:
            raise UsageError("every data set needs a weight of at least 0, and one of them more than 0")
        if settings.batch_size % world:
            raise UsageError(f"a batch of {settings.batch_size} cannot be shared evenly by {world} processes")
        self.sets, self.settings, self.seed = list(sets), settings, seed
        share = settings.batch_size // world
        self._share = slice(rank * share, (rank + 1) * share)
        self._pools: Pools = []
        for number, dataset in enumerate(self.sets):
            self._pools += pools_of(dataset, settings, number, weights[number])
        if not self._pools:
            raise DataError("the weights leave no sample to draw")
        self._counts = [np.minimum(dataset.object_counts, settings.max_objects) for dataset in self.sets]
        ratios = np.log(settings.aspects)  # of each item: which of them is nearest
        shapes = [np.log([max(w, 1) / max(h, 1) for h, w in dataset.sizes]) for dataset in self.sets]
        self._buckets = [np.abs(ratios - shape[:, None]).argmin(axis=1) for shape in shapes]
        self._eligible: dict[tuple[int, int], Pools] = {}

    def __getitem__(self, iteration: int) -> Batch | HodorError:
        """The batch, as `collate` gives it, with `iteration` and `unread`: a sentence on each file that is damaged.

        Another sample takes the place of such a file's, so that one damaged file does not end a run of days. Raises
        DataError where many cannot be read. In a worker process an error is returned, because torch would wrap it into
        a traceback.
        """
        unread: list[str] = []
        try:
            plan = self.plan(iteration)
            samples = [self.sample(planned, plan.num_objects, unread) for planned in plan.samples]
        except HodorError as error:
            if get_worker_info() is None:
                raise
            return error
        return {**collate(samples, plan.pad_size), "iteration": iteration, "unread": unread}

    def plan(self, iteration: int) -> BatchPlan:
        """What this rank makes of an iteration's batch."""
        rng = np.random.default_rng([self.seed, iteration, _BATCH_STREAM])
        dataset, index = draw_item(self._pools, rng)
        alike = self._alike(int(self._counts[dataset][index]), int(self._buckets[dataset][index]))
        others = (draw_item(alike, rng) for _ in range(self.settings.batch_size - 1))
        whole = self.plan_of([(dataset, index), *others], iteration)
        return BatchPlan(whole.num_objects, whole.pad_size, whole.samples[self._share])

    def plan_of(self, chosen: Sequence[tuple[int, int]], iteration: int) -> BatchPlan:
        """The plan of a batch of these (set, item) pairs, with as many objects as the first offers."""
        settings, samples = self.settings, []
        for place, (number, item) in enumerate(chosen):
            height, width = self.sets[number].sizes[item]
            if settings.exact:
                scale = math.sqrt(settings.area / (height * width))
                size = max(1, round(height * scale)), max(1, round(width * scale))
            else:
                size = bucket_size(settings.aspects[self._buckets[number][item]], settings.area)
            samples.append(PlannedSample(number, item, iteration * len(chosen) + place, size))
        height, width = (-(-max(sample.out_size[axis] for sample in samples) // _STRIDE) * _STRIDE for axis in (0, 1))
        number, item = chosen[0]
        return BatchPlan(int(self._counts[number][item]), (height, width), tuple(samples))

    def sample(self, planned: PlannedSample, num_objects: int, unread: list[str] | None = None) -> TrainingSample:
        """Make a planned sample or, where its file cannot be read, that of an item like it.

        unread: gets a sentence on each such file. Raises DataError after several of them, or without `unread` at once.
        """
        tries: list[int] = []
        while True:
            rng = np.random.default_rng([self.seed, planned.counter, _SAMPLE_STREAM, *tries])
            try:
                return self.sets[planned.dataset].make(planned.index, num_objects, rng, planned.out_size)
            except DataError as error:
                if unread is None or len(tries) == _TRIES:
                    raise
                unread.append(str(error))
            tries.append(1)
            alike = self._alike(num_objects, int(self._buckets[planned.dataset][planned.index]))
            rng = np.random.default_rng([self.seed, planned.counter, _BATCH_STREAM, *tries])
            number, item = draw_item(alike, rng)
            planned = replace(planned, dataset=number, index=item)

    def _alike(self, objects: int, bucket: int) -> Pools:
        """The pools narrowed to items of one aspect ratio with at least `objects` objects."""
        key = objects, bucket
        if key not in self._eligible:
            self._eligible[key] = []
            for weight, number, items in self._pools:
                fits = (self._counts[number][items] >= objects) & (self._buckets[number][items] == bucket)
                if fits.any():
                    # A source that fits only in part keeps only that part of its weight.
                    self._eligible[key].append((weight * float(fits.mean()), number, items[fits]))
        return self._eligible[key]


def bucket_size(aspect: float, area: float) -> tuple[int, int]:
    """(height, width) of about this area at that width / height, both multiples of 32."""
    height = max(_STRIDE, round(math.sqrt(area / aspect) / _STRIDE) * _STRIDE)
    width = max(_STRIDE, round(math.sqrt(area * aspect) / _STRIDE) * _STRIDE)
    return height, width


def pools_of(dataset: TrainingSet, settings: BatchSettings, number: int, weight: float = 1.0) -> Pools:
    """The groups of a set, which is the one of this number, with their shares of its weight."""
    groups, shares = np.asarray(dataset.groups), group_shares(dataset.groups, settings)
    return [
        (share * weight, number, np.flatnonzero(groups == group))
        for group, share in shares.items()
        if share * weight > 0
    ]


def group_shares(groups: Sequence[str], settings: BatchSettings) -> dict[str, float]:
    """The share of each group in a set's samples, summing to 1 (all 0 if the weights leave nothing).

    Unknown names in `source_weights` are not checked here: a weight may belong to another set.
    """
    sizes = Counter(groups)
    totals: Counter[str] = Counter()
    for name, count in sizes.items():
        totals[name.partition("/")[0]] += count
    shares = {}
    for name, count in sorted(sizes.items()):
        source = name.partition("/")[0]
        factor = settings.source_weights.get(name, settings.source_weights.get(source, 1.0))
        # Balance between sources; within one, its coverages share by their number of images.
        shares[name] = factor * totals[source] ** settings.balance * count / totals[source]
    total = sum(shares.values())
    return {name: share / total if total > 0 else 0.0 for name, share in shares.items()}


def draw_item(pools: Pools, rng: np.random.Generator) -> tuple[int, int]:
    """A (set, item) pair: a pool by its weight, and any of its items."""
    weights = np.array([weight for weight, _, _ in pools])
    _, number, items = pools[int(rng.choice(len(pools), p=weights / weights.sum()))]
    return number, int(items[int(rng.integers(len(items)))])


def make_loader(batches: Batches, first: int, end: int, *, workers: int = 2, pinned: bool = False) -> Iterator[Batch]:
    """The batches of iterations `first` to before `end`, made by worker processes, which begin at once.

    They are the same for any number of workers; with 0 they are made when they are asked for. Raises what a worker
    raised.
    """
    loader: DataLoader[Batch | HodorError] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, end),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=quiet_worker,
        pin_memory=pinned,
    )
    with forkable_opencv():
        return map(_raised, iter(loader))


def _raised(batch: Batch | HodorError) -> Batch:
    if isinstance(batch, HodorError):
        raise batch
    return batch


def quiet_worker(_: int) -> None:
    """One thread per worker: they run side by side already."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
