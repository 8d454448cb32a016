"""Samples with labelled objects from elsewhere.

Few clips and photographs show several labelled objects, and a network that sees one object at a time learns to find
"the object", not to tell objects apart. So objects filmed or photographed elsewhere are put into samples. An object
cut out of another clip moves as it was filmed, before or behind the other objects, with its true mask. A mirrored and
moved copy of an object of the same picture looks like the first and counts as a different object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hodor_cli.samples.batches import draw_item, pools_of
from hodor_cli.samples.colour import frame_colour
from hodor_cli.samples.cutouts import Filmed, paste, soften
from hodor_cli.samples.geometry import LayerMotion, Warp
from hodor_cli.samples.sample import TrainingSample, areas_of, sample_of
from hodor_cli.samples.sets import PhotographSet, TrainingSet
from hodor_cli.samples.settings import AugmentSettings, BatchSettings

#: Donors that are tried, because some objects cannot be cut out; then the sample stays without one more.
_ATTEMPTS = 4
#: As in sampling: a group of n items gives objects in proportion to n to this power.
_BALANCE = BatchSettings(balance=0.5)
#: Places that are tried for an object; the last one is taken if none suits.
_PLACES = 6
#: Share of each object's pixels that frame 0 must still show, and of the frame that the new one must show there.
_KEPT, _SEEN = 0.5, 0.0015
#: Area of the new object, as a share of the frame's, evenly on the logarithmic scale.
_AREA = (0.004, 0.15)
#: Its largest magnification: what is enlarged more is blurred more than anything around it.
_LARGEST = 2.0
#: Deviation of its own drift from frame to frame: of the side, of the logarithm of its size, degrees. A filmed object
#: already moves.
_STILL_DRIFT, _FILMED_DRIFT = (0.05, 0.05, 5.0), (0.015, 0.015, 1.0)


class Composites(TrainingSet):
    """The samples of another set, each with up to `settings.pasted` labelled objects more.

    donors: the sets that give objects, in proportion to `weights`. How many objects an item gets is fixed, so that a
    batch can be planned; which ones is drawn for each sample.
    """

    def __init__(
        self, base: PhotographSet, donors: Sequence[PhotographSet], settings: AugmentSettings, weights: Sequence[float]
    ) -> None:
        self.base, self.settings, self.donors = base, settings, list(donors)
        self._pools = [pools_of(donor, _BALANCE, number) for number, donor in enumerate(donors)]
        self._shares = np.array(weights) / sum(weights)
        self.sizes, self.groups = base.sizes, base.groups
        # Spread evenly over neighbouring items, whatever their order.
        more = [(index * 7919) % 1009 % (settings.pasted + 1) for index in range(len(base))]
        self.object_counts = [own + added for own, added in zip(base.object_counts, more, strict=True)]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sample of the other set, with objects added until it has `num_objects`."""
        sample = self.base.make(index, min(num_objects, self.base.object_counts[index]), rng, out_size)
        while sample.num_objects < num_objects:
            filmed = None
            for _ in range(_ATTEMPTS):
                donor, item = self.base, index
                if rng.random() < self.settings.pasted_twin:
                    item = self.base.twin_of(index, rng)
                else:
                    number, item = draw_item(self._pools[int(rng.choice(len(self._pools), p=self._shares))], rng)
                    donor = self.donors[number]
                filmed = donor.film(item, len(sample.frames), rng)
                if filmed is not None:
                    break
            sample = add_object(sample, filmed, rng, self.settings)
        return sample


def add_object(
    sample: TrainingSample, filmed: Filmed | None, rng: np.random.Generator, settings: AugmentSettings
) -> TrainingSample:
    """The sample with one labelled object more, the last; with None, one that no frame shows.

    Frame 0 shows it, and at least half of what it showed of every other object, unless there is no room. Frames without
    labels stay without, and the object is put into them too.
    """
    masks, frames = sample.masks.copy(), sample.frames.copy()
    number = sample.num_objects + 1
    if filmed is not None:
        colour = frame_colour(rng, settings)
        warps, behind = _place(sample, filmed, rng)
        for t, warp in enumerate(warps):
            alpha = _alpha(sample, filmed, t, warp, behind)
            paste(frames[t], warp.apply(colour.apply(filmed.images[t]), mirrored=True), alpha)
            if sample.labelled[t]:
                masks[t][alpha > 127] = number
    return sample_of(list(zip(frames, masks, sample.valid, strict=True)), number, sample.name, sample.labelled)


def _place(sample: TrainingSample, filmed: Filmed, rng: np.random.Generator) -> tuple[list[Warp], bool]:
    """From the cut-out to each frame, and whether it is behind the others, at a place that suits frame 0; the last
    place tried if none does."""
    labels, (middle_x, middle_y) = sample.masks[0], filmed.centre
    height, width = labels.shape
    before = areas_of(labels, sample.num_objects)
    for _ in range(_PLACES):
        behind = bool(rng.random() < 0.5)
        area = float(np.exp(rng.uniform(*np.log(_AREA)))) * height * width
        zoom = np.log(min(np.sqrt(area / max(filmed.area, 1)), _LARGEST))
        x, y = rng.uniform(0.08, 0.92) * width, rng.uniform(0.1, 0.9) * height
        mirror = bool(rng.random() < 0.5)
        start = np.array([zoom, rng.normal(0, 5), 0, 0, x - middle_x, y - middle_y])
        shift, growth, turn = _FILMED_DRIFT if filmed.moving else _STILL_DRIFT
        step = rng.normal(0, shift) * width, rng.normal(0, shift) * height
        drift = np.array([rng.normal(0, growth), rng.normal(0, turn), 0, 0, *step])
        motions = [LayerMotion(start + t * drift) for t in range(len(sample.frames))]
        warps = [Warp(motion.matrix(filmed.centre, mirror=mirror), labels.shape) for motion in motions]
        new = _alpha(sample, filmed, 0, warps[0], behind) > 127
        after = areas_of(labels[~new], sample.num_objects)
        if np.count_nonzero(new) >= _SEEN * new.size and (after >= _KEPT * before).all():
            break
    return warps, behind


def _alpha(sample: TrainingSample, filmed: Filmed, t: int, warp: Warp, behind: bool) -> NDArray[np.uint8]:
    """How opaque (0..255) the object is at each pixel of frame t."""
    alpha = warp.apply(filmed.alphas[t])
    if behind and sample.labelled[t]:
        before = soften((sample.masks[t] > 0).astype(np.uint8) * 255)
        alpha = (alpha.astype(np.uint16) * (255 - before) // 255).astype(np.uint8)
    return np.where(sample.valid[t], alpha, 0).astype(np.uint8)
