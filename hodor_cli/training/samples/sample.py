"""A training sample: one short sequence of frames with its masks; batches of them; and samples of a clip's frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.training.samples.augmenters import Look, Warp, between, fit_matrix, motion_matrix
from hodor_cli.training.samples.settings import AugmentSettings


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
