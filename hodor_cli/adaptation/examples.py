"""What adaptation learns from, and how far the result can be trusted in the rest of the video."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.masks import reference_masks_by_id
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import ids_in
from hodor_cli.samples.sample import Masks, TrainingSample
from hodor_cli.samples.sequence import make_still_sequence
from hodor_cli.samples.settings import AugmentSettings

Rgb = NDArray[np.uint8]

#: To judge how much the objects change, every _STRIDE-th frame after an example is segmented, about _JUDGED in all.
_STRIDE, _JUDGED = 3, 30
#: The share of a budget in seconds that this may take.
_SHARE = 0.2
#: Mean change of the objects up to which adaptation is fully trusted, and from which not at all.
_LITTLE, _MUCH = 0.25, 0.55
#: The given network's mean confidence up to which the change that it sees is ignored, and from which it fully counts.
_UNSURE, _SURE = 0.84, 0.92


@dataclass(frozen=True)
class Example:
    """A frame (H, W, 3) uint8 RGB and the label map (H, W) that the user gave for it.

    following: some later frames of its video, in order, such as every third one of the next seconds.
    """

    frame: Rgb
    labels: NDArray[np.uint16]
    following: Sequence[Rgb] = ()

    @staticmethod
    def of(
        frame: Rgb,
        masks: NDArray[np.generic] | Mapping[int, NDArray[np.generic]],
        following: Sequence[Rgb] = (),
    ) -> Example:
        """An example from masks as `Segmenter.step` takes them. Raises InputError for invalid masks."""
        labels = np.zeros(frame.shape[:2], np.uint16)
        size = (frame.shape[0], frame.shape[1])
        for object_id, mask in reference_masks_by_id(masks, size=size, frame=0).items():
            labels[mask] = object_id
        return Example(frame, labels, following)

    def require_usable(self, number: int) -> None:
        """Raise InputError, naming example `number`, if there is no object or no background to learn from."""
        inside = np.count_nonzero(self.labels)
        if inside == 0:
            raise InputError(f"the mask of example {number} is empty, so there is nothing to learn; mark the object")
        if inside == self.labels.size:
            raise InputError(f"the mask of example {number} covers its frame; mark only the object, or drop `adapt`")

    def sample(
        self, rng: np.random.Generator, settings: AugmentSettings, size: tuple[int, int], *, max_objects: int
    ) -> TrainingSample:
        """An augmented sequence of frames of this size (height, width), with some of the objects.

        Background in the shape of an object passes in front of the objects and behind them. Pieces of the objects would
        teach the network that something that looks like an object may be something else, and it would not find an
        object again after losing it.
        """
        masks = [self.labels == i for i in rng.permutation(ids_in(self.labels))[:max_objects]]

        def others(rng: np.random.Generator) -> tuple[Rgb, Masks]:
            return self.frame, self._piece_of_background(masks, rng)

        return make_still_sequence(self.frame, masks, rng, settings, size, others=others)

    def _piece_of_background(self, masks: Masks, rng: np.random.Generator) -> Masks:
        """The shape of an object, moved to a place that is mostly background: one mask (H, W), or none if not found."""
        shape = masks[int(rng.integers(len(masks)))]
        rows, columns = np.nonzero(shape)
        rows, columns = rows - rows.min(), columns - columns.min()
        if rng.random() < 0.5:
            columns = columns.max() - columns
        spare = shape.shape[0] - rows.max(), shape.shape[1] - columns.max()
        for _ in range(10):
            piece = np.zeros_like(shape)
            piece[rows + int(rng.integers(spare[0])), columns + int(rng.integers(spare[1]))] = True
            piece &= self.labels == 0
            if np.count_nonzero(piece) > len(rows) / 2:
                return [piece]
        return []


def followed_after(marks: Sequence[int], end: int | None = None) -> dict[int, list[int]]:
    """The indices of the frames to read as `Example.following`, by masked frame.

    marks: indices of the masked frames, in order. end: the number of frames of the video, None if unknown. Frames are
    read up to the next mark. With more marks there are fewer for each, so that their total stays about the same.
    """
    count = max(2, math.ceil(_JUDGED / len(marks)))
    ends = [*marks[1:], math.inf if end is None else end]
    return {
        mark: [index for index in range(mark + _STRIDE, mark + _STRIDE * (count + 1), _STRIDE) if index < limit]
        for mark, limit in zip(marks, ends, strict=True)
    }


def trust_in(
    examples: Sequence[Example], segmenter: Segmenter, seconds: float | None, each: Callable[[], object]
) -> float:
    """How far (0..1) to trust what is learned from the examples in the frames after them.

    The given network follows the objects through these frames. If it is sure of objects whose descriptors have changed
    since the examples, it knows more about them than the examples show, and adaptation would make it forget that.

    segmenter: with the given network. seconds: the budget, if it is a time. each: called after every frame.
    """
    total = sum(len(example.following) for example in examples)
    if total == 0:
        return 1.0
    every = 1
    if seconds is not None:
        segmenter.step(examples[0].frame, examples[0].labels)  # not timed: the first frame is slower than others
        began = time.perf_counter()
        segmenter.step(examples[0].following[0] if examples[0].following else examples[0].frame)
        affordable = _SHARE * seconds / (time.perf_counter() - began)
        if affordable < 2:
            return 1.0
        every = math.ceil(total / affordable)
        segmenter.reset()
    confidences: list[float] = []
    changes: list[float] = []
    for example in examples:
        segmenter.step(example.frame, example.labels)
        for frame in example.following[::every]:
            segmenter.step(frame)
            for found in segmenter.last.objects.values():
                if not found.lost and found.change is not None:
                    confidences.append(found.confidence)
                    changes.append(found.change)
            each()
    if not changes:
        return 1.0
    sure = np.clip((np.mean(confidences) - _UNSURE) / (_SURE - _UNSURE), 0, 1)
    return float(np.clip((_MUCH - np.mean(changes) * sure) / (_MUCH - _LITTLE), 0, 1))
