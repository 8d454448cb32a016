"""The one reader of picture files: upright RGB for the network, or the values as stored for label pictures.

The reader turns every picture upright exactly once, by the orientation tag of its format (EXIF in JPEG, PNG, WebP and
AVIF, a tag of its own in TIFF). It refuses pictures with more pixels than Pillow's limit against decompression bombs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.images.embedded import picture_bytes
from hodor_cli.images.value_range import ValueRange, measure_range, scale_to_rgb8

if TYPE_CHECKING:
    from PIL.Image import Image

Warn = Callable[[str], None]

#: Endings of picture files, in lower case.
PICTURE_SUFFIXES = frozenset(
    {
        ".heic",
        ".heif",
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jp2",
        ".webp",
        ".avif",
        ".gif",
        ".bmp",
        ".dib",
    }
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
#: Pictures and frames of more pixels are refused; Pillow's own limit against decompression bombs.
MOST_PIXELS = 178_956_970
# Formats whose further pages are pictures in their own right; those of a JPEG (MPO) are previews and gain maps.
_PAGED_FORMATS = frozenset({"TIFF", "GIF", "WEBP", "PNG", "AVIF"})
_ORIENTATION = 0x0112  # EXIF and TIFF tag; values 5..8 swap height and width


@dataclass(frozen=True)
class PictureHeader:
    """What the header of a picture file says; pixels are not decoded for it.

    height, width: of the upright picture. pages: number of frames of an animation or pages of a TIFF, 1 for a still.
    deep: values have more than 8 bits. mode: Pillow's name of the pixel format, such as "RGB", or "P" for a palette.
    """

    height: int
    width: int
    pages: int
    deep: bool
    mode: str


@dataclass(frozen=True)
class StoredPicture:
    """A picture's values as stored, upright.

    values:  (H, W) palette indices, grey or bilevel values (uint8, uint16, int32 or float32; grey of 2 and 4 bits is
             not stretched to 0..255); or (H, W, 3) RGB or (H, W, 4) RGBA (uint8 or uint16).
    palette: (256, 3) uint8 RGB colours of the indices, black after the end of the file's palette; None without one.
    format:  Pillow's name of the file format, such as "PNG".
    pages:   as in `PictureHeader`.
    clear:   the values (indices or grey) that the file declares fully transparent.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None
    format: str
    pages: int
    clear: frozenset[int] = frozenset()


def read_picture(
    path: Path, *, page: int = 0, value_range: ValueRange | None = None, warn: Warn | None = None
) -> NDArray[np.uint8]:
    """Read a picture file as an upright (H, W, 3) uint8 RGB array; use it for frames, photographs and thumbnails.

    page:        number of the frame of an animation or the page of a TIFF, from 0.
    value_range: the values that become 0 and 255 in a picture of more than 8 bits. By default it is measured on this
                 picture alone; the pictures of one source need one range for all (`measure_source_range`).
    warn:        called with a sentence about each change to the picture: scaling by a measured range, removed
                 transparency. The same change gives the same sentence for every picture of a source.

    Grey and palette pictures become RGB, transparent pixels are blended with black, and NaN becomes 0. Raises
    `InputError`, which names the file, if it is missing, damaged, not a picture or too large, or has no such page.
    """
    with _opened(path, "an image", page) as opened:
        return _to_rgb8(opened, path, page, value_range, warn)


def read_pages(
    path: Path, *, pages: Sequence[int] | None = None, value_range: ValueRange | None = None, warn: Warn | None = None
) -> Generator[tuple[NDArray[np.uint8], float | None], None, None]:
    """Yield every frame of an animation or page of a TIFF in order, as `read_picture` returns it, with the seconds it
    is shown (None if the file does not say); or those `pages` alone. The file is read once, one page at a time. Raises
    `InputError`."""
    with _opened(path, "an image") as opened:
        for page in range(_count_pages(opened.image)) if pages is None else pages:
            opened = opened.at(page) if page else opened
            pixels = _to_rgb8(opened, path, page, value_range, warn)
            shown = opened.image.info.get("duration")  # milliseconds; known once a page is decoded
            yield pixels, shown / 1000 if isinstance(shown, int | float) and shown > 0 else None


