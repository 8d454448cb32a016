"""Objects cut out of their pictures, to be moved or put into other samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hodor_cli.images.label_png import box_of, window_of


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
        x, y, width, height = box_of(self.alphas[0]) or (0, 0, 1, 1)
        return x + (width - 1) / 2, y + (height - 1) / 2

    @property
    def area(self) -> int:
        """Pixels of it in frame 0."""
        return int(np.count_nonzero(self.alphas[0] > 127))


def cut_filmed(images: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]], *, moving: bool) -> Filmed | None:
    """The object in T masks, cropped to where it is in any frame; None if frame 0 does not show it."""
    box = box_of(np.logical_or.reduce(masks))
    if box is None or not masks[0].any():
        return None
    # Two pixels around, so that the mask fades to nothing inside the crop.
    x, y, width, height = box
    window = (slice(max(0, y - 2), y + height + 2), slice(max(0, x - 2), x + width + 2))
    alphas = [soften(mask[window].astype(np.uint8) * 255) for mask in masks]
    return Filmed([np.ascontiguousarray(image[window]) for image in images], alphas, moving)


def still_filmed(image: NDArray[np.uint8], mask: NDArray[np.bool_], frames: int) -> Filmed | None:
    """The object of one photograph, repeated for `frames` frames."""
    filmed = cut_filmed([image], [mask], moving=False)
    return filmed and Filmed(filmed.images * frames, filmed.alphas * frames, moving=False)


def soften(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (0..255) with an edge one pixel wide, so that pasting leaves no staircase."""
    import cv2

    return np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0), dtype=np.uint8)


def paste(canvas: NDArray[np.uint8], image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    """Put `image` over `canvas` (both (H, W, 3)) in place, as opaque as `alpha` (H, W) says."""
    box = box_of(alpha)
    if box is None:
        return
    window = window_of(box)
    weight = alpha[window].astype(np.uint16)[..., None]
    mixed = canvas[window] * (255 - weight) + image[window] * weight
    canvas[window] = ((mixed + 127) // 255).astype(np.uint8)


def fill_hole(image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photograph with the hole filled from its surroundings, coarse to fine; cheap, smooth and good enough."""
    import cv2

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
