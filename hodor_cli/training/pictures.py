"""Sheets to judge by eye: the samples that a network is fed, and what it makes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch.nn.functional as F
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import ELSEWHERE, new_file, writing_file
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Prediction
from hodor_cli.training.losses import merge_background
from hodor_cli.training.options import ClipOptions, DataSource
from hodor_cli.training.run_folder import DISK
from hodor_cli.training.samples.batches import BatchPlanner
from hodor_cli.training.samples.sample import Batch, TrainingSample
from hodor_cli.training.samples.settings import BatchSettings, augment_preset
from hodor_cli.training.sources import build_sets
from hodor_cli.video.overlay import draw_overlay

_CAPTION = 16  # height of a line of text
_GAP = 4
_WIDTH = 1800  # of a sheet of samples, where they allow it
_HEIGHT, _ROWS = 144, 4  # of a predicted picture, and of a sheet of predictions, at most

Picture = NDArray[np.uint8]


def preview_samples(
    source: str | Path | DataSource,
    count: int = 16,
    *,
    preset: str = "mini",
    mode: str = "dense",
    area: float = 65536.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[TrainingSample]:
    """Samples of a data set, as training with this augmentation preset would draw them.

    source: a COCO-format folder, or clips, which are used as `mode` says. area: pixels of a frame. progress: called
    with the number of samples made. Raises DataError when the set cannot be read, UsageError for an unknown preset or
    mode.
    """
    source = source if isinstance(source, DataSource) else DataSource(Path(source))
    batches = BatchSettings(area=area, exact=False, balance=0.5)
    config = TrainConfig(batch_size=1, batches=batches, augment=augment_preset(preset), held_out=0)
    sets, _ = build_sets([source], config, ClipOptions(mode))  # type: ignore[arg-type]  # checked there
    planner = BatchPlanner(sets, config.batches, seed=seed)
    samples = []
    for number in range(count):
        plan = planner.plan(number)
        samples.append(planner.sample(plan.samples[0], plan.num_objects))
        if progress is not None:
            progress(number + 1)
    return samples


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
    return _captioned(_joined(frames, axis=1, gap=2), text)


def require_new_sheet(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise OutputError when the file exists already (unless `overwrite`), has no folder, or is not named as a PNG."""
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise OutputError(f"the sheet is a PNG, which {target} is not; let its name end in .png")
    if target.exists() and not (overwrite and target.is_file()):
        way_out = "choose another name" + (" or add `overwrite`" if target.is_file() else "")
        raise OutputError(f"{target} exists already; {way_out}")
    if not target.parent.is_dir():
        raise OutputError(f"there is no folder {target.parent} to write {target.name} to")


def write_sheet(path: str | Path, samples: Sequence[TrainingSample], *, overwrite: bool = False) -> None:
    """Write all samples on one PNG, in rows of at most 1800 pixels if they fit.

    Raises OutputError when the file exists (unless `overwrite`) or cannot be written.
    """
    require_new_sheet(path, overwrite=overwrite)
    rows: list[list[Picture]] = [[]]
    for strip in map(draw_sample, samples):
        if rows[-1] and sum(other.shape[1] + _GAP for other in rows[-1]) + strip.shape[1] > _WIDTH:
            rows.append([])
        rows[-1].append(strip)
    _write_png(Path(path), _joined([_joined(row, axis=1) for row in rows], axis=0), ELSEWHERE)


def write_predictions(path: Path, batch: Batch, predictions: list[Prediction]) -> None:
    """Write a PNG with a row per sample (at most 4), per prediction the truth, if known, and what came out.

    path: in a folder that is made. batch: as the loader gives it. predictions: of its first samples, in the order of
    the cycle. Raises OutputError.
    """
    import cv2

    size = tuple(batch["frames"].shape[2:4])
    scale = min(1.0, _HEIGHT / size[0])
    rows: list[list[Picture]] = [[] for _ in batch["names"][:_ROWS]]
    for prediction in predictions:
        merged = merge_background(prediction.logits[:_ROWS].float())
        upsampled = F.interpolate(merged, size=size, mode="bilinear", align_corners=False)
        for row, labels in enumerate(upsampled.argmax(dim=1).cpu().numpy().astype(np.uint16)):
            frame = batch["frames"][row, prediction.frame].numpy()
            target = prediction.target[row].cpu().numpy().astype(np.uint16)
            known = bool(batch["labelled"][row, prediction.frame])
            both = np.concatenate(
                [draw_overlay(frame, target) if known else frame, draw_overlay(frame, labels)], axis=1
            )
            small = (round(both.shape[1] * scale), round(both.shape[0] * scale))
            both = np.asarray(cv2.resize(both, small, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            caption = f"frame {prediction.frame}: {'truth' if known else 'no labels'}, prediction"
            rows[row].append(_captioned(both, caption))
    named = zip(rows, batch["names"], strict=False)
    strips = [_captioned(_joined(groups, axis=1), name) for groups, name in named if groups]
    with writing_file(path.parent, DISK):
        path.parent.mkdir(exist_ok=True)
    _write_png(path, _joined(strips, axis=0), DISK)


def _captioned(picture: Picture, text: str) -> Picture:
    import cv2

    band = np.full((_CAPTION, picture.shape[1], 3), 255, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(band, plain, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, picture])


def _joined(pictures: Sequence[Picture], *, axis: int, gap: int = _GAP) -> Picture:
    """Pictures in a row (axis 1) or a column (0) on white, with gaps between."""
    across = 1 - axis
    longest = max(picture.shape[across] for picture in pictures)
    parts: list[Picture] = []
    for place, picture in enumerate(pictures):
        padding = [(0, 0), (0, 0), (0, 0)]
        padding[across] = (0, longest - picture.shape[across])
        padding[axis] = (gap if place else 0, 0)
        parts.append(np.pad(picture, padding, constant_values=255))
    return np.concatenate(parts, axis=axis)


def _write_png(path: Path, picture: Picture, way_out: str) -> None:
    with new_file(path, way_out) as temporary:
        PIL.Image.fromarray(picture).save(temporary, format="PNG", compress_level=3)
