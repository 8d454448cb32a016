"""Pictures kept out of training, on which a network is measured before and after, to tell whether it got better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import autocast
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import schedule
from hodor_cli.training.process import Process
from hodor_cli.training.samples.batches import Batch, BatchPlanner, TrainingSet, planned_batch
from hodor_cli.training.samples.composites import FilmingSet
from hodor_cli.training.samples.cutouts import Filmed
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sets import ClipTraining
from hodor_cli.training.step import INPUTS, Objective


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


class HeldOut:
    """Samples on which a network is measured before and after training: mean IoU of the cycles' predictions.

    apart: whether they are kept out of training; otherwise there were too few, and it learns from them. name: what they
    are, for a sentence.
    """

    def __init__(self, sets: Sequence[TrainingSet], config: TrainConfig, *, apart: bool) -> None:
        self.config = config
        self._planner = BatchPlanner(sets, config.batches, seed=config.seed)
        items = [(number, item) for number, dataset in enumerate(sets) for item in range(len(dataset.sizes))]
        count = min(config.held_out, len(items))
        self._chosen = [items[place * len(items) // count] for place in range(count)]  # evenly among them
        self._batches: list[Batch] = []
        self.name = f"{count} held-out pictures" if apart else f"{count} training pictures, too few to hold some out"

    @torch.no_grad()
    def measure(self, model: Hodor, process: Process) -> float:
        """Mean IoU, 0..1. The model's mode is as before afterwards."""
        if not self._batches:
            plans = [self._planner.plan_of([chosen], number) for number, chosen in enumerate(self._chosen)]
            self._batches = [planned_batch(self._planner, plan) for plan in plans]
        training = model.training
        objective = Objective(model, supervise=self.config.supervise).eval()
        steps = schedule(self.config.schedule, 0, self.config.sequence)
        ious = []
        for batch in self._batches:
            inputs = [batch[name].to(process.device) for name in INPUTS]
            with autocast(process.device, process.dtype):
                ious.append(float(objective(*inputs, steps)[0].iou))
        model.train(training)
        return sum(ious) / len(ious)
