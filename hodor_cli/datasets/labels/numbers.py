"""Mask files that hold one number per pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.picture import StoredPicture, read_stored

#: The value of pixels that belong to no object, beside other ids.
VOID = 255

LabelMap = npt.NDArray[np.uint16] | npt.NDArray[np.uint8]

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm", ".webp")
#: Endings of files that are no pictures; `read_mask` says what they are.
NO_PICTURES = (".npy", ".npz", ".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".zip")


def read_numbers(path: Path) -> LabelMap | None:
    """(H, W) uint8 or uint16 numbers of a mask file, upright: indexed, grey, or grey stored as RGB.

    None for a file that `read_mask` has to interpret: colours, transparency, JPEG, floats, an array. Raises InputError,
    which names the file, if it cannot be read.
    """
    if path.suffix.lower() in NO_PICTURES:
        return None
    return numbers_of(read_stored(path, "a mask image"), path)


def numbers_of(picture: StoredPicture, path: Path, *, grey_in_colour: bool = True) -> LabelMap | None:
    """(H, W) numbers of a picture that has one per pixel; None for any other, and if a value but 0 is transparent
    (then transparency, and not 0, is the background). grey_in_colour: read RGB without any colour as grey."""
    values = picture.values
    if picture.format == "JPEG" or values.dtype.kind == "f":
        return None
    if grey_in_colour and values.ndim == 3 and values.shape[2] == 3 and bool((values == values[..., :1]).all()):
        values = values[..., 0]
    if values.ndim == 3 or (picture.clear and 0 not in picture.clear and np.isin(values, list(picture.clear)).any()):
        return None
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    require_ids(int(values.min(initial=0)), int(values.max(initial=0)), path)
    return np.ascontiguousarray(values, dtype=np.uint16)


def require_ids(lowest: int, highest: int, path: Path) -> None:
    """Raise InputError unless all values of a mask file are object ids or 0."""
    if lowest < 0 or highest > MAX_ID:
        wrong = lowest if lowest < 0 else highest
        raise InputError(f"{path} holds the value {wrong}; object ids lie in 1..{MAX_ID} and 0 is background")
