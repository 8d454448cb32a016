"""Where a mask lies in its picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: x, y, width and height in pixels.
Box = tuple[int, int, int, int]


def box_of(mask: NDArray[np.bool_] | NDArray[np.unsignedinteger]) -> Box | None:
    """The smallest box around what is not zero in an (H, W) mask or label map; None if everything is."""
    import cv2  # not with the module, which the help of `pretrain` imports

    # OpenCV looks for the ends much faster than NumPy, in bytes.
    found: Any = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    x, y, width, height = found
    left, right = x // mask.itemsize, -(-(x + width) // mask.itemsize)
    return (left, y, right - left, height) if width else None


def window_of(box: Box) -> tuple[slice, slice]:
    """The rows and columns of a box, to index a picture with."""
    x, y, width, height = box
    return slice(y, y + height), slice(x, x + width)
