"""Evenly spaced choices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(count: int, most: int | None) -> NDArray[np.intp]:
    """Up to `most` evenly spaced indices below `count`, including the first and the last; all if `most` is None."""
    return np.linspace(0, count - 1, count if most is None else min(count, most)).round().astype(np.intp)
