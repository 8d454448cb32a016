"""Label maps as PNG files (a palette image in DAVIS's colours up to object id 255, 16-bit grey for higher ids), and the
ids and boxes of the objects in them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hodor_cli.errors import HodorError, InputError, OutputError
from hodor_cli.files import replacing, require_folder, writing_file
from hodor_cli.images.paths import as_path, require_exists
from hodor_cli.images.picture import StoredPicture, read_stored

#: The largest object id that label maps and 16-bit PNG files can hold.
MAX_ID = 65535
#: Besides other ids, the value of pixels that are neither object nor background.
VOID = 255
#: Number of first rows in which the palettes of DAVIS and VOC agree. Seven would also fit the 16 colours of Windows.
_ALIKE = 8


def write_label_png(path: str | Path, labels: np.ndarray, *, durable: bool = False) -> None:
    """Write a label map (H, W) of integer object ids 0..65535 as a PNG whose pixel values are the ids.

        write_label_png("00000.png", labels)

    An existing file is replaced atomically. durable: wait until the file is on the disk. Raises `OutputError` if the
    disk is full or the folder is missing or not writable, `InputError` if `labels` is not a label map.
    """
    path, labels = as_path(path, "the file"), checked_labels(labels, "the label map")
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} would be a PNG picture; give it a name that ends in .png")
    high = int(labels.max())
    image = PIL.Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint16 if high > 255 else np.uint8))
    if high <= 255:
        image.putpalette(_PALETTE)  # makes a grey image an indexed one
    require_folder(path)
    with writing_file(path, "free or change its disk"), replacing(path, durable=durable) as temporary:
        # Label maps compress well at any level, and the lowest takes half the time. Run-length coding halves the file.
        image.save(temporary, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)


def array_of(values: Any, what: str, error: type[HodorError] = InputError) -> np.ndarray:
    """Values as an array; pixels that a masked array hides become 0.

    Raises `error`, naming the values as `what`, if NumPy cannot read them: a tensor on a GPU, rows of unequal lengths.
    """
    try:
        return np.asarray(np.ma.filled(values, 0))
    except (TypeError, ValueError, RuntimeError) as reason:
        raise error(f"{what} cannot be read ({str(reason).rstrip('.')}); give a NumPy array") from None


def checked_labels(labels: object, what: str, error: type[HodorError] = InputError) -> np.ndarray:
    """A label map as an array. Raises `error`, naming it as `what`, unless it is (H, W) ids from 0 to 65535."""
    array = array_of(labels, what, error)
    if array.dtype.kind not in "biu":
        raise error(f"{what} is {array.dtype}; give integers, or threshold a soft map")
    if array.ndim != 2 or not array.size:
        raise error(f"{what} must be (H, W), not {array.shape} {array.dtype}")
    if array.min() < 0 or array.max() > MAX_ID:
        raise error(f"{what} holds ids from {array.min()} to {array.max()}; they must be between 1 and {MAX_ID}")
    return array


def read_label_png(path: str | Path) -> np.ndarray:
    """Read a label PNG, indexed or grey with 1 to 16 bits, as (H, W) uint16 object ids. Every value is an id; use
    `read_mask` for masks drawn by hand. Raises `InputError` for any other file."""
    path = Path(path)
    require_exists(path, "label PNG")
    stored = read_stored(path, "a label PNG")
    if stored.format != "PNG" or stored.values.ndim != 2 or stored.values.dtype.kind == "f":
        kind = "colour" if stored.values.ndim == 3 else "grey"
        raise InputError(f"{path} is not a label PNG but a {kind} {stored.format}; save it as an indexed or grey PNG")
    highest = int(stored.values.max(initial=0))
    if highest > MAX_ID:
        raise InputError(f"{path} holds the id {highest}; object ids must be between 1 and {MAX_ID}")
    return stored.values.astype(np.uint16)


def is_label_picture(picture: StoredPicture) -> bool:
    """Whether a picture is certainly a label map and not a frame of a video. It is if its palette begins with the
    colours of DAVIS, VOC or YouTube-VOS, if it uses only the first few of its palette's many colours, or if it has no
    palette and contains only 0 and 1."""
    if picture.values.ndim != 2:
        return False
    ids = ids_in(picture.values)
    if picture.palette is None:
        return ids == [1] and not picture.values.all() and not picture.bilevel
    if any(np.array_equal(picture.palette[:_ALIKE], known[:_ALIKE]) for known in (davis_palette(), youtube_palette())):
        return True
    # A program that reduces a frame to a few colours writes a palette with only these colours.
    rest = np.unique(picture.palette[len(ids) + 1 :], axis=0)
    consecutive = bool(ids) and ids == list(range(1, len(ids) + 1)) and not picture.values.all()
    return consecutive and not picture.palette[0].any() and len(rest) > len(ids) + 1


def is_black_and_white(picture: StoredPicture) -> bool:
    """Whether a picture contains both black and white and nothing else, like a mask of one object."""
    if picture.values.ndim != 2:
        return False
    values = np.unique(picture.values)
    if picture.palette is not None:
        return sorted(picture.palette[values].tolist()) == [[0] * 3, [VOID] * 3]
    return values.tolist() == [0, 1 if picture.bilevel else VOID]


def davis_palette() -> np.ndarray:
    """(256, 3) uint8 RGB; row = object id, row 0 (background) is black.

    Rows 0 to 21 are from DAVIS, which has 191 where PASCAL VOC has 192. DAVIS continues with near-black greys that look
    the same, so rows from 22 on are from VOC.
    """
    palette = voc_palette()
    davis = palette[:22]
    davis[davis == 192] = 191
    return palette


def youtube_palette() -> np.ndarray:
    """(11, 3) uint8 RGB of YouTube-VOS; row = object id, row 0 (background) is black."""
    colours = "000000 ec5f67 f99157 fac863 99c794 62b3b2 6699cc c594c5 ab7967 ffffff 65737e"
    return np.frombuffer(bytes.fromhex(colours), np.uint8).reshape(-1, 3)


def voc_palette() -> np.ndarray:
    """(256, 3) uint8 RGB of PASCAL VOC. Every three bits of an id set one bit each of red, green and blue. The lowest
    id bits set the highest colour bits, so that neighbouring ids have very different colours."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.concatenate([np.packbits(bits[:, channel::3], axis=1) for channel in range(3)], axis=1)


