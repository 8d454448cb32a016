"""Contact sheets of training samples, to check by eye what a network is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import OutputError
from hodor_cli.files import require_place
from hodor_cli.images.sheet import Picture, captioned, joined, save_sheet
from hodor_cli.samples.batches import Batches
from hodor_cli.samples.sample import TrainingSample
from hodor_cli.samples.settings import BatchSettings, ClipOptions, augment_preset
from hodor_cli.samples.sources import build_sets
from hodor_cli.video.overlay import draw_overlay

_GAP = 4
_WIDTH = 1800  # of a sheet, unless a single sample is wider


def preview_samples(
    opened: StillImages | ClipSet,
    count: int = 16,
    *,
    preset: str = "mini",
    mode: str = "dense",
    area: float = 65536.0,
    seed: int = 0,
    limits: ObjectLimits | None = None,
) -> Iterator[TrainingSample]:
    """Yield `count` samples of a data set, made as in training with this augmentation preset.

    opened: the data set, from `open_set`. mode: how clips are used. area: pixels of a frame. limits: which objects of
    clips are large enough; the paper's by default. Raises DataError if a file cannot be read, UsageError for an unknown
    preset or mode.
    """
    clips = ClipOptions(mode)  # type: ignore[arg-type]  # checked by ClipOptions
    sets, _ = build_sets([opened], [1.0], clips, limits or ObjectLimits(), augment_preset(preset))
    batches = Batches(sets, BatchSettings(batch_size=1, area=area, exact=False, balance=0.5), seed=seed)
    for number in range(count):
        plan = batches.plan(number)
        yield batches.sample(plan.samples[0], plan.num_objects)


def draw_sample(sample: TrainingSample) -> Picture:
    """The frames of a sample side by side, (H', W', 3) uint8 RGB: masks as outlines, invalid pixels hatched."""
    frames = []
    for frame, masks, valid in zip(sample.frames, sample.masks, sample.valid, strict=True):
        picture = draw_overlay(frame, masks.astype(np.uint16), opacity=0)
        rows, columns = np.indices(valid.shape)
        picture[~valid] = 40
        picture[~valid & ((rows + columns) % 8 == 0)] = 110
        frames.append(picture)
    absent = [f"frame {t}: no {number + 1}" for t, number in np.argwhere(~sample.presence)]
    unlabelled = [f"frame {t}: no labels" for t in np.flatnonzero(~sample.labelled)]
    text = ", ".join([f"{sample.name} ({sample.num_objects})", *absent, *unlabelled])
    return captioned(joined(frames, axis=1, gap=2), text)


def write_sheet(path: str | Path, samples: Sequence[TrainingSample], *, overwrite: bool = False) -> None:
    """Write all samples to one PNG, in rows of at most 1800 pixels if they fit.

    Raises OutputError if the file exists (unless `overwrite`), cannot be written, or is not called a PNG.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise OutputError(f"the sheet is a PNG, but {target} does not end in .png; choose a name that does")
    require_place(target, overwrite=overwrite)
    rows: list[list[Picture]] = [[]]
    for strip in map(draw_sample, samples):
        if rows[-1] and sum(other.shape[1] + _GAP for other in rows[-1]) + strip.shape[1] > _WIDTH:
            rows.append([])
        rows[-1].append(strip)
    save_sheet(target, joined([joined(row, axis=1) for row in rows], axis=0))
