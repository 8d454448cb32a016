"""Masks in .npy files: ids, probabilities, colours, or a stack of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_values import MaskFile, mask_from_rgb, mask_from_values
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.paths import plural, read_start

#: The shapes that a mask array may have, for messages.
ARRAYS = "a mask is (height, width), or (objects, height, width) of booleans"


def load_npy(path: Path) -> np.ndarray:
    """Load an .npy array: (H, W), (H, W, 3) uint8 colours, or (N, H, W) booleans. Never unpickles, and allocates no
    memory for data that the file does not contain. Raises `InputError` if it is damaged or has another layout."""
    if read_start(path, 6) != b"\x93NUMPY":
        raise InputError(f"{path} is not an .npy array, whatever its name says; save the mask with numpy.save")
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy parses the header as Python, which raises nearly anything when it is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "mmap length" in reason:
            raise InputError(f"{path} is cut off: its header declares more bytes; save the mask again") from error
        raise InputError(f"{path} is not an .npy array that can be read: {reason}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise InputError(f"{path} contains no numbers; a mask is an array of object ids or booleans")
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.reshape(array.shape[1:] if array.shape[0] == 1 else array.shape[:2])
    deep = array.ndim == 3 and (array.dtype == bool or (array.shape[2] == 3 and array.dtype == np.uint8))
    if array.size == 0 or not (array.ndim == 2 or deep):
        raise InputError(f"{path} has the shape {array.shape}; {ARRAYS}")
    return np.array(array)


def mask_from_array(array: np.ndarray, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    """Convert an array in one of `load_npy`'s layouts to labels. Raises `InputError` for values that cannot be ids."""
    if array.ndim == 3:
        return _from_stack(array, path) if array.dtype == bool else mask_from_rgb(array, path, known)
    if array.dtype == bool:
        return MaskFile(array.astype(np.uint16))
    if array.dtype.kind == "f":
        return mask_from_floats(array, path)
    return mask_from_values(array, path)


def mask_from_floats(array: np.ndarray, path: Path) -> MaskFile:
    """Convert (H, W) floats to labels: whole numbers are ids; fractions are probabilities, of one object where they are
    above 0.5. Raises `InputError` for other values."""
    if not np.isfinite(array).all():
        raise InputError(f"{path} contains values that are not finite (NaN or infinity)")
    low, high = float(array.min()), float(array.max())
    if np.array_equal(array, np.round(array)) and abs(low) < 2**31 and abs(high) < 2**31:
        return mask_from_values(array.astype(np.int64), path)
    if low < 0 or high > 1:
        raise InputError(f"{path} has fractions from {low:g} to {high:g}; give object ids, or probabilities up to 1")
    note = f"{path.name} holds fractions from 0 to 1, read as probabilities: one object with id 1 where above 0.5"
    return MaskFile((array > 0.5).astype(np.uint16), [note])


def _from_stack(stack: np.ndarray, path: Path) -> MaskFile:
    if len(stack) > MAX_ID:
        raise InputError(f"{path} holds {len(stack)} masks, but there can be at most {MAX_ID} objects")
    overlap = stack.sum(axis=0, dtype=np.int32) > 1
    if overlap.any():
        first, second = np.flatnonzero(stack[:, overlap][:, 0])[:2]
        raise InputError(f"{path} gives {plural(int(overlap.sum()), 'pixel')} to several masks, {first} and {second}")
    numbers = np.arange(1, len(stack) + 1, dtype=np.uint16)
    labels = (stack * numbers[:, None, None]).sum(axis=0, dtype=np.uint16)
    return MaskFile(labels, [f"{path.name} is a stack of {len(stack)} masks, read as the objects 1 to {len(stack)}"])
