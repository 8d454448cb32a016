"""Objects cut out of their pictures, to be moved or pasted into other samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.images.label_png import box_of, window_of


class Cutout(NamedTuple):
    """An object in T frames: images (h, w, 3) uint8 RGB and soft masks (h, w) uint8 0..255, all of the same size.

    moving: whether the frames show its motion; otherwise they all repeat one photograph.
    """

    images: list[NDArray[np.uint8]]
    alphas: list[NDArray[np.uint8]]
    moving: bool

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle of its box in frame 0."""
        x, y, width, height = box_of(self.alphas[0]) or (0, 0, 1, 1)
        return x + (width - 1) / 2, y + (height - 1) / 2

    @property
    def area(self) -> int:
        """Its number of pixels in frame 0."""
        return int(np.count_nonzero(self.alphas[0] > 127))


def cutout_of(images: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]], *, moving: bool) -> Cutout | None:
    """The object of T masks, cropped to a box that covers it in all frames; None if frame 0 does not show it."""
    box = box_of(np.logical_or.reduce(masks))
    if box is None or not masks[0].any():
        return None
    # A margin of two pixels, so that the mask fades to 0 inside the crop.
    x, y, width, height = box
    window = (slice(max(0, y - 2), y + height + 2), slice(max(0, x - 2), x + width + 2))
    alphas = [soften(mask[window].astype(np.uint8) * 255) for mask in masks]
    return Cutout([np.ascontiguousarray(image[window]) for image in images], alphas, moving)


def still_cutout(image: NDArray[np.uint8], mask: NDArray[np.bool_], frames: int) -> Cutout | None:
    """The object of one photograph, repeated for `frames` frames."""
    cutout = cutout_of([image], [mask], moving=False)
    return cutout and Cutout(cutout.images * frames, cutout.alphas * frames, moving=False)


def soften(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (0..255) with an edge one pixel wide, so that pasting leaves no staircase."""
    return np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0), dtype=np.uint8)


def paste(canvas: NDArray[np.uint8], image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    """Blend `image` into `canvas` (both (H, W, 3)) in place, with opacity `alpha` (H, W) 0..255."""
    box = box_of(alpha)
    if box is None:
        return
    window = window_of(box)
    weight = alpha[window].astype(np.uint16)[..., None]
    mixed = canvas[window] * (255 - weight) + image[window] * weight
    canvas[window] = ((mixed + 127) // 255).astype(np.uint8)


def fill_hole(image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photograph (H, W, 3) with the hole (H, W) filled smoothly from its surroundings, from coarse to fine."""
    if not hole.any():
        return image
    wide = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8))
    known = (1 - wide).astype(np.float32)
    levels: list[tuple[Any, Any]] = []
    colour: Any = image.astype(np.float32) * known[..., None]
    weight: Any = known
    while min(weight.shape) > 2 and float(weight.min()) <= 0:
        levels.append((colour, weight))
        half = (max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2))
        colour = cv2.resize(colour, half, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    filled = colour / np.maximum(weight, 1e-3)[..., None]
    for colour, weight in reversed(levels):
        height, width = weight.shape
        rough = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
        share = np.minimum(weight, 1.0)[..., None]
        filled = colour + rough * (1 - share)
    out = image.copy()
    blurred = np.clip(filled, 0, 255).astype(np.uint8)
    out[wide > 0] = blurred[wide > 0]
    return out
