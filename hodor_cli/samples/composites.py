"""Samples with labelled objects pasted in from other pictures.

Few clips and photographs show several labelled objects, and a network that sees one object at a time learns to find
"the object" instead of telling objects apart. Therefore objects of other pictures are pasted into samples. An object of
another clip keeps its own motion and its true masks, in front of or behind the other objects. A mirrored and moved copy
of an object of the same picture looks like the original and counts as a different object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hodor_cli.samples.batches import draw_item, pools_of
from hodor_cli.samples.colour import frame_colour
from hodor_cli.samples.cutouts import Cutout, paste, soften
from hodor_cli.samples.geometry import LayerMotion, Warp
from hodor_cli.samples.sample import TrainingSample, areas_of, sample_of
from hodor_cli.samples.sets import PhotographSet, TrainingSet
from hodor_cli.samples.settings import AugmentSettings, BatchSettings

#: Donors to try, because some objects cannot be cut out; after that, the new object is in no frame.
_ATTEMPTS = 4
#: Donors are drawn like samples: a source of n items gives objects in proportion to n to this power.
_BALANCE = BatchSettings(balance=0.5)
#: Places to try for an object; the last one is used if none suits.
_PLACES = 6
#: Share of each object's pixels that frame 0 must still show, and share of frame 0 that the new object must cover.
_KEPT, _SEEN = 0.5, 0.0015
#: Area of the new object as a share of the frame, uniform on a logarithmic scale.
_AREA = (0.004, 0.15)
#: Its largest magnification; beyond it, the object would be blurrier than everything around it.
_LARGEST = 2.0
#: Standard deviation of its drift from frame to frame: shift as a share of the side, logarithm of the size, rotation in
#: degrees. It is smaller for a cutout that already moves.
_STILL_DRIFT, _MOVING_DRIFT = (0.05, 0.05, 5.0), (0.015, 0.015, 1.0)


class Composites(TrainingSet):
    """The samples of a base set, each with up to `settings.pasted` additional labelled objects.

    donors: the sets that the objects come from, in proportion to `weights`. The number of objects added to an item is
    fixed, so that batches can be planned; the objects themselves are drawn for each sample.
    """

    def __init__(
        self, base: PhotographSet, donors: Sequence[PhotographSet], settings: AugmentSettings, weights: Sequence[float]
    ) -> None:
        self.base, self.settings, self.donors = base, settings, list(donors)
        self._pools = [pools_of(donor, _BALANCE, number) for number, donor in enumerate(donors)]
        self._shares = np.array(weights) / sum(weights)
        self.sizes, self.groups = base.sizes, base.groups
        # Numbers from 0 to `pasted`, equally frequent, also among neighbouring items.
        more = [(index * 7919) % 1009 % (settings.pasted + 1) for index in range(len(base))]
        self.object_counts = [own + added for own, added in zip(base.object_counts, more, strict=True)]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sample of the base set, with objects added until it has `num_objects`."""
        sample = self.base.make(index, min(num_objects, self.base.object_counts[index]), rng, out_size)
        while sample.num_objects < num_objects:
            tries = (self._draw_cutout(index, len(sample.frames), rng) for _ in range(_ATTEMPTS))
            cutout = next((found for found in tries if found is not None), None)
            sample = add_object(sample, cutout, rng, self.settings)
        return sample

    def _draw_cutout(self, index: int, frames: int, rng: np.random.Generator) -> Cutout | None:
        """An object of item `index` or its clip, or of a donor's item; None if it cannot be cut out."""
        if rng.random() < self.settings.pasted_twin:
            return self.base.cut_out(self.base.twin_of(index, rng), frames, rng)
        number, item = draw_item(self._pools[int(rng.choice(len(self._pools), p=self._shares))], rng)
        return self.donors[number].cut_out(item, frames, rng)


def add_object(
    sample: TrainingSample, cutout: Cutout | None, rng: np.random.Generator, settings: AugmentSettings
) -> TrainingSample:
    """The sample with one more labelled object, the last; if `cutout` is None, the object is in no frame.

    Frame 0 shows it and keeps at least half of every other object, unless there is no room. The object is also pasted
    into frames without labels, which stay unlabelled.
    """
    masks, frames = sample.masks.copy(), sample.frames.copy()
    number = sample.num_objects + 1
    if cutout is not None:
        colour = frame_colour(rng, settings)
        warps, behind = _place(sample, cutout, rng)
        for t, warp in enumerate(warps):
            alpha = _alpha(sample, cutout, t, warp, behind)
            paste(frames[t], warp.apply(colour.apply(cutout.images[t]), mirrored=True), alpha)
            if sample.labelled[t]:
                masks[t][alpha > 127] = number
    return sample_of(list(zip(frames, masks, sample.valid, strict=True)), number, sample.name, sample.labelled)


def _place(sample: TrainingSample, cutout: Cutout, rng: np.random.Generator) -> tuple[list[Warp], bool]:
    """The warps from the cut-out to each frame, at a place that suits frame 0 (or the last one tried), and whether the
    object is behind the others."""
    labels, (middle_x, middle_y) = sample.masks[0], cutout.centre
    height, width = labels.shape
    before = areas_of(labels, sample.num_objects)
    for _ in range(_PLACES):
        behind = bool(rng.random() < 0.5)
        area = float(np.exp(rng.uniform(*np.log(_AREA)))) * height * width
        zoom = np.log(min(np.sqrt(area / max(cutout.area, 1)), _LARGEST))
        x, y = rng.uniform(0.08, 0.92) * width, rng.uniform(0.1, 0.9) * height
        mirror = bool(rng.random() < 0.5)
        start = np.array([zoom, rng.normal(0, 5), 0, 0, x - middle_x, y - middle_y])
        shift, growth, turn = _MOVING_DRIFT if cutout.moving else _STILL_DRIFT
        step = rng.normal(0, shift) * width, rng.normal(0, shift) * height
        drift = np.array([rng.normal(0, growth), rng.normal(0, turn), 0, 0, *step])
        motions = [LayerMotion(start + t * drift) for t in range(len(sample.frames))]
        warps = [Warp(motion.matrix(cutout.centre, mirror=mirror), labels.shape) for motion in motions]
        new = _alpha(sample, cutout, 0, warps[0], behind) > 127
        after = areas_of(labels[~new], sample.num_objects)
        if np.count_nonzero(new) >= _SEEN * new.size and (after >= _KEPT * before).all():
            break
    return warps, behind


def _alpha(sample: TrainingSample, cutout: Cutout, t: int, warp: Warp, behind: bool) -> NDArray[np.uint8]:
    """How opaque (0..255) the object is at each pixel of frame t."""
    alpha = warp.apply(cutout.alphas[t])
    if behind and sample.labelled[t]:
        before = soften((sample.masks[t] > 0).astype(np.uint8) * 255)
        alpha = (alpha.astype(np.uint16) * (255 - before) // 255).astype(np.uint8)
    return np.where(sample.valid[t], alpha, 0).astype(np.uint8)
