"""A few of many things, evenly spaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(count: int, most: int | None) -> NDArray[np.intp]:
    """Indices of at most `most` of `count` things, in order and evenly spaced, the first and the last among them.

    None takes all.
    """
    return np.linspace(0, count - 1, count if most is None else min(count, most)).round().astype(np.intp)
