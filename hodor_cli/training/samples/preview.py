"""A sheet of training samples as a picture: what the network is fed, to be judged by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import replacing, writing_file
from hodor_cli.training.samples.sample import TrainingSample

_COLOURS = np.array(
    [[255, 64, 64], [64, 220, 64], [80, 140, 255], [255, 200, 0], [255, 80, 255], [0, 220, 220]], dtype=np.uint8
)
_GAP = 6
_CAPTION = 16


def draw_sample(sample: TrainingSample) -> NDArray[np.uint8]:
    """The frames of a sample side by side, (H', W', 3) uint8 RGB: masks as outlines, invalid pixels hatched."""
    tiles = [_draw_frame(sample, t) for t in range(len(sample.frames))]
    gap = np.full((tiles[0].shape[0], 2, 3), 255, dtype=np.uint8)
    row: list[NDArray[np.uint8]] = []
    for tile in tiles:
        row += [tile, gap]
    return _caption(np.concatenate(row[:-1], axis=1), sample)


def draw_sheet(samples: Sequence[TrainingSample], *, max_width: int = 1800) -> NDArray[np.uint8]:
    """All samples on one white sheet, (H', W', 3) uint8 RGB, in rows of at most `max_width` pixels if they fit."""
    rows: list[list[NDArray[np.uint8]]] = [[]]
    used = _GAP
    for strip in map(draw_sample, samples):
        if rows[-1] and used + strip.shape[1] + _GAP > max_width:
            rows.append([])
            used = _GAP
        rows[-1].append(strip)
        used += strip.shape[1] + _GAP
    heights = [max(strip.shape[0] for strip in row) + _GAP for row in rows]
    widths = [sum(strip.shape[1] + _GAP for strip in row) for row in rows]
    sheet = np.full((sum(heights) + _GAP, max(widths) + _GAP, 3), 255, dtype=np.uint8)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for strip in row:
            sheet[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
            left += strip.shape[1] + _GAP
        top += height
    return sheet


def preview_samples(
    path: str | Path,
    *,
    annotations: str | Path | None = None,
    count: int = 16,
    preset: str = "mini",
    mode: str = "dense",
    area: float = 65536.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[TrainingSample]:
    """`count` samples of a data set, as training with this augmentation preset would draw them.

    path: a COCO-format folder (or the images of `annotations`), or clips, then used as `mode` says.
    area: pixels of a frame. Raises DataError when the set cannot be read, UsageError for an unknown preset or mode.
    """
    from hodor_cli.datasets.coco import StillImages
    from hodor_cli.datasets.opening import open_set
    from hodor_cli.training.samples.clip_training import clip_training
    from hodor_cli.training.samples.samplers import BatchPlanner, BatchSettings, TrainingSet
    from hodor_cli.training.samples.settings import augment_preset
    from hodor_cli.training.samples.stills_training import StillTraining

    settings = augment_preset(preset)
    dataset: TrainingSet
    found = open_set(path, annotations)
    if isinstance(found, StillImages):
        dataset = StillTraining(found, settings)
    else:
        dataset = clip_training(mode, found, settings)
    planner = BatchPlanner([dataset], BatchSettings(batch_size=1, area=area, exact=False, balance=0.5), seed=seed)
    samples = []
    for number in range(count):
        plan = planner.plan(number)
        samples.append(planner.sample(plan.samples[0], plan.num_objects))
        if progress is not None:
            progress(number + 1, count)
    return samples


def require_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise OutputError when the file exists already (unless `overwrite`), has no folder, or is not named as a PNG."""
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise OutputError(f"The sheet is a PNG, which {target} is not: let its name end in .png.")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already: choose another name or add --overwrite.")
    if not target.parent.is_dir():
        raise OutputError(f"There is no folder {target.parent} to write {target.name} to.")


def write_sheet(path: str | Path, samples: Sequence[TrainingSample], *, overwrite: bool = False) -> None:
    """Write the sheet as a PNG. Raises OutputError when the file exists (unless `overwrite`) or cannot be written."""
    import cv2

    target = Path(path)
    require_free(target, overwrite=overwrite)
    sheet = draw_sheet(samples)
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError(f"The sheet for {target} could not be encoded.")
    with writing_file(target, "choose another name"), replacing(target) as temporary:
        temporary.write_bytes(data.tobytes())


def _draw_frame(sample: TrainingSample, t: int) -> NDArray[np.uint8]:
    import cv2

    frame = sample.frames[t].copy()
    hidden = ~sample.valid[t]
    rows, columns = np.indices(hidden.shape)
    frame[hidden] = 40
    frame[hidden & ((rows + columns) % 8 == 0)] = 110
    for number in range(1, sample.num_objects + 1):
        mask = (sample.masks[t] == number).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        colour = tuple(int(c) for c in _COLOURS[(number - 1) % len(_COLOURS)])
        cv2.drawContours(frame, outlines, -1, colour, 1)
    return frame


def _caption(strip: NDArray[np.uint8], sample: TrainingSample) -> NDArray[np.uint8]:
    import cv2

    missing = [
        f"frame {t}: no {number + 1}"
        for t in range(len(sample.frames))
        for number in range(sample.num_objects)
        if not sample.presence[t, number]
    ]
    unlabelled = [f"frame {t}: no labels" for t in range(len(sample.frames)) if not sample.labelled[t]]
    text = ", ".join([f"{sample.name} ({sample.num_objects})", *missing, *unlabelled])
    band = np.full((_CAPTION, strip.shape[1], 3), 255, dtype=np.uint8)
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(band, plain, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, strip])
