"""Makes the planned batches, in this process or in worker processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hodor_cli.errors import HodorError
from hodor_cli.runtime.threads import forkable_opencv
from hodor_cli.training.samples.batches import Batch, BatchPlan, BatchPlanner
from hodor_cli.training.samples.sample import TrainingSample

_ERROR = "error"


class _Iterations(IterableDataset[Batch]):
    """The batches of these iterations. Worker w of n makes whole batches, every n-th, so that their order stays."""

    def __init__(self, planner: BatchPlanner, iterations: Iterable[int], rank: int, world: int) -> None:
        self.planner, self.iterations, self.rank, self.world = planner, iterations, rank, world

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        offset, stride = (0, 1) if info is None else (info.id, info.num_workers)
        for iteration in itertools.islice(self.iterations, offset, None, stride):
            try:
                yield make_batch(self.planner, iteration, rank=self.rank, world=self.world)
            except HodorError as error:
                if info is None:
                    raise
                # Torch would wrap a worker's exception into pages of traceback; hand over its one sentence instead.
                yield {_ERROR: (type(error), str(error))}
                return


class TrainingLoader:
    """Iterates over the batches of a rank; an error in a worker process arrives as the `HodorError` it was."""

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        with forkable_opencv():
            batches = iter(self.loader)
        for batch in batches:
            if _ERROR in batch:
                kind, message = batch[_ERROR]
                raise kind(message)
            yield batch


def make_batch(planner: BatchPlanner, iteration: int, *, rank: int = 0, world: int = 1) -> Batch:
    """The batch of one iteration (one rank's part), as `collate` gives it, with `iteration` added."""
    return planned_batch(planner, planner.plan(iteration, rank=rank, world=world))


def planned_batch(planner: BatchPlanner, plan: BatchPlan) -> Batch:
    """The batch of a plan, as `collate` gives it, with `iteration` added."""
    samples = [planner.sample(planned, plan.num_objects) for planned in plan.samples]
    return {**collate(samples, plan.pad_size), "iteration": plan.iteration}


def collate(samples: Sequence[TrainingSample], pad_size: tuple[int, int] | None = None) -> Batch:
    """Stack samples with the same numbers of frames T and objects I, padded right and bottom to `pad_size`.

    frames (B, T, H, W, 3) uint8, masks (B, T, H, W) uint8, valid (B, T, H, W) bool (False in the padding),
    presence (B, T, I) bool, labelled (B, T) bool, names: list of str.
    """
    height, width = pad_size or (
        max(sample.frames.shape[1] for sample in samples),
        max(sample.frames.shape[2] for sample in samples),
    )
    count, length = len(samples), len(samples[0].frames)
    frames = np.zeros((count, length, height, width, 3), dtype=np.uint8)
    masks = np.zeros((count, length, height, width), dtype=np.uint8)
    valid = np.zeros((count, length, height, width), dtype=bool)
    for i, sample in enumerate(samples):
        h, w = sample.frames.shape[1:3]
        frames[i, :, :h, :w] = sample.frames
        masks[i, :, :h, :w] = sample.masks
        valid[i, :, :h, :w] = sample.valid
    return {
        "frames": torch.from_numpy(frames),
        "masks": torch.from_numpy(masks),
        "valid": torch.from_numpy(valid),
        "presence": torch.from_numpy(np.stack([sample.presence for sample in samples])),
        "labelled": torch.from_numpy(np.stack([sample.labelled for sample in samples])),
        "names": [sample.name for sample in samples],
    }


def make_loader(
    planner: BatchPlanner,
    start: int = 0,
    end: int | None = None,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 2,
    pin_memory: bool = False,
) -> TrainingLoader:
    """A loader of this rank's batches of the iterations from `start` to before `end` (None: without end).

    See `collate` for what a batch holds. The batches are the same for any number of workers, and the ranks take
    disjoint parts of the same global batch. Raises UsageError when the batch cannot be shared evenly.
    """
    planner.plan(start, rank=rank, world=world)  # fail here rather than in a worker
    iterations = itertools.count(start) if end is None else range(start, end)
    loader: DataLoader[Batch] = DataLoader(
        _Iterations(planner, iterations, rank, world),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_quiet_worker if workers else None,
        pin_memory=pin_memory,
    )
    return TrainingLoader(loader)


def _quiet_worker(_: int) -> None:
    """One thread per worker: they run side by side already."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
