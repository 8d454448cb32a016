"""The masks of a label map, and small crops of objects."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import Box, ids_in
from hodor_cli.images.paths import size_text
from hodor_cli.images.sheet import scaled
from hodor_cli.pages import jpeg_bytes

THUMBNAIL_SIDE = 96  # pixels of the longer side
JPEG_QUALITY = 85
MOST_SIDE = 1024  # pixels; larger crops are refused
MARGIN = 0.08  # of the box's longer side, shown around the object
FADE = 0.6  # how far the surroundings go towards white


def masks_of_labels(labels: NDArray[np.unsignedinteger]) -> dict[int, NDArray[np.bool_]]:
    """(H, W) label map -> {object id: (H, W) bool}, for the ids that occur."""
    return {object_id: labels == object_id for object_id in ids_in(labels)}


def crop_jpeg(image: NDArray[np.uint8], mask: NDArray[np.bool_], box: Box) -> bytes:
    """The object as a JPEG file with sides of at most `THUMBNAIL_SIDE` pixels, its surroundings faded towards white.

    image (H, W, 3) uint8 RGB, mask (H, W), box as `box_of` returns it.
    """
    x, y, width, height = box
    margin = round(MARGIN * max(width, height))
    left, top = max(x - margin, 0), max(y - margin, 0)
    right, bottom = min(x + width + margin, image.shape[1]), min(y + height + margin, image.shape[0])
    picture = image[top:bottom, left:right]
    faded = (picture * (1 - FADE) + 255 * FADE).astype(np.uint8)
    picture = np.where(mask[top:bottom, left:right, None], picture, faded)
    scale = min(1.0, THUMBNAIL_SIDE / max(picture.shape[:2]))
    return jpeg_bytes(scaled(picture, scale), JPEG_QUALITY)


def open_crop(data: bytes) -> Image.Image:
    """A stored crop as an RGB picture. Raises InputError if it is damaged or too large for a crop."""
    try:
        # Opening reads only the header, so that the size is checked before anything is decoded.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=["JPEG"])
        if max(picture.size) > MOST_SIDE:
            size = size_text(picture.size[::-1])
            raise InputError(f"the descriptor file has a crop of {size} pixels; move it away and export again")
        return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"a crop in the descriptor file is damaged ({error}); move it away and export again") from None
