"""Checks the folders that a user names, and makes training sets of them, with some pictures held out to measure on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import workspace_stills
from hodor_cli.datasets.report import CheckReport
from hodor_cli.errors import DataError, UsageError
from hodor_cli.formats.check import check_dataset
from hodor_cli.formats.opening import is_clips, open_set
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import autocast
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import schedule
from hodor_cli.training.launch import Process
from hodor_cli.training.options import ClipOptions
from hodor_cli.training.samples.batches import Batch, BatchPlanner, TrainingSet
from hodor_cli.training.samples.composites import Composites, FilmingSet
from hodor_cli.training.samples.cutouts import Filmed
from hodor_cli.training.samples.loading import planned_batch
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sets import ClipFrames, ClipTraining, DenseClips, SparseClips, StillTraining
from hodor_cli.training.step import INPUTS, Objective


@dataclass(frozen=True)
class DataSource:
    """A data set and how often it is drawn from, next to others.

    folder: of the set, or with `annotations` (a COCO file) of its images.
    """

    folder: Path
    weight: float = 1.0
    annotations: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise UsageError(f"the weight of {self.folder} must be a number above 0, not {self.weight:g}")


Data = Sequence["str | Path | DataSource"] | str | Path | DataSource | None


def parse_sources(data: Data) -> list[DataSource]:
    """The sources in what a caller gives: folders, each as `FOLDER` or `FOLDER:WEIGHT`, or sources themselves."""
    if data is None:
        return []
    return [parse_source(item) for item in ([data] if isinstance(data, str | Path | DataSource) else data)]


def parse_source(text: str | Path | DataSource) -> DataSource:
    """`FOLDER` or `FOLDER:WEIGHT`. A folder whose own name ends so is taken as a folder. Raises UsageError."""
    if isinstance(text, DataSource):
        return text
    folder, colon, weight = str(text).rpartition(":")
    if not colon or not folder or Path(text).exists():
        return DataSource(Path(text))
    try:
        return DataSource(Path(folder), float(weight))
    except ValueError:
        return DataSource(Path(text))


def default_sources(kind: str) -> list[DataSource]:
    """What `pretrain` trains on where nothing is named: the prepared workspace. Raises DataError, saying what to do."""
    if kind == "finetune":
        raise DataError("there is nothing to fine-tune on; give `data`, a folder with JPEGImages and Annotations")
    images, annotations = workspace_stills()
    return [DataSource(images, annotations=annotations)]


def check_sources(
    sources: Sequence[DataSource],
    config: TrainConfig,
    clips: ClipOptions,
    progress: Callable[[int, int], None] | None = None,
) -> list[CheckReport]:
    """The quick check of every set, as `hodor data check` does it. Raises DataError with all faults of all sets."""
    reports, faults = [], []
    for source in sources:
        if not clips.mode and source.annotations is None and is_clips(source.folder):
            raise DataError(f"{source.folder} holds clips: train on them with `finetune`")
        report = check_dataset(
            source.folder,
            annotations=source.annotations,
            limits=config.limits,
            resolution=clips.resolution,
            split=clips.split,
            progress=progress,
        )
        reports.append(report)
        if not report.ok:
            faults.append(report.sentence())
    if faults:
        raise DataError("; ".join(faults))
    return reports


def build_split(
    sources: Sequence[DataSource], config: TrainConfig, clips: ClipOptions
) -> tuple[list[TrainingSet], list[TrainingSet]]:
    """The sets to train on, one for each source, and those of the pictures that are kept out of training."""
    parts = [hold_out(_build(source, config, clips), config.held_out) for source in sources]
    kept = [part for part, _ in parts]
    apart = [held for _, held in parts if held is not None]
    weights = [source.weight for source in sources]
    return _with_composites(kept, kept, config, weights), _with_composites(apart, kept, config, weights)


def build_sets(sources: Sequence[DataSource], config: TrainConfig, clips: ClipOptions) -> list[TrainingSet]:
    """A training set for each source: photographs as augmented sequences, clips as the mode says.

    Photographs may stand beside clips in every mode. Raises DataError for a set that cannot be used.
    """
    sets = [_build(source, config, clips) for source in sources]
    return _with_composites(sets, sets, config, [source.weight for source in sources])


def _with_composites(
    sets: Sequence[FilmingSet], donors: Sequence[FilmingSet], config: TrainConfig, weights: Sequence[float]
) -> list[TrainingSet]:
    """The sets, with objects of the donors put into the samples of each if the settings ask for it."""
    if not config.augment.pasted:
        return list(sets)
    return [Composites(dataset, donors, config.augment, weights=weights) for dataset in sets]


def _build(source: DataSource, config: TrainConfig, clips: ClipOptions) -> FilmingSet:
    limits, augment = config.limits, config.augment
    found = open_set(source.folder, source.annotations, limits=limits, resolution=clips.resolution, split=clips.split)
    if isinstance(found, StillImages):
        return StillTraining(found, augment)
    ways: dict[str, type[ClipFrames | SparseClips | DenseClips]]
    ways = {"frames": ClipFrames, "sparse": SparseClips, "dense": DenseClips}
    return ways[clips.mode](found, augment, limits=limits, max_gap=clips.max_gap, every=clips.every)


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
