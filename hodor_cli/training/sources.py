"""From the folders a user names to training sets, after a quick look at whether they can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import workspace_stills
from hodor_cli.datasets.report import CheckReport
from hodor_cli.errors import DataError, UsageError
from hodor_cli.formats.check import check_dataset
from hodor_cli.formats.opening import is_clips, open_set
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.held_out import hold_out
from hodor_cli.training.options import ClipOptions
from hodor_cli.training.samples.batches import TrainingSet
from hodor_cli.training.samples.composites import Composites, FilmingSet
from hodor_cli.training.samples.sets import ClipFrames, DenseClips, SparseClips, StillTraining


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
