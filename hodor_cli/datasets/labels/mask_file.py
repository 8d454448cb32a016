"""Reading one mask file as a person made it, and saying what was found in it.

What a value means: in an indexed or grey picture it is the object id, 0 is background; a picture of only 0 and 255 is
one object with id 1; 255 beside other ids is void and becomes background. In an RGB picture every colour is an object
and black is background. See `read_label_png` for the reader that takes values as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.datasets.labels.mask_array import is_stack, load_npy, mask_from_array
from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_values import MaskFile, index_values, mask_from_rgb, mask_from_values, pack_rgb
from hodor_cli.datasets.labels.soft_edges import examine_edges
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import is_label_mode, label_values
from hodor_cli.images.paths import require_exists
from hodor_cli.images.picture import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_OPAQUE = 128  # alpha from here on counts as there


def read_mask(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    known_colours: dict[int, Colour] | None = None,
    allow_empty: bool = False,
) -> MaskFile:
    """Read a mask: an indexed, grey, RGB or RGBA picture (PNG, TIFF, BMP, lossless WebP), or an .npy array.

    size: (height, width) it must have. known_colours: object id -> colour of masks read before, so that a colour keeps
    its id. An .npy is (H, W) ids or booleans, (N, H, W) booleans for the objects 1..N, or (H, W, 3) colours.
    Raises `InputError` naming the file for everything in it that cannot be meant: another size, no object, soft edges,
    ids out of 1..65535.
    """
    path = Path(path)
    require_exists(path, "mask")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a mask file")
    if path.suffix.lower() == ".npy":
        array = load_npy(path)
        _require_size(path, array.shape[1:] if is_stack(array) else array.shape[:2], size)
        mask = mask_from_array(array, path, known_colours)
    else:
        with open_picture(path, "a mask image") as image:
            _require_size(path, (image.height, image.width), size)
            mask = _from_picture(image, path, known_colours)
    if not allow_empty and not mask.labels.any():
        raise InputError(f"{path} holds no object: every pixel is background")
    if mask.labels.all():
        mask.notes.append(f"{path.name} has no background pixel: its objects fill the whole picture")
    return mask


def _from_picture(image: Image, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    if image.format == "JPEG":
        return _from_jpeg(image, path)
    if image.mode == "P":
        values = label_values(image)
        table = _palette(image)
        mask = mask_from_values(values, path, table[values])
        return MaskFile(mask.labels, _black_object_note(table, values, path) + mask.notes)
    if is_label_mode(image.mode):
        return mask_from_values(label_values(image), path)
    if image.mode == "F":
        return mask_from_array(np.asarray(image), path, known)
    if "A" in image.getbands():
        return _from_transparency(image, path, known)
    return mask_from_rgb(np.asarray(image.convert("RGB")), path, known)


def _from_jpeg(image: Image, path: Path) -> MaskFile:
    """JPEG changes values, so only a black and white picture survives it."""
    grey = np.asarray(image.convert("L"))
    coloured = float((np.ptp(np.asarray(image.convert("RGB")), axis=2) > 48).mean())
    between = float(((grey > 64) & (grey < 192)).mean())
    if coloured > 0.01 or between > 0.05 or not (grey >= 192).any():
        raise InputError(
            f"{path} is a JPEG, which changes the values that say which object a pixel belongs to; save the mask as PNG"
        )
    note = f"{path.name} is a JPEG, which blurs values: thresholded at 128 to one object, with id 1"
    return MaskFile((grey >= 128).astype(np.uint16), [note])


def _from_transparency(image: Image, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    """Transparent pixels are background; what shows is either painted objects or one object that was cut out."""
    rgba = np.asarray(image.convert("RGBA"))
    opaque = rgba[..., 3] >= _OPAQUE
    if opaque.all():
        return mask_from_rgb(rgba[..., :3], path, known)
    visible = rgba[..., :3] * opaque[..., None]
    colours, index_map = index_values(pack_rgb(visible))
    if len(np.unique(pack_rgb(rgba[..., :3][opaque]))) > 1:
        # Painted areas are even; a cut-out photograph is not. The transparent part counts for neither.
        even = examine_edges(index_map, visible).solid_share - float((~opaque).mean())
        if len(colours) <= 8 or even > 0.3 * float(opaque.mean()):
            mask = mask_from_rgb(visible, path, known)
            return MaskFile(mask.labels, [f"{path.name}: transparent pixels are background", *mask.notes], mask.colours)
    note = f"{path.name} is one object cut out by transparency (alpha of {_OPAQUE} and more), with id 1"
    return MaskFile(opaque.astype(np.uint16), [note])


def _palette(image: Image) -> np.ndarray:
    """(256, 3) uint8 colours of an indexed picture; black where its palette ends."""
    flat = np.array(image.getpalette("RGB") or [], dtype=np.uint8)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(flat) // 3] = flat.reshape(-1, 3)
    return table


def _black_object_note(table: np.ndarray, values: np.ndarray, path: Path) -> list[str]:
    """Painting programs put black anywhere in the palette; say so where the background does not look like one."""
    black = [int(i) for i in np.unique(values) if i and not table[i].any()]
    if not black or not table[0].any():
        return []
    return [
        f"{path.name} is indexed: index 0, drawn in #{table[0].tobytes().hex()}, is the background and the black index "
        f"{black[0]} is an object; save it as RGB if black is meant to be the background"
    ]


def _require_size(path: Path, shape: tuple[int, ...], size: tuple[int, int] | None) -> None:
    if size is None or tuple(shape) == tuple(size):
        return
    (height, width), (want_height, want_width) = shape, size
    both = f"{path} is {width}x{height} but the frames are {want_width}x{want_height}"
    if (height, width) == (want_width, want_height):
        raise InputError(f"{both}: the mask lies on its side; turn it by 90 degrees")
    ratio, want_ratio = width / height, want_width / want_height
    if abs(ratio / want_ratio - 1) < 0.01:
        raise InputError(
            f"{both}, the same shape at another size; resize the mask without smoothing (nearest neighbour)"
        )
    raise InputError(
        f"{both}, another aspect ratio ({ratio:.2f} instead of {want_ratio:.2f}): the mask was made for other pictures"
    )
