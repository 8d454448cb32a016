"""The one reader of picture files: upright RGB for the network, or the stored values for label pictures.

Every picture is turned upright exactly once, according to its orientation tag (EXIF in JPEG, PNG, WebP and AVIF, a
separate tag in TIFF). Pictures with more pixels than Pillow's limit against decompression bombs are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2  # Pillow drops the lower byte of 16-bit colour
import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.images.pillow import Opened, opened, picture_bytes
from hodor_cli.images.value_range import ValueRange, measure_range, measured_places, scale_to_rgb8

Warn = Callable[[str], None]

#: Endings of picture files, in lower case.
PICTURE_SUFFIXES = frozenset(
    {".heic", ".heif", ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif"}
    | {".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)


@dataclass(frozen=True)
class PictureHeader:
    """What the header of a picture file says.

    size: (height, width) of the upright picture. pages: number of frames in an animation or of pages in a TIFF, 1 for a
    still. deep: whether values have more than 8 bits. mode: Pillow's name for the pixel format, such as "RGB", or "P"
    for a palette.
    """

    size: tuple[int, int]
    pages: int
    deep: bool
    mode: str

    @property
    def one_valued(self) -> bool:
        """Whether a pixel has one value, as in label pictures."""
        return self.mode in ("1", "P", "L", "I", "I;16", "I;16B")


@dataclass(frozen=True)
class StoredPicture:
    """A picture's values as stored, upright.

    values:  (H, W) palette indices, grey or bilevel values (uint8, uint16, int32 or float32; grey with 2 or 4 bits is
             not stretched to 0..255); or (H, W, 3) RGB or (H, W, 4) RGBA (uint8 or uint16).
    palette: (256, 3) uint8 RGB colours of the indices, padded with black; None without a palette.
    format:  Pillow's name for the file format, such as "PNG".
    pages:   as in `PictureHeader`.
    clear:   the values (indices or grey) that the file declares fully transparent.
    bilevel: whether the file has one bit per pixel; then 0 is black and 1 is white.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None
    format: str
    pages: int
    clear: frozenset[int] = frozenset()
    bilevel: bool = False


def read_picture(path: Path, *, value_range: ValueRange | None = None, warn: Warn | None = None) -> NDArray[np.uint8]:
    """Read a frame, photograph or thumbnail as an upright (H, W, 3) uint8 RGB array.

    value_range: the values that become 0 and 255 in a picture with more than 8 bits. By default it is measured on this
                 picture alone; for the pictures of one source, use one range (`measure_source_range`).
    warn:        called with a sentence about each change to the picture: scaling by a measured range, or removed
                 transparency. The sentence is the same for every picture of a source.

    Grey and palette pictures become RGB, transparent pixels are blended with black, and NaN becomes 0. Raises
    `InputError`, which names the file, if it is missing, damaged, not a picture or too large.
    """
    with opened(path, "an image") as found:
        return _to_rgb8(found, path, 0, value_range, warn)


def read_pages(
    path: Path, *, pages: Sequence[int] | None = None, value_range: ValueRange | None = None, warn: Warn | None = None
) -> Generator[tuple[NDArray[np.uint8], float | None], None, None]:
    """Yield each frame of an animation or page of a TIFF as `read_picture` returns it, with the seconds for which it is
    shown (None if the file does not say). pages: the indices to read; by default all, in order. The file is opened once
    and read page by page. Raises `InputError`."""
    with opened(path, "an image") as found:
        for page in range(found.pages) if pages is None else pages:
            found = found.at(page)
            pixels = _to_rgb8(found, path, page, value_range, warn)
            shown = found.image.info.get("duration")  # in milliseconds; known after the page was decoded
            yield pixels, shown / 1000 if isinstance(shown, int | float) and shown > 0 else None


