"""One image file as an upright RGB array, whatever its mode and bit depth."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
_ORIENTATION = 0x0112  # the EXIF tag; values 5..8 swap height and width


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file: EXIF rotation applied, transparency laid over black, grey and palette
    images made RGB, 16-bit values scaled to 8. Raises `InputError` naming the file."""
    from PIL import ImageOps

    with open_picture(path) as image:
        return to_rgb8(ImageOps.exif_transpose(image))


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) after EXIF rotation, from the file's header alone."""
    with open_picture(path) as image:
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def open_picture(path: Path, what: str = "an image") -> Iterator[Image]:
    """Open with Pillow; whatever goes wrong inside the block comes out as one `InputError` naming the file."""
    import PIL.Image
    from PIL import UnidentifiedImageError

    try:
        with PIL.Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not {what} that can be read") from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large a picture: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be read: {reason.rstrip('.')}") from error
    except (SyntaxError, ValueError, EOFError, struct.error) as error:
        raise InputError(f"{path} is damaged or not {what}: {str(error).rstrip('.')}") from error


def to_rgb8(image: Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a Pillow image of any mode."""
    if image.mode.startswith("I;16"):
        return _grey_to_rgb(np.asarray(image).astype(np.uint32) * 255 // 65535)
    if image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        top = float(np.nanmax(values)) if values.size else 0.0
        scale = 255.0 if image.mode == "F" and top <= 1.0 else 255.0 / 65535.0 if top > 255 else 1.0
        return _grey_to_rgb(np.nan_to_num(values * scale).clip(0, 255))
    if "A" in image.getbands() or "transparency" in image.info:
        import PIL.Image

        rgba = image.convert("RGBA")
        black = PIL.Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return np.array(PIL.Image.alpha_composite(black, rgba).convert("RGB"))
    return np.array(image.convert("RGB"))


def _grey_to_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)
