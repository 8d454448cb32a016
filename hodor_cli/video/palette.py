"""The colours of object ids: DAVIS's palette, which is PASCAL VOC's."""

from __future__ import annotations

import numpy as np


def davis_palette() -> np.ndarray:
    """(256, 3) uint8 RGB; row = object id, row 0 (background) is black. The bits of an id, taken three at a time, set
    the high bits of red, green and blue, so neighbouring ids differ strongly."""
    ids = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((ids >> channel) & 1) << (7 - bit)).astype(np.uint8)
        ids >>= 3
    return palette