def read_stored(path: Path, what: str = "a mask", *, page: int = 0) -> StoredPicture:
    """Read the values of a picture file as stored, upright; for label pictures, whose values are object ids.

    what: names the picture in messages. Raises `InputError` like `read_picture`.
    """
    with opened(path, what, page) as found:
        image, pages = found.image, found.pages
        palette = None
        if image.mode == "P":
            flat = np.array(image.getpalette("RGB") or [], dtype=np.uint8)
            palette = np.zeros((256, 3), dtype=np.uint8)
            palette[: len(flat) // 3] = flat.reshape(-1, 3)
        if found.deep:
            values = _deep_values(found, path, page)
        elif image.mode in ("1", "P", "L"):
            values = ~np.asarray(image) if found.min_is_white else np.asarray(image)
            values = values.astype(np.uint8) if values.dtype == bool else values
            values = values // (255 // ((1 << found.stretched_bits) - 1)) if found.stretched_bits else values
        else:
            transparent = {"A", "a"} & set(image.getbands()) or "transparency" in image.info
            values = np.asarray(image.convert("RGBA" if transparent else "RGB"))
        alpha = image.info.get("transparency") if image.mode in ("P", "L", "1", "I;16") else None
        if isinstance(alpha, bytes):
            clear = frozenset(index for index, value in enumerate(alpha) if value == 0)
        else:
            clear = frozenset({alpha} if isinstance(alpha, int) else ())
        return StoredPicture(found.upright(values), palette, str(image.format), pages, clear, image.mode == "1")


def read_header(path: Path) -> PictureHeader:
    """Read the header of a picture file without decoding its pixels. Raises `InputError`."""
    with opened(path, "an image") as found:
        return PictureHeader(found.size, found.pages, found.deep, found.image.mode)


def measure_source_range(pictures: Sequence[tuple[Path, int]], warn: Warn) -> ValueRange:
    """Measure one value range for all deep pictures of a source, given as (file, page), from a few of them."""
    values = []
    for path, page in (pictures[place] for place in measured_places(len(pictures))):
        with opened(path, "an image", page) as found:
            if found.deep:
                values.append(_deep_values(found, path, page))
    return measure_range(values, warn)


def _to_rgb8(
    found: Opened, path: Path, page: int, value_range: ValueRange | None, warn: Warn | None
) -> NDArray[np.uint8]:
    image = found.image
    if found.deep:
        values = _deep_values(found, path, page)
        pixels = scale_to_rgb8(values, value_range or measure_range([values], warn))
        pixels = ~pixels if found.min_is_white else pixels
        if "A" in image.getbands():
            pixels = _over_black(pixels, np.asarray(image.getchannel("A")), warn)
    elif "A" in image.getbands() or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        pixels = _over_black(rgba[..., :3], rgba[..., 3], warn)
    else:
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return found.upright(pixels)


def _over_black(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], warn: Warn | None) -> NDArray[np.uint8]:
    if alpha.min(initial=255) == 255:
        return rgb
    if warn is not None:
        warn("transparent pixels are read as black")
    return np.asarray((rgb.astype(np.uint16) * alpha[..., None] + 127) // 255, dtype=np.uint8)


def _deep_values(found: Opened, path: Path, page: int) -> NDArray[Any]:
    """(H, W) or (H, W, 3) values with more than 8 bits as stored, without transparency."""
    if found.image.mode in ("I", "F") or "16" in found.image.mode:
        return np.asarray(found.image)
    if found.has_planes:  # Pillow and OpenCV garble them
        raise InputError(f"{path} has 16-bit colours in separate planes; interleave them, or save grey pages")
    data = np.frombuffer(picture_bytes(path), dtype=np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pages = cv2.imdecodemulti(data, flags)[1] if page else [cv2.imdecode(data, flags)]
    if page >= len(pages) or pages[page] is None:
        raise ValueError(f"page {page} of 16-bit colour cannot be decoded")
    return np.asarray(cv2.cvtColor(pages[page], cv2.COLOR_BGR2RGB))
