"""One door to both sequence makers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.fast_sequence import make_fast_sequence
from hodor_cli.training.samples.layers import Masks, Others
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.settings import AugmentSettings


def make_still_sequence(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
    *,
    name: str = "",
    others: Others | None = None,
) -> TrainingSample:
    """A sequence of frames from one photograph, by the maker the settings name.

    image: (h, w, 3) uint8 RGB. masks: one (h, w) bool mask per object. out_size: (height, width) of frames.
    The same image, masks, settings and state of `rng` give the same sample.
    """
    if settings.maker == "imgaug":
        from hodor_cli.training.samples.imgaug_sequence import make_imgaug_sequence

        return make_imgaug_sequence(image, masks, rng, settings, out_size, name=name)
    return make_fast_sequence(image, masks, rng, settings, out_size, name=name, others=others)
