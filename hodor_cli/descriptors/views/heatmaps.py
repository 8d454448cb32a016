"""Heat maps of the background descriptors and the catch-all over a frame (HODOR, CVPR 2022, figures 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.config import NUM_BACKGROUND
from hodor_cli.engine import Segmenter
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.sheet import captioned, grid, joined, save_sheet, scaled
from hodor_cli.runtime.preprocess import Geometry, resize
from hodor_cli.video.frames import Frame
from hodor_cli.video.overlay import draw_overlay

PANEL = 420  # pixels of a panel's longer side
GAP = 12


@dataclass(frozen=True)
class Heatmaps:
    """One frame: its image (H, W, 3) uint8; the given mask, if any, and the predicted labels, both (H, W) uint16; and
    the probabilities of the catch-all (H, W) and the 9 background descriptors (9, H, W; row by row), float32, 0..1."""

    image: NDArray[np.uint8]
    given: NDArray[np.uint16] | None
    labels: NDArray[np.uint16]
    catch_all: NDArray[np.float32]
    background: NDArray[np.float32]


def compute_heatmaps(
    frames: Iterable[Frame],
    masks: Mapping[int, NDArray[np.uint16]],
    wanted: int,
    segmenter: Segmenter,
    *,
    progress: Callable[[int], None] | None = None,
) -> Heatmaps:
    """Segment from the first mask up to frame `wanted` and return the probabilities computed for that frame.

    masks: {frame: label map}; only the first mask of each object is used. Objects whose first mask is at `wanted` are
    encoded there, and the frame is then decoded from their descriptors. Raises InputError if the frame is missing or no
    mask is at or before it.
    """
    starts = first_masks(masks)
    first = min(starts, default=wanted + 1)
    if first > wanted:
        raise InputError(f"no mask is given at or before frame {wanted}; give one in `mask`")
    logits: list[Any] = []
    hook = segmenter.model.decoder.register_forward_hook(lambda module, inputs, output: logits.append(output))
    try:
        for frame in frames:
            if progress is not None:
                progress(frame.index)
            if frame.index < first:
                continue
            segmenter.network.whole_frames = frame.index == wanted
            segmenter.step(frame.image, starts.get(frame.index))
            if frame.index < wanted:
                logits.clear()
                continue
            if not logits:  # a step that only encodes the first masks decodes nothing; decode from these descriptors
                segmenter.step(frame.image)
            geometry = Geometry.of(*frame.image.shape[:2], min_dim=segmenter.min_dim, max_dim=segmenter.max_dim)
            with torch.inference_mode():
                shares = resize(logits[-1].float(), geometry.padded).softmax(dim=1)[:, : 1 + NUM_BACKGROUND]
                shares = resize(shares[:, :, : geometry.scaled[0], : geometry.scaled[1]], geometry.original)[0]
            values = shares.cpu().numpy()
            return Heatmaps(frame.image, masks.get(wanted), segmenter.last.labels, values[0], values[1:])
    finally:
        hook.remove()
        segmenter.network.whole_frames = False
    raise InputError(f"the video has no frame {wanted}; choose an earlier one")


def first_masks(masks: Mapping[int, NDArray[np.uint16]]) -> dict[int, NDArray[np.uint16]]:
    """The label maps reduced to the first mask of each object."""
    known: set[int] = set()
    first = {}
    for frame, labels in sorted(masks.items()):
        new = set(ids_in(labels)) - known
        if new:
            first[frame] = np.where(np.isin(labels, list(new)), labels, 0).astype(np.uint16)
            known |= new
    return first


def write_heatmaps(path: Path, found: Heatmaps, truth: NDArray[np.uint16] | None = None) -> None:
    """Write one PNG: on the left the frame with the true mask, else the given one, else none, then the prediction and
    the catch-all; on the right the 3x3 background descriptors. Heat maps are drawn over the grey frame, from black for
    0 to bright yellow for 1 or the maximum in the caption.
    """
    grey = np.repeat(found.image.mean(axis=2, keepdims=True), 3, axis=2)
    mask = found.given if truth is None else truth
    caption = "frame" if mask is None else "given mask" if truth is None else "true mask"
    panels = [
        (caption, found.image if mask is None else draw_overlay(found.image, mask)),
        ("prediction", draw_overlay(found.image, found.labels)),
        ("catch-all", _heat(grey, found.catch_all)),
    ]
    # The nine are faint next to a strong catch-all, so they share a scale of their own, shown in their captions.
    most = max(float(np.quantile(found.background, 0.999)), 0.02)
    places = [f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")]
    panels += [
        (f"background, {place} (0 to {most:.2f})", _heat(grey, probability / most))
        for place, probability in zip(places, found.background, strict=True)
    ]
    scale = PANEL / max(found.image.shape[:2])
    tiles = [captioned(scaled(picture, scale), caption, 13) for caption, picture in panels]
    save_sheet(path, joined([grid(tiles[:3], 1, GAP), grid(tiles[3:], 3, GAP)], axis=1, gap=3 * GAP))


def _heat(grey: NDArray[np.floating], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours from black through purple and orange to yellow for 0 to 1, blended with a dimmed grey image."""
    from matplotlib import colormaps

    colour = 255 * colormaps["inferno"](np.clip(values, 0, 1))[..., :3]
    return (0.78 * colour + 0.22 * grey).astype(np.uint8)
