"""Draws a frame with a grid of coordinates and the masks that a run would start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.run.inputs import RunInputs
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.overlay import draw_overlay

#: The most lines along the longer side, and the possible distances of lines, in pixels.
_LINES = 12
_STEPS = (10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000)
_LINE_SHARE = 0.35


def frame_to_show(source: FrameSource, inputs: RunInputs, index: int | None = None) -> Frame:
    """Frame `index`; if None, the first frame with inputs, or else the first frame. Raises InputError if the frame is
    missing or the inputs do not fit the source."""
    if inputs.starts:
        inputs.check(source)
    index = min(inputs.starts, default=source.start) if index is None else index
    for frame in source.between(index, index + 1):
        return frame
    raise InputError(f"{source.label} has no frame {index}; frames count from 0")


def object_areas(labels: NDArray[np.uint16] | None) -> list[tuple[int, int]]:
    """(object id, pixels) of each object of a label map."""
    if labels is None:
        return []
    ids, areas = np.unique(labels[labels != 0], return_counts=True)
    return [(int(key), int(area)) for key, area in zip(ids, areas, strict=True)]


def draw_look(image: NDArray[np.uint8], labels: NDArray[np.uint16] | None = None) -> NDArray[np.uint8]:
    """The picture (H, W, 3) RGB with its objects drawn over it, and a grid labelled with pixel coordinates."""
    import cv2

    drawn = image.copy() if labels is None else draw_overlay(image, labels, ids=True)
    height, width = drawn.shape[:2]
    step = grid_step(max(height, width))
    grid = drawn.copy()
    for x in range(step, width, step):
        cv2.line(grid, (x, 0), (x, height - 1), _shade(drawn[:, x]), 1)
    for y in range(step, height, step):
        cv2.line(grid, (0, y), (width - 1, y), _shade(drawn[y]), 1)
    drawn = np.asarray(cv2.addWeighted(grid, _LINE_SHARE, drawn, 1 - _LINE_SHARE, 0), dtype=np.uint8)
    scale = max(0.3, min(height, width) / 1100)
    for x in range(step, width, step):
        _write(drawn, str(x), (x + 2, round(16 * scale) + 4), scale)
    for y in range(step, height, step):
        _write(drawn, str(y), (2, y - 3), scale)
    return drawn


def grid_step(side: int) -> int:
    """The distance of the grid's lines, in pixels, for a picture whose longer side is `side`."""
    return next((step for step in _STEPS if side / step <= _LINES), _STEPS[-1])


def _shade(pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
    """White on dark pixels, black on bright ones."""
    return (255, 255, 255) if pixels.mean() < 128 else (0, 0, 0)


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int], scale: float) -> None:
    """White digits with a black edge, in place."""
    import cv2

    stroke = max(1, round(scale * 1.6))
    for colour, wide in (((0, 0, 0), stroke + 2), ((255, 255, 255), stroke)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, wide, cv2.LINE_AA)
