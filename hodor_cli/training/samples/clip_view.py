"""What is done to the frames of a real clip: one flip and one crop for all of them, mild colours for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.colour import Look
from hodor_cli.training.samples.sample import DrawnFrame, TrainingSample, sample_of
from hodor_cli.training.samples.settings import AugmentSettings
from hodor_cli.training.samples.warp import Warp, between, fit_matrix, motion_matrix

_ATTEMPTS = 5
_KEPT = 0.5  # share of each object's pixels that frame 0 must still show


def make_clip_sample(
    frames: Sequence[NDArray[np.uint8]],
    labels: Sequence[NDArray[np.uint8] | None],
    num_objects: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
    *,
    name: str = "",
) -> TrainingSample:
    """A sample of real frames.

    frames: T of (h, w, 3) uint8 RGB, all of one size. labels: T of (h, w) uint8 with objects 1..num_objects, None for
    a frame without labels; frame 0 has some. The view (mirror, crop, shared zoom and turn) is the same for all frames.
    """
    first = labels[0]
    assert first is not None
    warp = _draw_view(first, num_objects, rng, settings, out_size)
    valid = warp.covers(first.shape)
    look = Look(rng, settings)
    drawn: list[DrawnFrame] = []
    for t, (image, marked) in enumerate(zip(frames, labels, strict=True)):
        moved = np.zeros(out_size, np.uint8) if marked is None else warp.apply(marked, nearest=True)
        drawn.append((look.apply(t, warp.apply(image), valid), moved, valid))
    return sample_of(drawn, num_objects, name, np.array([marked is not None for marked in labels]))


def _draw_view(
    labels: NDArray[np.uint8],
    num_objects: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    size: tuple[int, int],
) -> Warp:
    """One view for the whole clip, in which frame 0 keeps its objects."""
    height, width = size
    fit = fit_matrix(labels.shape, size)
    mirror = bool(rng.random() < settings.flip)
    centre = ((width - 1) / 2, (height - 1) / 2)
    before = np.bincount(labels.ravel(), minlength=num_objects + 1)[1:] * np.linalg.det(fit[:2, :2])
    for attempt in range(_ATTEMPTS):
        strength = 1.0 - attempt / (_ATTEMPTS - 1)
        zoom = between(rng, settings.view_scale, strength) / between(rng, settings.crop_keep, strength)
        room_x, room_y = (max(0.0, zoom - 1) * side / 2 for side in (width, height))
        motion = motion_matrix(
            centre,
            scale=zoom,
            rotation=float(rng.uniform(-1, 1)) * settings.view_rotation * strength,
            shift=(float(rng.uniform(-room_x, room_x)), float(rng.uniform(-room_y, room_y))),
            mirror=mirror,
        )
        warp = Warp(motion @ fit, size)
        after = np.bincount(warp.apply(labels, nearest=True).ravel(), minlength=num_objects + 1)[1 : num_objects + 1]
        if (after >= _KEPT * before).all():
            break
    return warp
