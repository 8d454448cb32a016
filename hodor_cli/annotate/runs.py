"""The form in which server and page exchange label maps: runs (object id, number of pixels), row by row.

Each run is two little-endian uint32. A label map of 1920x1080 with a few objects takes about 30 KB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError

_MAX_ID = 65_535


def pack_runs(labels: NDArray[np.integer]) -> bytes:
    """The runs of an (H, W) label map."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.append(starts, flat.size))
    return np.stack([flat[starts].astype("<u4"), lengths.astype("<u4")], axis=1).tobytes()


def unpack_runs(data: bytes, size: tuple[int, int]) -> NDArray[np.uint16]:
    """The (H, W) label map of runs from a page. Raises InputError unless they fill it exactly."""
    if len(data) % 8:
        raise InputError("the drawing arrived cut off; draw it again")
    pairs = np.frombuffer(data, dtype="<u4").reshape(-1, 2)
    if int(pairs[:, 1].sum(dtype=np.uint64)) != size[0] * size[1] or int(pairs[:, 0].max(initial=0)) > _MAX_ID:
        raise InputError(f"the drawing does not fit its {size[1]}x{size[0]} pixels; draw it again")
    return np.repeat(pairs[:, 0].astype(np.uint16), pairs[:, 1]).reshape(size)
