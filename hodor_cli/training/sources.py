"""Training sets of the data that a user names, with some pictures held out to measure on."""

from __future__ import annotations

from collections.abc import Sequence

from hodor_cli.datasets.coco import StillImages
from hodor_cli.formats.opening import open_set
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.options import ClipOptions, DataSource
from hodor_cli.training.samples.composites import Composites
from hodor_cli.training.samples.sets import (
    ClipFrames,
    ClipTraining,
    DenseClips,
    SparseClips,
    StillTraining,
    TrainingSet,
)


def build_sets(
    sources: Sequence[DataSource], config: TrainConfig, clips: ClipOptions
) -> tuple[list[TrainingSet], list[TrainingSet]]:
    """A training set for each source, and sets of the pictures that are kept out of training (`config.held_out`).

    Photographs become augmented sequences and may stand beside clips, which are used as the mode says. Raises DataError
    for a set that cannot be used.
    """
    limits, augment = config.limits, config.augment
    ways: dict[str, type[ClipTraining]] = {"frames": ClipFrames, "sparse": SparseClips, "dense": DenseClips}
    kept: list[TrainingSet] = []
    apart: list[TrainingSet] = []
    for source in sources:
        found = open_set(
            source.folder, source.annotations, limits=limits, resolution=clips.resolution, split=clips.split
        )
        if isinstance(found, StillImages):
            whole: TrainingSet = StillTraining(found, augment)
        else:
            whole = ways[clips.mode](found, augment, limits=limits, max_gap=clips.max_gap, every=clips.every)
        own, held = hold_out(whole, config.held_out)
        kept.append(own)
        apart += [] if held is None else [held]
    if not augment.pasted:
        return kept, apart
    weights = [source.weight for source in sources]
    composed = [[Composites(part, kept, augment, weights) for part in parts] for parts in (kept, apart)]
    return list(composed[0]), list(composed[1])


def hold_out(dataset: TrainingSet, count: int) -> tuple[TrainingSet, TrainingSet | None]:
    """The items to train on, and up to `count` that are kept out; None where there are fewer than eight of them.

    They lie evenly among the others; of clips, whose frames look alike, one in the middle is kept out as a whole.
    """
    total = len(dataset)
    if isinstance(dataset, ClipTraining):
        clips = list(dict.fromkeys(dataset.groups))
        apart = [i for i in range(total) if dataset.groups[i] == clips[len(clips) // 2]] if len(clips) >= 8 else []
    else:
        number = min(count, total // 8)
        apart = [(2 * place + 1) * total // (2 * number) for place in range(number)]
    if not apart or not count:
        return dataset, None
    held = set(apart)
    return dataset.subset([item for item in range(total) if item not in held]), dataset.subset(apart)