_PALETTE = davis_palette().tobytes()


def ids_in(labels: NDArray[Any] | None) -> list[int]:
    """The object ids in a label map, ascending; empty for None."""
    if labels is None:
        return []
    small = labels.dtype in (np.uint8, np.uint16)  # counting is faster than sorting
    present = np.flatnonzero(np.bincount(labels.ravel())) if small else np.unique(labels)
    return [int(key) for key in present if key]


#: (x, y, width, height) in pixels.
Box = tuple[int, int, int, int]


def box_of(mask: NDArray[np.bool_] | NDArray[np.unsignedinteger]) -> Box | None:
    """The smallest box around the non-zero pixels of an (H, W) mask or label map; None if there are none."""
    # OpenCV finds the box much faster than NumPy. It looks at bytes, of which a 16-bit pixel has two.
    found: Any = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    x, y, width, height = found
    left, right = x // mask.itemsize, -(-(x + width) // mask.itemsize)
    return (left, y, right - left, height) if width else None


def extents(labels: NDArray[np.integer[Any]]) -> dict[int, tuple[int, Box]]:
    """The number of pixels and the box of each object in a label map (H, W), from one pass over it."""
    rows = np.flatnonzero(labels.max(axis=1))
    if not len(rows):
        return {}
    part = labels[rows[0] : rows[-1] + 1]
    begins = np.ones(part.shape, dtype=bool)  # where a run of one value begins, along the rows
    np.not_equal(part[:, 1:], part[:, :-1], out=begins[:, 1:])
    places = np.flatnonzero(begins)
    (y, x), lengths = np.divmod(places, part.shape[1]), np.diff(places, append=part.size)
    values = part[y, x]
    order = np.argsort(values, kind="stable")[np.count_nonzero(values == 0) :]
    values, y, x, lengths = values[order], y[order] + rows[0], x[order], lengths[order]
    first = np.flatnonzero(np.diff(values, prepend=0))  # run of each object
    ends = (np.maximum.reduceat(end, first) for end in (x + lengths, y + 1))
    left, top, right, bottom = *(np.minimum.reduceat(start, first) for start in (x, y)), *ends
    boxes = np.stack((left, top, right - left, bottom - top), axis=1).tolist()
    areas = np.add.reduceat(lengths, first).tolist()
    return {key: (area, tuple(box)) for key, area, box in zip(values[first].tolist(), areas, boxes, strict=True)}


def outside_fault(box: tuple[float, float, float, float], size: tuple[int, int]) -> str:
    """A sentence about a box that reaches outside a picture of `size` (height, width) by a pixel or more; "" if none
    does."""
    x, y, width, height = box
    if x > -1 and y > -1 and x + width < size[1] + 1 and y + height < size[0] + 1:
        return ""
    hint = "a box is x,y,width,height"
    if 0 <= x < width <= size[1] and 0 <= y < height <= size[0]:  # very likely two corners
        hint += f", so if these are two corners it is {x:g},{y:g},{width - x:g},{height - y:g}"
    return f"the box {x:g},{y:g},{width:g},{height:g} reaches outside the {size[1]}x{size[0]} picture; {hint}"


def window_of(box: Box) -> tuple[slice, slice]:
    """The rows and columns of a box, as an index into a picture."""
    x, y, width, height = box
    return slice(y, y + height), slice(x, x + width)