def read_stored(path: Path, what: str = "a mask", *, page: int = 0) -> StoredPicture:
    """Read the values of a picture file as stored, upright; use it for label pictures, whose values are object ids.

    `what` names the picture in messages. Raises `InputError` like `read_picture`.
    """
    with _opened(path, what, page) as opened:
        image, pages = opened.image, _count_pages(opened.image)
        palette = _palette(image) if image.mode == "P" else None
        if opened.deep:
            values = _deep_values(opened, path, page)
        elif image.mode in ("1", "P", "L"):
            values = np.asarray(image)
            values = values.astype(np.uint8) if values.dtype == bool else values
            values = values // (255 // ((1 << opened.stretched_bits) - 1)) if opened.stretched_bits else values
        else:
            transparent = {"A", "a"} & set(image.getbands()) or "transparency" in image.info
            values = np.asarray(image.convert("RGBA" if transparent else "RGB"))
        return StoredPicture(_turned(values, opened.turn), palette, str(image.format), pages, _clear_values(image))


def read_header(path: Path) -> PictureHeader:
    """Read size, number of pages and depth of a picture file without decoding its pixels. Raises `InputError`."""
    with _opened(path, "an image") as opened:
        image = opened.image
        tags = getattr(image, "tag_v2", None)
        if image.format == "TIFF" and tags is not None:  # before loading, its size depends on the version of Pillow
            height, width, orientation = int(tags[257]), int(tags[256]), opened.tiff_orientation
        else:
            height, width, orientation = image.height, image.width, opened.turn
        if orientation >= 5:
            height, width = width, height
        return PictureHeader(height, width, _count_pages(image), opened.deep, image.mode)


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture, from the file's header. Raises `InputError`."""
    header = read_header(path)
    return header.height, header.width


def measure_source_range(pictures: Sequence[tuple[Path, int]], sample: int = 9) -> ValueRange:
    """Measure one value range for all deep pictures of a source, given as (file, page), on `sample` of them."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(sample, len(pictures))).round().astype(int))
    values = []
    for path, page in (pictures[index] for index in chosen):
        with _opened(path, "an image", page) as opened:
            if opened.deep:
                values.append(_deep_values(opened, path, page))
    return measure_range(values)


@contextmanager
def open_picture(path: Path, what: str = "an image", data: BinaryIO | None = None) -> Iterator[Image]:
    """Open a picture with Pillow; every error inside the block becomes one `InputError` that names the file.

    data: the picture's bytes, if it stands inside the file; those in a JSON of LabelMe are found.
    """
    import PIL.Image

    if path.suffix.lower() in (".heic", ".heif"):
        _read_heif(path)
    try:
        # Pillow maps a path into memory, which garbles a turned TIFF (version 13.0); it does not map an open file.
        with data or _open(path) as file, PIL.Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:  # a program may have lifted Pillow's limit
                raise PIL.Image.DecompressionBombError
            yield image
    except InputError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not {what} that can be read; give a picture such as a PNG, or write the file again"
        ) from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning, MemoryError) as error:
        raise InputError(f"{path} is too large a picture to read; scale it down first") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be read: {reason.rstrip('.')}") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise InputError(f"{path} is damaged or not {what}: {str(error).rstrip('.')}") from error


def _open(path: Path) -> BinaryIO:
    return io.BytesIO(picture_bytes(path)) if path.suffix.lower() == ".json" else path.open("rb")


def _read_heif(path: Path) -> None:
    """Let Pillow read HEIF. Raises InputError without pillow-heif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(f"{path} is HEIF, which needs another package; pip install 'hodor-cli[heic]'") from error
    register_heif_opener()


@dataclass(frozen=True)
class _Opened:
    """An opened picture whose pixels are not decoded yet, with the facts that Pillow forgets when it decodes them."""

    image: Image
    turn: int  # EXIF orientation 1..8 still to be applied to decoded pixels; 1 for a TIFF, which the decoder turns
    tiff_orientation: int
    deep: bool
    stretched_bits: int  # 2 or 4 for a grey PNG of that depth, which Pillow stretches to 0..255; else 0

    def at(self, page: int) -> _Opened:
        """The same file at another page."""
        self.image.seek(page)
        deep, bits = _depth(self.image)
        return replace(self, deep=deep, stretched_bits=bits)


