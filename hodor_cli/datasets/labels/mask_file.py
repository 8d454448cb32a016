"""Reading one mask file as a person made it, and saying what was found in it.

What a value means: in an indexed or grey picture it is the object id, 0 is background; a picture of only 0 and 255 is
one object with id 1; 255 beside other ids is void and becomes background. In an RGB picture every colour is an object
and black is background. Transparent pixels are background.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.datasets.labels.mask_array import is_stack, load_npy, mask_from_array
from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_values import MaskFile, index_values, mask_from_rgb, mask_from_values, pack_rgb
from hodor_cli.datasets.labels.soft_edges import examine_edges
from hodor_cli.datasets.labels.stored import numbers_of, upright
from hodor_cli.errors import InputError
from hodor_cli.images.paths import require_exists
from hodor_cli.images.picture import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_CLEAR = 8  # alpha below this is the background's, whatever else there is
_COATS = 8  # more even levels of alpha than this are a gradient


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
    if (other := _other_format(path)) is not None:
        raise InputError(other)
    if path.suffix.lower() == ".npy":
        array = load_npy(path)
        _require_size(path, array.shape[1:] if is_stack(array) else array.shape[:2], size)
        mask = mask_from_array(array, path, known_colours)
    else:
        with open_picture(path, "a mask image") as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            _require_size(path, (image.width, image.height) if turned else (image.height, image.width), size)
            mask = _from_picture(image, path, known_colours)
    if not allow_empty and not mask.labels.any():
        raise InputError(f"{path} holds no object: every pixel is background")
    if mask.labels.all():
        mask.notes.append(f"{path.name} has no background pixel: its objects fill the whole picture")
    return mask


def _from_picture(image: Image, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    if image.format == "JPEG":
        return _from_jpeg(image, path)
    values = numbers_of(image, path, grey_in_colour=False)
    if values is not None and image.mode == "P":
        table = _palette(image)
        mask = mask_from_values(values, path, table[values])
        return MaskFile(mask.labels, _black_object_note(table, values, path) + mask.notes, void=mask.void)
    if values is not None:
        return mask_from_values(values, path)
    if image.mode == "F":
        return mask_from_array(upright(np.asarray(image), image), path, known)
    if "A" in image.getbands() or "transparency" in image.info:
        return _from_transparency(upright(np.asarray(image.convert("RGBA")), image), path, known)
    return mask_from_rgb(upright(np.asarray(image.convert("RGB")), image), path, known)


def _from_jpeg(image: Image, path: Path) -> MaskFile:
    """JPEG changes values, so only a black and white picture survives it."""
    grey = upright(np.asarray(image.convert("L")), image)
    coloured = float((np.ptp(np.asarray(image.convert("RGB")), axis=2) > 48).mean())
    between = float(((grey > 64) & (grey < 192)).mean())
    if coloured > 0.01 or between > 0.05 or not (grey >= 192).any():
        raise InputError(
            f"{path} is a JPEG, which changes the values that say which object a pixel belongs to; save the mask as PNG"
        )
    note = f"{path.name} is a JPEG, which blurs values: thresholded at 128 to one object, with id 1"
    return MaskFile((grey >= 128).astype(np.uint16), [note])


def _from_transparency(rgba: np.ndarray, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    """Transparent pixels are background; what shows is either painted objects or one object that was cut out."""
    least = _least_alpha(rgba[..., 3])
    shown = rgba[..., 3] >= least
    if shown.all():
        return mask_from_rgb(rgba[..., :3], path, known)
    visible = rgba[..., :3] * shown[..., None]
    colours, index_map = index_values(pack_rgb(visible))
    if len(np.unique(pack_rgb(rgba[..., :3][shown]))) > 1:
        # Painted areas are even; a cut-out photograph is not. The transparent part counts for neither.
        even = examine_edges(index_map, visible).solid_share - float((~shown).mean())
        if len(colours) <= 8 or even > 0.3 * float(shown.mean()):
            mask = mask_from_rgb(visible, path, known)
            return MaskFile(
                mask.labels, [f"{path.name}: transparent pixels are background", *mask.notes], mask.colours, mask.void
            )
    note = f"{path.name} is one object cut out by transparency (alpha of {least} and more), with id 1"
    return MaskFile(shown.astype(np.uint16), [note])


def _least_alpha(alpha: np.ndarray) -> int:
    """The least alpha (1..255) of what shows: half of the weakest even coat of paint, or of the strongest alpha where
    there is no even coat. Paint may be laid on at any opacity; its soft edges are cut in the middle."""
    levels, index_map = index_values(alpha)
    solid = [int(level) for level in levels[examine_edges(index_map, alpha[..., None]).solid] if level >= _CLEAR]
    weakest = min(solid) if 0 < len(solid) <= _COATS else int(levels[-1])
    return max(1, (weakest + 1) // 2)


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


def _other_format(path: Path) -> str | None:
    """What to do with an annotation file of another tool given as a mask; None for a picture or an array."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return f"{path} is an archive of arrays; save the one that is the mask as .npy"
    if suffix not in (".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".zip"):
        return None
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if suffix == ".zip":
        return f"{path} is a zip archive; unpack it and give one of its masks, or the folder"
    if suffix == ".json" and b'"shapes"' in start:
        return (
            f"{path} is LabelMe's JSON, which holds outlines; export it as a label PNG (`labelme_export_json` writes "
            "label.png) and give that"
        )
    if suffix == ".json" and (b'"annotations"' in start or b'"images"' in start):
        return (
            f"{path} is COCO JSON, which is a data set of photographs; a mask is a PNG or an .npy array of object ids, "
            "so export masks from the tool that wrote it (CVAT: Segmentation mask 1.1)"
        )
    return (
        f"{path} is a {suffix[1:].upper()} file, not a mask image; a mask is a PNG or an .npy array of object ids, so "
        "export masks as images from the tool that wrote it"
    )


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
