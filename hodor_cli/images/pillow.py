"""Opens pictures with Pillow: pixel limit, orientation, depth and pages.

A JSON file with a picture inside, as LabelMe writes it, is accepted wherever a picture is read.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.ExifTags import Base as Tag
from PIL.Image import Image
from PIL.ImageFile import StubImageFile

from hodor_cli.errors import InputError
from hodor_cli.images.paths import read_start, require_exists

#: Pictures, frames and masks with more pixels are refused; Pillow's own limit against decompression bombs.
MOST_PIXELS = 178_956_970
#: The first bytes of a TIFF.
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Formats whose other pages are pictures in their own right; in a JPEG (MPO), they are previews and gain maps.
_PAGED_FORMATS = frozenset({"TIFF", "GIF", "WEBP", "PNG", "AVIF"})


class _File(msgspec.Struct):
    imageData: str | None = None  # noqa: N815


def decoded_picture(text: str, path: Path) -> bytes:
    """Decode a picture from base64 text in the file `path`, with or without a prefix `data:...,`. Raises InputError."""
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=False)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the picture inside {path} is damaged; save the file again with LabelMe") from error


def picture_bytes(path: Path) -> bytes:
    """The bytes of a picture file, or of the picture inside a JSON file; for a JSON file without one, its own bytes.

    Raises OSError, or InputError if the picture inside is not valid base64.
    """
    data = path.read_bytes()
    if path.suffix.lower() != ".json":
        return data
    try:
        inside = msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8), type=_File).imageData
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data
    return decoded_picture(inside, path) if inside else data


@contextmanager
def open_picture(path: Path, what: str = "an image", data: BinaryIO | None = None) -> Iterator[Image]:
    """Open a picture with Pillow; every error inside the block becomes one `InputError` that names the file.

    data: the picture's bytes if they are not the file's own; a picture in `imageData` of a JSON file is found anyway.
    """
    if path.suffix.lower() in (".heic", ".heif"):
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise InputError(f"{path} is HEIF, which needs another package; pip install 'hodor-cli[heic]'") from error
        register_heif_opener()
    try:
        # Given a path, Pillow maps the file into memory, which garbles a turned TIFF (version 13.0); so open it here.
        with data or _stream(path) as file, PIL.Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:  # the calling program may have raised Pillow's limit
                raise PIL.Image.DecompressionBombError
            if isinstance(image, StubImageFile):  # formats that Pillow knows but cannot read, such as HDF5
                raise PIL.UnidentifiedImageError
            yield image
    except InputError:
        raise
    except PIL.UnidentifiedImageError as error:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)") from error
        if read_start(path, 4) in TIFF_STARTS:
            raise InputError(f"{path} is an unreadable TIFF (64-bit values?); save it with 8, 16 or 32 bits") from error
        raise InputError(f"{path} is not {what} that can be read; give a picture, or write the file again") from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning, MemoryError) as error:
        raise InputError(f"{path} is too large a picture to read; scale it down first") from error
    except io.UnsupportedOperation as error:  # seeking in a pipe
        raise InputError(f"{path} is a pipe, which can be read only once; save it as a file first") from error
    except OSError as error:
        require_exists(path, "file")
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be read: {reason.rstrip('.')}") from error
    except Exception as error:  # Pillow's decoders may raise almost anything for a damaged file
        raise InputError(f"{path} is damaged or not {what}: {str(error).rstrip('.')}") from error


def _stream(path: Path) -> BinaryIO:
    return io.BytesIO(picture_bytes(path)) if path.suffix.lower() == ".json" else path.open("rb")


@dataclass(frozen=True)
class Opened:
    """An opened picture whose pixels are not decoded yet, with facts that Pillow discards when it decodes them."""

    image: Image
    size: tuple[int, int]  # (height, width) of the upright picture
    turn: int  # EXIF orientation 1..8 still to be applied to decoded pixels; 1 for a TIFF, which the decoder turns
    deep: bool
    stretched_bits: int  # 2 or 4 for a grey picture with that depth, which Pillow stretches to 0..255; else 0

    @property
    def pages(self) -> int:
        """Number of frames in an animation or of pages in a TIFF; 1 for a still."""
        return int(getattr(self.image, "n_frames", 1)) - self._before if self.image.format in _PAGED_FORMATS else 1

    @property
    def _before(self) -> bool:
        """Whether Pillow counts a picture before the animation, which is for programs that cannot show it."""
        return bool(getattr(self.image, "default_image", False))

    @property
    def min_is_white(self) -> bool:
        """Whether a TIFF says that 0 is white. Pillow then inverts only values with up to 8 bits."""
        return bool(tiff_tag(self.image, Tag.PhotometricInterpretation) == 0)

    @property
    def has_planes(self) -> bool:
        """Whether a TIFF stores each colour in a separate plane."""
        return bool(tiff_tag(self.image, Tag.PlanarConfiguration) == 2)

    def at(self, page: int) -> Opened:
        """The same file at another page."""
        self.image.seek(page + self._before)
        deep, bits = _depth(self.image)
        return replace(self, deep=deep, stretched_bits=bits)

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """A copy of decoded pixels (H, W, ...), turned upright."""
        if self.turn >= 5:
            pixels = pixels.swapaxes(0, 1)
        if self.turn in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        if self.turn in (3, 4, 7, 8):
            pixels = pixels[::-1]
        return np.array(pixels, order="C")


@contextmanager
def opened(path: Path, what: str, page: int = 0) -> Iterator[Opened]:
    """Open a picture at a page. what: names it in messages. Errors inside the block also become InputError."""
    with open_picture(path, what) as image:
        deep, bits = _depth(image)
        found = 1 if image.format == "PNG" and not _may_be_turned(path) else image.getexif().get(Tag.Orientation, 1)
        orientation = found if isinstance(found, int) and 1 <= found <= 8 else 1
        turn, size = orientation, (image.height, image.width)
        if image.format == "TIFF":  # `image.size` is already turned in some versions of Pillow
            turn, size = 1, (int(tiff_tag(image, Tag.ImageLength)), int(tiff_tag(image, Tag.ImageWidth)))
        # From 5 on, an orientation swaps height and width.
        picture = Opened(image, size[::-1] if orientation >= 5 else size, turn, deep, bits)
        yield picture.at(page) if page else picture


def tiff_tag(image: Image, tag: Tag, default: Any = None) -> Any:
    """The value of a tag of a TIFF; the default if it is missing, and for other pictures."""
    return image.tag_v2.get(tag, default) if image.format == "TIFF" else default  # type: ignore[attr-defined]


def _depth(image: Image) -> tuple[bool, int]:
    """Whether values have more than 8 bits, and `Opened.stretched_bits`."""
    tiles = getattr(image, "tile", None)
    stored = tiles[0][3] if tiles else None  # how the file stores a pixel, such as "RGB;16B", if Pillow knows
    raw = str(stored[0] if isinstance(stored, tuple) and stored else stored)
    bits = max(tiff_tag(image, Tag.BitsPerSample, (8,)))
    # "BGR;16" is 8-bit colour packed into 16 bits; of colours in separate planes, only the tag says how deep they are.
    deep = image.mode in ("I", "F") or bits > 8 or "16" in image.mode or ("16" in raw and not raw.startswith("BGR"))
    return deep, {"L;2": 2, "L;4": 4}.get(raw.removesuffix("I"), 0) if image.mode == "L" else 0


def _may_be_turned(path: Path) -> bool:
    """Whether a PNG has a chunk that may contain an orientation. Pillow would decode all pixels to find out."""
    with _stream(path) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[:4], "big")
            start = file.read(min(length, 17))
            if head[4:] == b"eXIf" or start.startswith((b"Raw profile type ", b"XML:com.adobe.xmp")):
                return True
            file.seek(length - len(start) + 4, 1)
    return False
