"""A sheet of training samples as a picture: what the network is fed, to be judged by eye."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.data.sample import TrainingSample
from hodor_cli.errors import OutputError

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


def draw_sheet(samples: Sequence[TrainingSample], *, columns: int = 2) -> NDArray[np.uint8]:
    """All samples on one white sheet, (H', W', 3) uint8 RGB."""
    strips = [draw_sample(sample) for sample in samples]
    rows = []
    for start in range(0, len(strips), columns):
        rows.append(strips[start : start + columns])
    widths = [max(row[c].shape[1] for row in rows if c < len(row)) for c in range(min(columns, len(strips)))]
    heights = [max(strip.shape[0] for strip in row) for row in rows]
    sheet = np.full((sum(heights) + _GAP * (len(rows) + 1), sum(widths) + _GAP * (len(widths) + 1), 3), 255, np.uint8)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for strip, width in zip(row, widths, strict=False):
            sheet[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
            left += width + _GAP
        top += height + _GAP
    return sheet


def write_sheet(path: str | Path, samples: Sequence[TrainingSample], *, columns: int = 2, overwrite: bool = False) -> None:
    """Write the sheet as a PNG. Raises OutputError when the file exists and `overwrite` is False, or cannot be written."""
    import cv2

    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already: choose another name or add --overwrite.")
    sheet = draw_sheet(samples, columns=columns)
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError(f"The sheet for {target} could not be encoded.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data.tobytes())
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error


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