@contextmanager
def _opened(path: Path, what: str, page: int = 0) -> Iterator[_Opened]:
    with open_picture(path, what) as image:
        deep, bits = _depth(image)
        orientation = 1 if image.format == "PNG" and not _may_be_turned(path) else _orientation(image)
        turn, of_tiff = (1, orientation) if image.format == "TIFF" else (orientation, 1)
        opened = _Opened(image, turn, of_tiff, deep, bits)
        yield opened.at(page) if page else opened


def _depth(image: Image) -> tuple[bool, int]:
    """Whether values have more than 8 bits, and `_Opened.stretched_bits`."""
    raw = _raw_mode(image)
    # "BGR;16" is 8-bit colour packed into 16 bits.
    deep = image.mode in ("I", "F") or "16" in image.mode or ("16" in raw and not raw.startswith("BGR"))
    return deep, {"L;2": 2, "L;4": 4}.get(raw, 0) if image.mode == "L" else 0


def _raw_mode(image: Image) -> str:
    """Pillow's name for how the file stores a pixel, such as "RGB;16B"; empty if Pillow does not say."""
    tiles = getattr(image, "tile", None)
    raw = tiles[0][3] if tiles else None
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return raw if isinstance(raw, str) else ""


def _orientation(image: Image) -> int:
    found = image.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _may_be_turned(path: Path) -> bool:
    """Whether a PNG has a chunk that can hold an orientation; Pillow decodes all pixels to find chunks after them."""
    with _open(path) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[:4], "big")
            start = file.read(min(length, 17))
            if head[4:] == b"eXIf" or start.startswith((b"Raw profile type ", b"XML:com.adobe.xmp")):
                return True
            file.seek(length - len(start) + 4, 1)
    return False


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A copy of an array (H, W, ...) turned by an EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.array(pixels, order="C")


def _count_pages(image: Image) -> int:
    return int(getattr(image, "n_frames", 1)) if image.format in _PAGED_FORMATS else 1


def _to_rgb8(
    opened: _Opened, path: Path, page: int, value_range: ValueRange | None, warn: Warn | None
) -> NDArray[np.uint8]:
    image = opened.image
    if opened.deep:
        values = _deep_values(opened, path, page)
        if value_range is None:
            value_range = measure_range([values])
            if warn is not None and (said := value_range.describe()):
                warn(said)
        pixels = scale_to_rgb8(values, value_range)
        if "A" in image.getbands():
            pixels = _over_black(pixels, np.asarray(image.getchannel("A")), warn)
    elif "A" in image.getbands() or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        pixels = _over_black(rgba[..., :3], rgba[..., 3], warn)
    else:
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return _turned(pixels, opened.turn)


def _over_black(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], warn: Warn | None) -> NDArray[np.uint8]:
    if alpha.min(initial=255) == 255:
        return rgb
    if warn is not None:
        warn("transparent pixels are read as black")
    return np.asarray((rgb.astype(np.uint16) * alpha[..., None] + 127) // 255, dtype=np.uint8)


def _deep_values(opened: _Opened, path: Path, page: int) -> NDArray[Any]:
    """(H, W) or (H, W, 3) values of more than 8 bits as stored, without transparency."""
    if opened.image.mode in ("I", "F") or "16" in opened.image.mode:
        return np.asarray(opened.image)
    import cv2  # Pillow drops the lower byte of 16-bit colour

    data = np.frombuffer(picture_bytes(path), dtype=np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pages = cv2.imdecodemulti(data, flags)[1] if page else [cv2.imdecode(data, flags)]
    if page >= len(pages) or pages[page] is None:
        raise ValueError(f"page {page} of 16-bit colour cannot be decoded")
    return np.asarray(cv2.cvtColor(pages[page], cv2.COLOR_BGR2RGB))


def _clear_values(image: Image) -> frozenset[int]:
    alpha = image.info.get("transparency") if image.mode in ("P", "L", "1") else None
    if isinstance(alpha, bytes):
        return frozenset(index for index, value in enumerate(alpha) if value == 0)
    return frozenset({alpha}) if isinstance(alpha, int) else frozenset()


def _palette(image: Image) -> NDArray[np.uint8]:
    flat = np.array(image.getpalette("RGB") or [], dtype=np.uint8)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(flat) // 3] = flat.reshape(-1, 3)
    return table
