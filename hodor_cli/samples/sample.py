"""Training samples, which are short sequences of frames with masks, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.samples.colour import Look

Masks = list[NDArray[np.bool_]]
#: Draws another photograph, (h, w, 3) uint8 RGB, and its masks, for backgrounds, occluders and distractors.
Others = Callable[[np.random.Generator], tuple[NDArray[np.uint8], Masks]]


@dataclass(frozen=True)
class TrainingSample:
    """A short sequence (T frames, I objects) made from one photograph or taken from one clip.

    frames: (T, H, W, 3) uint8 RGB.
    masks: (T, H, W) uint8, 0 is background and 1..I the objects.
    valid: (T, H, W) bool, False where the pixel comes from outside the image (or is padding): training zeroes it after
        normalisation and counts it as background.
    presence: (T, I) bool, whether the object is in the frame. All True for frames without labels.
    name: the image or clip, for messages.
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
#: A drawn frame: image (H, W, 3) uint8 RGB, label map (H, W) uint8, and which pixels come from the photograph (H, W).
DrawnFrame = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]


def sample_of(
    drawn: Iterable[DrawnFrame],
    num_objects: int,
    name: str,
    labelled: NDArray[np.bool_] | None = None,
    look: Look | None = None,
) -> TrainingSample:
    """The sample of these frames, with the colours of `look`. labelled: (T,) bool, None if all frames are."""
    done = [
        (frame if look is None else look.apply(t, frame, valid), labels, valid)
        for t, (frame, labels, valid) in enumerate(drawn)
    ]
    frames, masks, valid = (np.stack(part) for part in zip(*done, strict=True))
    labelled = np.ones(len(done), dtype=bool) if labelled is None else labelled
    counts = np.stack([areas_of(labels, num_objects) for labels in masks])
    return TrainingSample(frames, masks, valid, (counts > 0) | ~labelled[:, None], name, labelled)


def collate(samples: Sequence[TrainingSample], pad_size: tuple[int, int]) -> Batch:
    """Stack samples of T frames and I objects each, padded right and bottom to `pad_size` (H, W).

    frames (B, T, H, W, 3) uint8, masks (B, T, H, W) uint8, valid (B, T, H, W) bool (False in the padding),
    presence (B, T, I) bool, labelled (B, T) bool, names: list of str.
    """
    batch: Batch = {"names": [sample.name for sample in samples]}
    for name in ("frames", "masks", "valid"):
        parts = [getattr(sample, name) for sample in samples]
        padded = np.zeros((len(parts), len(parts[0]), *pad_size, *parts[0].shape[3:]), dtype=parts[0].dtype)
        for i, part in enumerate(parts):
            padded[i, :, : part.shape[1], : part.shape[2]] = part
        batch[name] = torch.from_numpy(padded)
    for name in ("presence", "labelled"):
        batch[name] = torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
    return batch


def areas_of(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """The number of pixels of each object 1..count in a label map, (count,)."""
    return np.bincount(labels.ravel(), minlength=count + 1)[1:]


def labels_of_masks(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """One (H, W) uint8 label map of the masks, numbered from 1; where two overlap, the smaller one is on top."""
    labels = np.zeros(masks[0].shape, dtype=np.uint8)
    for index in sorted(range(len(masks)), key=lambda i: -np.count_nonzero(masks[i])):
        labels[masks[index]] = index + 1
    return labels
