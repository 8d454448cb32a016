"""The colours of object ids: DAVIS's palette, which is PASCAL VOC's but for one value."""

from __future__ import annotations

import numpy as np


def davis_palette() -> np.ndarray:
    """(256, 3) uint8 RGB; row = object id, row 0 (background) is black.

    Rows 0..21 are those in DAVIS's annotations, which have 191 where PASCAL VOC has 192. DAVIS goes on in near-black
    greys that nobody can tell apart; from 22 on the rows are VOC's.
    """
    palette = voc_palette()
    davis = palette[:22]
    davis[davis == 192] = 191
    return palette


def voc_palette() -> np.ndarray:
    """(256, 3) uint8 RGB. The bits of an id, taken three at a time, set the high bits of red, green and blue, so
    neighbouring ids differ strongly."""
    ids = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((ids >> channel) & 1) << (7 - bit)).astype(np.uint8)
        ids >>= 3
    return palette
