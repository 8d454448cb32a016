"""Training samples of a frame whose masks were given: the frame is a photograph of its own video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import AugmentSettings


def sample_of_frame(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
    *,
    max_objects: int,
) -> TrainingSample:
    """An augmented sequence of a frame (H, W, 3) uint8 RGB with its label map (H, W), of some of its objects.

    out_size: (height, width) of the sample's frames. What passes in front of the objects and behind them is background.
    """
    ids = [int(i) for i in np.unique(labels) if i != 0]
    masks = [labels == i for i in rng.permutation(ids)[:max_objects]]

    def others(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        return frame, _pieces_of_background(masks, labels > 0, rng)

    return make_still_sequence(frame, masks, rng, settings, out_size, others=others)


def _pieces_of_background(
    masks: Sequence[NDArray[np.bool_]], objects: NDArray[np.bool_], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """At most one mask (H, W): the shape of an object at a place where mostly background is.

    Such pieces pass in front of the objects and behind them. Pieces of the objects themselves would teach the network
    that what looks like an object need not be it; it would then not find one again after losing it.
    """
    shape = masks[int(rng.integers(len(masks)))]
    rows, columns = np.nonzero(shape)
    rows, columns = rows - rows.min(), columns - columns.min()
    if rng.random() < 0.5:
        columns = columns.max() - columns
    spare = shape.shape[0] - rows.max(), shape.shape[1] - columns.max()
    for _ in range(10):
        piece = np.zeros_like(shape)
        piece[rows + int(rng.integers(spare[0])), columns + int(rng.integers(spare[1]))] = True
        piece &= ~objects
        if np.count_nonzero(piece) > len(rows) / 2:
            return [piece]
    return []
