"""From the folders a user names to training sets, after a quick look at whether they can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hodor_cli.datasets.check import check_dataset
from hodor_cli.datasets.opening import is_clips, open_set
from hodor_cli.datasets.report import CheckReport
from hodor_cli.errors import DataError, UsageError
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.samples.composites import Composites, FilmingSet
from hodor_cli.training.samples.samplers import TrainingSet

#: The ways of fine-tuning on clips; pretraining has none.
MODES = ("frames", "sparse", "dense")


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

    def to_dict(self) -> dict[str, Any]:
        """A JSON form; `from_dict` reads it."""
        annotations = None if self.annotations is None else str(self.annotations.absolute())
        return {"folder": str(self.folder.absolute()), "weight": self.weight, "annotations": annotations}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> DataSource:
        """What `to_dict` wrote."""
        annotations = values.get("annotations")
        return DataSource(
            Path(values["folder"]), float(values["weight"]), None if annotations is None else Path(annotations)
        )


@dataclass(frozen=True)
class ClipOptions:
    """How clips are used: the mode of fine-tuning ("" for none), and what goes to the data layer as it is.

    max_gap: how many frames apart the frames of a sample lie at most (sparse, dense). every: take each n-th labelled
    frame (frames). resolution, split: which of several there are, by name.
    """

    mode: str = ""
    max_gap: int = 10
    every: int = 1
    resolution: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.mode and self.mode not in MODES:
            raise UsageError(f"--mode is one of {', '.join(MODES)}, not '{self.mode}'")


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
            raise DataError(f"{source.folder} holds clips: use `hodor finetune --data {source.folder}` for them")
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


def build_sets(sources: Sequence[DataSource], config: TrainConfig, clips: ClipOptions) -> list[TrainingSet]:
    """A training set for each source: photographs as augmented sequences, clips as the mode says.

    Photographs may stand beside clips in every mode, and objects of all sets are put into those of each if the settings
    ask for it. Raises DataError for a set that cannot be used.
    """
    sets = [_build(source, config, clips) for source in sources]
    if not config.augment.pasted:
        return list(sets)
    weights = [source.weight for source in sources]
    return [Composites(dataset, sets, config.augment, weights=weights) for dataset in sets]


def _build(source: DataSource, config: TrainConfig, clips: ClipOptions) -> FilmingSet:
    from hodor_cli.datasets.coco import StillImages
    from hodor_cli.training.samples.clip_training import clip_training
    from hodor_cli.training.samples.stills_training import StillTraining

    limits = config.limits
    found = open_set(source.folder, source.annotations, limits=limits, resolution=clips.resolution, split=clips.split)
    if isinstance(found, StillImages):
        return StillTraining(found, config.augment)
    return clip_training(clips.mode, found, config.augment, limits=limits, max_gap=clips.max_gap, every=clips.every)
