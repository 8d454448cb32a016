"""Reads a mask file that a person made, and says how it was interpreted.

In an indexed or grey picture, a value is an object id and 0 is background. A picture of only 0 and 255 is one object
with id 1; besides other ids, 255 is void and becomes background. In an RGB picture, every colour is an object and black
is background. Transparent pixels are background. An .npy file holds ids, probabilities, colours, or a stack of masks.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_values import (
    CELLPOSE,
    NO_PICTURES,
    MaskFile,
    examine_edges,
    index_values,
    mask_from_rgb,
    mask_from_values,
    numbers_of,
    pack_rgb,
)
from hodor_cli.datasets.parsing import parse_json
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import MAX_ID, ids_in
from hodor_cli.images.paths import as_path, plural, read_start, require_exists, size_text
from hodor_cli.images.picture import StoredPicture, read_stored

#: The shapes that a mask array may have, for messages.
_ARRAYS = "a mask is (height, width), or (objects, height, width) of booleans"
_CLEAR = 8  # pixels with a lower alpha are always background
_COATS = 8  # most opacities that paint may have; more levels of alpha are a gradient


def read_mask(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    known_colours: dict[int, Colour] | None = None,
    allow_empty: bool = False,
) -> MaskFile:
    """Read a mask: an indexed, grey, RGB or RGBA picture (PNG, TIFF, BMP, lossless WebP), or an .npy array.

        labels = read_mask("first.png", size=(480, 854)).labels  # (H, W) ids, 0 is background

    An .npy array is (H, W) ids or booleans, (N, H, W) booleans for the objects 1..N, or (H, W, 3) colours. size: the
    (height, width) that the mask must have. known_colours: object id -> colour of earlier masks, whose colours keep
    their ids. allow_empty: accept a mask without objects. Raises `InputError`, which names the file, for a wrong size,
    soft edges, ids above 65535, or no object.
    """
    path = as_path(path, "the mask")
    if size is not None:
        try:
            height, width = map(int, size)
        except (TypeError, ValueError):
            raise UsageError(f"`size` must be (height, width) in pixels, not {size!r}") from None
        size = (height, width)
    require_exists(path, "mask")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a mask file")
    suffix = path.suffix.lower()
    if suffix in NO_PICTURES and suffix != ".npy":
        if suffix == ".json":
            parse_json(path, object, "JSON", "save it again")  # raises if it is damaged, and says where
        raise InputError(
            f"{path} ({suffix[1:].upper()} file) is not a mask image; a mask is a PNG or an .npy array of object ids "
            "(unpack archives first); annotations from LabelMe, COCO, YOLO, CVAT or Label Studio are read by "
            "`read_annotations`"
        )
    if suffix == ".npy":
        array = _load_npy(path)
        stacked = array.ndim == 3 and array.dtype == bool
        if stacked and array.shape[:2] == size:
            raise InputError(f"{path} has the shape {array.shape}; {_ARRAYS}")
        _require_size(path, array.shape[1:] if stacked else array.shape[:2], size)
        mask = mask_from_array(array, path, known_colours)
    else:
        picture = read_stored(path, "a mask image")
        _require_size(path, picture.values.shape[:2], size)
        mask = _from_picture(picture, path, known_colours)
        if picture.pages > 1:
            mask.notes.append(f"{path.name} holds {picture.pages} pictures; only the first is read")
    if not allow_empty and not mask.labels.any():
        raise InputError("; ".join([f"{path} holds no object: every pixel is background", *mask.notes]))
    if mask.labels.all():
        mask.notes.append(f"{path.name} has no background pixel: its objects fill the whole picture")
    elif covers_edge(mask.labels):
        way_out = "paint it black" if mask.colours else "invert the mask"
        note = f"objects cover the whole edge of the picture; if that is the background, {way_out}"
        mask.notes.append(f"{path.name}: {note}")
    return mask


def covers_edge(labels: NDArray[np.integer]) -> bool:
    """Whether objects cover nearly the whole edge of a label map (H, W), where background is usual."""
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return bool(np.count_nonzero(edge) > 0.9 * len(edge))


def _from_picture(picture: StoredPicture, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    # In 16 bits, transparent values are background; in 8 bits, the picture may be a cut-out (`_from_transparency`).
    if picture.values.dtype == np.uint16 and picture.clear:
        clear = np.isin(picture.values, list(picture.clear))
        picture = replace(picture, values=np.where(clear, 0, picture.values), clear=frozenset())
    values = numbers_of(picture, path, grey_in_colour=False)
    if values is not None and (table := picture.palette) is not None:
        mask = mask_from_values(values, path, table[values])
        black = [index for index in ids_in(values) if not table[index].any()]
        if black and table[0].any():  # some painting programs do not put black first in the palette
            drawn = f"{path.name} is indexed: index 0, drawn in #{table[0].tobytes().hex()}, is the background"
            note = f"the black index {black[0]} is an object; save it as RGB if black should be the background"
            mask.notes.insert(0, f"{drawn} and {note}")
        return mask
    if values is not None:
        return mask_from_values(values, path)
    if picture.values.dtype.kind == "f":
        return _from_floats(picture.values, path)
    colours = _colours(picture)
    if picture.format == "JPEG":
        return _from_jpeg(colours[..., :3], path)
    if colours.shape[2] == 4:
        return _from_transparency(colours, path, known)
    return mask_from_rgb(colours, path, known)


def _colours(picture: StoredPicture) -> np.ndarray:
    """Convert any picture to (H, W, 3) RGB or (H, W, 4) RGBA uint8."""
    values = picture.values
    if values.ndim == 3:
        return values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    if picture.palette is not None:
        rgb = picture.palette[values]
    else:
        rgb = np.repeat(values[..., None], 3, axis=2).astype(np.uint8)
    alpha = np.where(np.isin(values, list(picture.clear)), 0, 255).astype(np.uint8)
    return np.concatenate([rgb, alpha[..., None]], axis=2)


def _from_jpeg(rgb: np.ndarray, path: Path) -> MaskFile:
    """Threshold a black and white JPEG. Any other is refused, because JPEG changes values."""
    grey = (rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).round()
    coloured = float((np.ptp(rgb, axis=2) > 48).mean())
    between = float(((grey > 64) & (grey < 192)).mean())
    if coloured > 0.01 or between > 0.05 or not (grey >= 192).any():
        fault = f"{path} is a JPEG, whose compression changes object ids; save the mask as PNG"
        raise InputError(f"{fault}, or if this is a photograph, draw its mask with `hodor annotate`")
    note = f"{path.name} is a JPEG, which blurs values: it was thresholded at 128 to one object, with id 1"
    return MaskFile((grey >= 128).astype(np.uint16), [note])


def _from_transparency(rgba: np.ndarray, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    """Transparent pixels are background; the visible ones are painted objects, or one object that was cut out."""
    # The lowest alpha (1..255) that counts as visible is half the alpha of the most transparent even area, or half the
    # highest alpha if no area is even. So paint of any opacity is visible, and soft edges are cut in the middle.
    levels, index_map = index_values(rgba[..., 3])
    solid = [int(level) for level in levels[examine_edges(index_map, rgba[..., 3:]).solid] if level >= _CLEAR]
    least = max(1, ((min(solid) if 0 < len(solid) <= _COATS else int(levels[-1])) + 1) // 2)
    shown = rgba[..., 3] >= least
    if shown.all():
        return mask_from_rgb(rgba[..., :3], path, known)
    visible = rgba[..., :3] * shown[..., None]
    colours, index_map = index_values(pack_rgb(visible))
    if len(np.unique(pack_rgb(rgba[..., :3][shown]))) > 1:
        # Painted areas are even, unlike a photograph. The transparent part, also even, is subtracted.
        even = examine_edges(index_map, visible).solid_share - float((~shown).mean())
        if len(colours) <= 8 or even > 0.3 * float(shown.mean()):
            mask = mask_from_rgb(visible, path, known)
            return replace(mask, notes=[f"{path.name}: transparent pixels are background", *mask.notes])
    note = f"{path.name} is one object cut out by transparency (alpha of {least} and more), with id 1"
    return MaskFile(shown.astype(np.uint16), [note])


def _require_size(path: Path, shape: tuple[int, ...], size: tuple[int, int] | None) -> None:
    if size is None or tuple(shape) == size:
        return
    both = f"{path} is {size_text(shape)} but the frames are {size_text(size)}"
    if tuple(shape) == size[::-1]:
        raise InputError(f"{both}: the mask is on its side; rotate it by 90 degrees")
    ratio, want_ratio = (width / height for height, width in (shape, size))
    if abs(ratio / want_ratio - 1) < 0.01:
        raise InputError(f"{both}, the same aspect ratio at another size; resize it by nearest neighbour")
    raise InputError(f"{both}, another aspect ratio ({ratio:.2f}, not {want_ratio:.2f}); was it made for other frames?")


def _load_npy(path: Path) -> np.ndarray:
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
        if path.stem.endswith("_seg"):
            raise InputError(f"{path} is probably {CELLPOSE}") from error
        raise InputError(f"{path} is not an .npy array that can be read: {reason}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise InputError(f"{path} contains no numbers; a mask is an array of object ids or booleans")
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.reshape(array.shape[1:] if array.shape[0] == 1 else array.shape[:2])
    deep = array.ndim == 3 and (array.dtype == bool or (array.shape[2] == 3 and array.dtype == np.uint8))
    if array.size == 0 or not (array.ndim == 2 or deep):
        raise InputError(f"{path} has the shape {array.shape}; {_ARRAYS}")
    return np.array(array)


def mask_from_array(array: np.ndarray, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    """Convert an array in one of `_load_npy`'s layouts to labels. Raises `InputError` for values that cannot be ids."""
    if array.ndim == 3:
        return _from_stack(array, path) if array.dtype == bool else mask_from_rgb(array, path, known)
    if array.dtype == bool:
        return MaskFile(array.astype(np.uint16))
    if array.dtype.kind == "f":
        return _from_floats(array, path)
    return mask_from_values(array, path)


