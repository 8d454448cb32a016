"""Training crops: a square picture around an object of a photograph or a clip's frame, with augmented colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.clicks.settings import ClickTraining
from hodor_cli.datasets.coco import StillImages
from hodor_cli.errors import DataError
from hodor_cli.images.label_png import Box, box_of
from hodor_cli.samples.clip_sets import ClipFrames
from hodor_cli.samples.colour import degrade, frame_colour, shared_colour
from hodor_cli.samples.settings import AugmentSettings

#: Share of crops that show little more than one object, like a closer look; the others show most of the picture.
_CLOSE = 0.4
#: Objects with fewer pixels in the crop are left out.
_FEWEST = 60
_TRIES = 6
#: Training ends after this many unreadable pictures in a row.
_UNREADABLE = 20
#: How colours are changed.
_COLOURS = AugmentSettings(
    hue=(0.0, 0.02), contrast=(0.0, 0.1), shared_colour=0.2, grey=0.03, blur=0.08, compression=0.15
)


class Crop(NamedTuple):
    """image: (S, S, 3) uint8 RGB. masks: (K, S, S) bool, with an object repeated if the crop has fewer than K."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


class CropMaker:
    """Draws the crops that the settings describe from photographs and clips' frames.

    A group of photographs (`StillImages.groups`) is drawn in proportion to the square root of its size, so that small
    groups are used too. warn: called once with a sentence about each picture that cannot be read; another one takes its
    place.
    """

    def __init__(
        self,
        stills: Sequence[StillImages],
        clips: Sequence[ClipFrames],
        settings: ClickTraining,
        warn: Callable[[str], object] | None,
    ) -> None:
        self.side, self.objects, self._warn = settings.side, settings.objects, warn
        #: Sentences about pictures that cannot be read.
        self.unreadable: set[str] = set()
        groups = [Counter(part.groups) for part in stills]
        share = settings.frame_share
        still = (1 - share if clips else 1) / max(1, sum(n**0.5 for counts in groups for n in counts.values()))
        frame = (share if stills else 1) / max(1, sum(len(part) for part in clips))
        self._items: list[tuple[StillImages | ClipFrames, int]] = []
        weights: list[float] = []
        for part, counts in zip(stills, groups, strict=True):
            self._items += [(part, index) for index in range(len(part.groups))]
            weights += [still * counts[group] ** -0.5 for group in part.groups]
        for frames in clips:
            self._items += [(frames, index) for index in range(len(frames))]
            weights += [frame] * len(frames)
        self._ends = np.cumsum(weights) / sum(weights)

    def draw(self, rng: np.random.Generator) -> Crop:
        """A crop. Raises DataError if many pictures in a row cannot be read."""
        failed = 0
        while True:
            part, index = self._items[int(np.searchsorted(self._ends, rng.random()).clip(max=len(self._items) - 1))]
            try:
                picture, failed = part.load(index), 0
            except DataError as error:
                failed += 1
                if failed == _UNREADABLE:
                    raise
                self._warn_once(str(error))
                continue
            image, masks = picture.image, picture.masks
            for _ in range(_TRIES):
                crop = self._cut(image, masks, rng)
                if crop is not None:
                    return crop

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self.unreadable:
            self.unreadable.add(sentence)
            if self._warn is not None:
                self._warn(f"{sentence}; training continues without it")

    def _cut(
        self, image: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], rng: np.random.Generator
    ) -> Crop | None:
        target = masks[int(rng.integers(len(masks)))]
        box = box_of(target)
        if box is None:
            return None
        matrix = self._placement(box, target.shape, rng)
        size = (self.side, self.side)
        out = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT)
        others = [masks[int(i)] for i in rng.permutation(len(masks)) if masks[int(i)] is not target]
        kept: list[NDArray[np.bool_]] = []
        for mask in [target, *others][: 2 * self.objects]:
            soft = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, size, flags=cv2.INTER_LINEAR)
            if (warped := soft > 127).sum() >= _FEWEST and warped.mean() < 0.85:
                kept.append(warped)
            elif mask is target:
                return None
            if len(kept) == self.objects:
                break
        while len(kept) < self.objects:
            kept.append(kept[0])
        tint = shared_colour(rng, _COLOURS)
        out = frame_colour(rng, _COLOURS).apply(np.asarray(out, dtype=np.uint8))
        out = degrade(tint.apply(out) if tint is not None else out, rng, _COLOURS)
        return Crop(out, np.stack(kept))

    def _placement(self, box: Box, size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """The affine map, (2, 3), from a picture of this (height, width) to a crop around the box."""
        (x, y, box_width, box_height), (height, width) = box, size
        centre = np.array([2 * x + box_width, 2 * y + box_height]) / 2
        extent = max(box_width, box_height)
        if rng.random() < _CLOSE:
            scale = min(self.side / (extent * rng.uniform(1.15, 2.5)), 4.0)
            middle = centre + rng.uniform(-0.2, 0.2, 2) * extent
        else:
            # The picture is scaled to 0.9 to 1.8 times the size that just fits into the crop.
            scale = self.side / max(height, width) * np.exp(rng.uniform(-0.1, 0.6))
            view = self.side / scale
            low, high = np.minimum(view / 2, [width / 2, height / 2]), np.array([width, height])
            middle = np.clip(centre + rng.uniform(-0.4, 0.4, 2) * view, low, high - low)
        stretch = np.exp(rng.uniform(-0.12, 0.12))
        angle = np.deg2rad(rng.normal() * 7)
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = scale * turn @ np.diag([mirror * stretch, 1 / stretch])
        return np.concatenate([linear, (self.side / 2 - linear @ middle)[:, None]], axis=1)
