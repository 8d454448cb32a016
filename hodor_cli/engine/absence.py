"""Recognises objects that are no longer in the frame although the network found a mask for them.

When an object leaves the picture or is hidden, whatever resembles it most gets its mask and would be followed from then
on. An object counts as absent if three signs come together: the network is less sure of the mask, the previous frame
did not have the object there, and matching with the frame in which its mask was given does not point there either. An
object that is blurred, half hidden, has turned or has jumped shows only one or two of these signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.evidence import agreements
from hodor_cli.model.matching import FAR
from hodor_cli.model.types import Cue

#: An object is absent if all three are below these limits: the mean probability inside its mask, the soft IoU with the
#: mask carried over from the frame in which it was given, and the share that the previous frame carries along.
_SURE, _ALIKE, _CONTINUED = 0.9, 0.25, 0.5


def without_absent(logits: Tensor, cue: Cue, given: Sequence[bool]) -> Tensor:
    """Logits (1, 10 + I, 2h, 2w) with the channels of absent objects lowered everywhere.

    cue: the frame's. given: whether each of the I objects has a mask in a stored reference frame; others are kept.
    """
    shares = logits.softmax(dim=1)[:, NUM_NON_OBJECT:]
    found = (shares > 0.5).to(shares)
    sure = _mean(shares, found)
    continued = _mean(cue.previous, F.avg_pool2d(found, 2))
    alike = agreements(cue.of_given[0], F.avg_pool2d(shares, 2)[0])
    rows = [
        NUM_NON_OBJECT + row
        for row, known in enumerate(given)
        if known and sure[row] < _SURE and alike[row] < _ALIKE and continued[row] < _CONTINUED
    ]
    if rows:
        logits = logits.clone()
        logits[:, rows] -= FAR
    return logits


def _mean(values: Tensor, weights: Tensor) -> list[float]:
    """The weighted mean of each of I maps (1, I, h, w)."""
    means: list[float] = ((values * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp(min=1e-6))[0].tolist()
    return means