def _from_floats(array: np.ndarray, path: Path) -> MaskFile:
    """Convert (H, W) floats to labels: whole numbers are ids; fractions are probabilities, of one object where they are
    above 0.5. Raises `InputError` for other values."""
    if not np.isfinite(array).all():
        raise InputError(f"{path} contains values that are not finite (NaN or infinity)")
    low, high = float(array.min()), float(array.max())
    if np.array_equal(array, np.round(array)) and abs(low) < 2**31 and abs(high) < 2**31:
        return mask_from_values(array.astype(np.int64), path)
    if low < 0 or high > 1:
        raise InputError(f"{path} has fractions from {low:g} to {high:g}; give object ids, or probabilities of 0 to 1")
    note = f"{path.name} holds fractions from 0 to 1, read as probabilities: one object with id 1 where above 0.5"
    return MaskFile((array > 0.5).astype(np.uint16), [note])


def _from_stack(stack: np.ndarray, path: Path) -> MaskFile:
    if len(stack) > MAX_ID:
        raise InputError(f"{path} holds {len(stack)} masks, but there can be at most {MAX_ID} objects")
    overlap = stack.sum(axis=0, dtype=np.int32) > 1
    if overlap.any():
        first, second = np.flatnonzero(stack[:, overlap][:, 0])[:2]
        raise InputError(
            f"{path} gives {plural(int(overlap.sum()), 'pixel')} to several masks: {first}, {second} (from 0)"
        )
    numbers = np.arange(1, len(stack) + 1, dtype=np.uint16)
    labels = (stack * numbers[:, None, None]).sum(axis=0, dtype=np.uint16)
    return MaskFile(labels, [f"{path.name} is a stack of {len(stack)} masks, read as the objects 1 to {len(stack)}"])
