"""An object as it was filmed, or photographed, cut out so that it can be put into another sequence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.layers import soften


class Filmed(NamedTuple):
    """An object over T frames: images (h, w, 3) uint8 RGB and soft masks (h, w) of 0..255, all of one size.

    moving: the frames show its own motion; otherwise all are the same photograph.
    """

    images: list[NDArray[np.uint8]]
    alphas: list[NDArray[np.uint8]]
    moving: bool

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle of its box in frame 0."""
        x0, y0, x1, y1 = _box(self.alphas[0])
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def area(self) -> int:
        """Pixels of it in frame 0."""
        return int(np.count_nonzero(self.alphas[0] > 127))


def cut_filmed(images: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]], *, moving: bool) -> Filmed | None:
    """The object in T masks, cropped to where it is in any frame; None if frame 0 does not show it."""
    if not masks[0].any():
        return None
    x0, y0, x1, y1 = _box(np.logical_or.reduce(masks).astype(np.uint8) * 255)
    # Two pixels around, so that the mask fades to nothing inside the crop.
    window = (slice(max(0, y0 - 2), y1 + 3), slice(max(0, x0 - 2), x1 + 3))
    alphas = [soften(mask[window].astype(np.uint8) * 255) for mask in masks]
    return Filmed([np.ascontiguousarray(image[window]) for image in images], alphas, moving)


def still_filmed(image: NDArray[np.uint8], mask: NDArray[np.bool_], frames: int) -> Filmed | None:
    """The object of one photograph as if filmed for so many frames."""
    filmed = cut_filmed([image], [mask], moving=False)
    return filmed and Filmed(filmed.images * frames, filmed.alphas * frames, moving=False)


def _box(alpha: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """First column and row, last column and row."""
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
