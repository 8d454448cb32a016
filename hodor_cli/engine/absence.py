"""Which objects are not in a frame, whatever the network found there in their place.

When an object leaves the picture or passes behind something, what resembles it most takes its mask, and would be
followed from then on. Three signs together tell that nothing of the object is left: the network is less sure of such a
mask, the object was not there in the previous frame, and matching the frame in which the object's mask was given does
not point there either. An object that is blurred, half hidden, has turned or has jumped shows one or two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.evidence import agreements
from hodor_cli.model.matching import FAR
from hodor_cli.model.types import Cue

#: An object is absent if its mask has less than this mean probability, less than this soft IoU with what is carried
#: over from the frame in which its mask was given, and less than this of it was carried along from the previous frame.
_SURE, _ALIKE, _CONTINUED = 0.9, 0.25, 0.5


def without_absent(logits: Tensor, cue: Cue, given: Sequence[bool]) -> Tensor:
    """Logits (1, 10 + I, 2h, 2w), those of absent objects lowered everywhere.

    cue: of the frame. given: which of the I objects have a mask in a frame that is matched with; only these are judged.
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
