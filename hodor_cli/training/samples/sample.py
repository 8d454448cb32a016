"""A training sample: one short sequence of frames with its masks; batches of them; samples of a clip's frames; and
objects cut out of their pictures, which are moved or put into other samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.images.label_png import box_of, window_of
from hodor_cli.training.samples.augmenters import Look, Warp, between, fit_matrix, motion_matrix
from hodor_cli.training.samples.settings import AugmentSettings

Masks = list[NDArray[np.bool_]]
Others = Callable[[np.random.Generator], "tuple[NDArray[np.uint8], Masks]"]
"""Draws another photograph, (h, w, 3) uint8 RGB, and its masks, for backgrounds, occluders and distractors."""


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
    """The object of one photograph as if filmed for so many frames."""
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


@dataclass(frozen=True)
class TrainingSample:
    """A short sequence (T frames, I objects) made from one photograph or taken from one clip.

    frames: (T, H, W, 3) uint8 RGB.
    masks: (T, H, W) uint8, 0 is background and 1..I the objects.
    valid: (T, H, W) bool, False where the pixel comes from outside the image (or is padding): training zeroes it after
        normalisation and counts it as background.
    presence: (T, I) bool, whether the object is in the frame. All True for frames without labels.
    name: which image or clip this was, for messages.
    labelled: (T,) bool, False where `masks` is unknown (and all 0), as in `sparse` finetuning.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    presence: NDArray[np.bool_]
    name: str
    labelled: NDArray[np.bool_]

    @property
    def num_objects(self) -> int:
        """I, the number of objects."""
        return int(self.presence.shape[1])


Batch = dict[str, Any]
#: What a maker draws: image (H, W, 3) uint8 RGB, label map (H, W) uint8, and which pixels are the image's (H, W) bool.
DrawnFrame = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]


def sample_of(
    drawn: Iterable[DrawnFrame],
    num_objects: int,
    name: str,
    labelled: NDArray[np.bool_] | None = None,
    look: Look | None = None,
) -> TrainingSample:
    """The sample of frames as they are drawn, then changed by a look. labelled: (T,) bool, None for all."""
    done = [
        (frame if look is None else look.apply(t, frame, valid), labels, valid)
        for t, (frame, labels, valid) in enumerate(drawn)
    ]
    frames, masks, valid = (np.stack(part) for part in zip(*done, strict=True))
    labelled = np.ones(len(done), dtype=bool) if labelled is None else labelled
    counts = np.stack([np.bincount(labels.ravel(), minlength=num_objects + 1)[1:] for labels in masks])
    return TrainingSample(frames, masks, valid, (counts > 0) | ~labelled[:, None], name, labelled)


def collate(samples: Sequence[TrainingSample], pad_size: tuple[int, int] | None = None) -> Batch:
    """Stack samples with the same numbers of frames T and objects I, padded right and bottom to `pad_size`.

    frames (B, T, H, W, 3) uint8, masks (B, T, H, W) uint8, valid (B, T, H, W) bool (False in the padding),
    presence (B, T, I) bool, labelled (B, T) bool, names: list of str.
    """
    height, width = pad_size or tuple(max(sample.masks.shape[axis] for sample in samples) for axis in (1, 2))
    batch: Batch = {"names": [sample.name for sample in samples]}
    for name in ("frames", "masks", "valid"):
        parts = [getattr(sample, name) for sample in samples]
        padded = np.zeros((len(parts), len(parts[0]), height, width, *parts[0].shape[3:]), dtype=parts[0].dtype)
        for i, part in enumerate(parts):
            padded[i, :, : part.shape[1], : part.shape[2]] = part
        batch[name] = torch.from_numpy(padded)
    for name in ("presence", "labelled"):
        batch[name] = torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
    return batch


def labels_of_masks(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """One (H, W) uint8 label map of the masks, 1.. in their order; where two overlap, the smaller one lies on top."""
    labels = np.zeros(masks[0].shape, dtype=np.uint8)
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    for index in sorted(range(len(masks)), key=lambda i: -areas[i]):
        labels[masks[index]] = index + 1
    return labels


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
    first, (height, width) = labels[0], out_size
    assert first is not None
    fit = fit_matrix(first.shape, out_size)
    mirror = bool(rng.random() < settings.flip)
    before = np.bincount(first.ravel(), minlength=num_objects + 1)[1:] * np.linalg.det(fit[:2, :2])
    for attempt in range(_ATTEMPTS):  # until frame 0 keeps its objects
        strength = 1.0 - attempt / (_ATTEMPTS - 1)
        zoom = between(rng, settings.view_scale, strength) / between(rng, settings.crop_keep, strength)
        room_x, room_y = (max(0.0, zoom - 1) * side / 2 for side in (width, height))
        turn = float(rng.uniform(-1, 1)) * settings.view_rotation * strength
        shift = float(rng.uniform(-room_x, room_x)), float(rng.uniform(-room_y, room_y))
        middle = (width - 1) / 2, (height - 1) / 2
        warp = Warp(motion_matrix(middle, scale=zoom, rotation=turn, shift=shift, mirror=mirror) @ fit, out_size)
        after = np.bincount(warp.apply(first, nearest=True).ravel(), minlength=num_objects + 1)[1 : num_objects + 1]
        if (after >= _KEPT * before).all():
            break
    valid = warp.covers(first.shape)
    nothing = np.zeros(out_size, np.uint8)
    drawn = (
        (warp.apply(image), nothing if marked is None else warp.apply(marked, nearest=True), valid)
        for image, marked in zip(frames, labels, strict=True)
    )
    labelled = np.array([marked is not None for marked in labels])
    return sample_of(drawn, num_objects, name, labelled, Look(rng, settings))
