"""Converts the values in a mask to object ids: what numbers and colours mean, and which values are refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.labels.mask_colours import Colour, labels_from_colours
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID, VOID, ids_in
from hodor_cli.images.paths import listed, plural
from hodor_cli.images.picture import StoredPicture, read_stored

LabelMap = npt.NDArray[np.uint16] | npt.NDArray[np.uint8]

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm", ".webp")
#: Endings of files that are not pictures; `read_mask` reads .npy and explains the others.
NO_PICTURES = (".npy", ".npz", ".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".zip")

#: What is wrong with Cellpose's own files, which are pickles.
CELLPOSE = "Cellpose's NAME_seg.npy, which only Cellpose can open; save its masks there as PNG"


def read_numbers(path: Path) -> LabelMap | None:
    """Read a mask file of plain numbers (indexed, grey, or grey stored as RGB) as (H, W) uint8 or uint16, upright.

    Returns None for a file that `read_mask` has to interpret: colours, transparency, JPEG, floats, an array. Raises
    InputError, which names the file, if it cannot be read.
    """
    if path.suffix.lower() in NO_PICTURES:
        return None
    return numbers_of(read_stored(path, "a mask image"), path)


def numbers_of(picture: StoredPicture, path: Path, *, grey_in_colour: bool = True) -> LabelMap | None:
    """(H, W) numbers of a picture with one per pixel; None for any other picture, and if a value other than 0 is
    transparent (then that value is the background, not 0). grey_in_colour: also accept grey stored as RGB."""
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
        raise InputError(f"{path} holds the value {wrong}; object ids must be between 1 and {MAX_ID}, 0 is background")


@dataclass(frozen=True)
class EdgeReport:
    """soft: values that occur only along edges, as blending of two others. solid: values that fill at least one 3x3
    block. Both are indices into the examined values. solid_share: fraction of all pixels that are the centre of such a
    block."""

    soft: np.ndarray
    solid: np.ndarray
    solid_share: float


def examine_edges(index_map: np.ndarray, channels: np.ndarray) -> EdgeReport:
    """Distinguish solid values from soft ones.

    index_map: (H, W) non-negative integers, one number per distinct value. channels: (H, W, C) the values themselves.
    A value is soft if it fills no 3x3 block and at least half of its pixels are, in some channel, strictly between the
    lowest and the highest of their neighbours. A tiny object is not soft, because it differs from all neighbours.
    """
    block = np.ones((3, 3), np.uint8)
    places = index_map.astype(np.float32)  # exact: indices and values stay below 2 to the 24
    solid_pixels = cv2.erode(places, block) == cv2.dilate(places, block)
    between = np.zeros(index_map.shape, dtype=bool)
    for channel in np.moveaxis(channels, -1, 0):
        values = np.ascontiguousarray(channel, dtype=np.float32)
        between |= (cv2.erode(values, block) < values) & (values < cv2.dilate(values, block))
    count = int(index_map.max(initial=0)) + 1
    total = np.bincount(index_map.ravel(), minlength=count)
    solid = np.bincount(index_map[solid_pixels], minlength=count)
    blended = np.bincount(index_map[between], minlength=count)
    soft = (total > 0) & (solid == 0) & (2 * blended >= total)
    return EdgeReport(np.flatnonzero(soft), np.flatnonzero(solid), float(solid_pixels.mean()))


@dataclass(frozen=True)
class MaskFile:
    """One mask as read.

    labels:  (H, W) uint16 object ids, 0 background.
    notes:   sentences for the user about how the file was interpreted.
    colours: for an RGB mask, object id -> (r, g, b) in the file.
    void:    (H, W) bool, the pixels that are neither object nor background (0 in `labels`); None if there are none.
    white:   whether the file contains only 0 and white.
    """

    labels: np.ndarray
    notes: list[str] = field(default_factory=list)
    colours: dict[int, Colour] | None = None
    void: np.ndarray | None = None
    white: bool = False

    @property
    def object_ids(self) -> list[int]:
        """The ids in the mask, ascending."""
        return ids_in(self.labels)


def white_value(present: Collection[int]) -> int | None:
    """The value of the object in a black and white mask: 255, or 65535 in 16 bits; None for any other mask.

    present: the values that occur in the mask.
    """
    values = set(present) - {0}
    return values.pop() if len(values) == 1 and values <= {VOID, MAX_ID} else None


def has_void(present: Collection[int]) -> bool:
    """Whether 255 means void: there are other ids, none above 255, and not so many that 255 is probably one of them.

    present: the values that occur in the mask.
    """
    others = set(present) - {0, VOID}
    return VOID in present and bool(others) and max(others) < VOID and not (VOID - 1 in others and len(others) > 126)


def mask_from_values(values: np.ndarray, path: Path, palette: np.ndarray | None = None) -> MaskFile:
    """Labels from (H, W) integers: a value is an id; only 0 and white are one object; 255 next to other ids is void.

    palette: (H, W, 3) colours of an indexed picture, which also show soft edges. Raises `InputError` for ids out of
    range and for soft edges.
    """
    ids, index_map = index_values(values)
    require_ids(int(ids[0]), int(ids[-1]), path)
    present = {int(i) for i in ids}
    white = white_value(present)
    if white is not None:
        notes = [f"{path.name} holds only 0 and {white}: it is one object, with id 1"] if 0 in present else []
        return MaskFile((values == white).astype(np.uint16), notes, white=True)
    channels = values[..., None]
    if palette is not None:
        channels = np.concatenate([channels, palette], axis=2)
    top = {"uint8": 255, "uint16": MAX_ID}.get(values.dtype.name)
    notes = _check_value_edges(ids, index_map, channels, top, path)
    labels = values.astype(np.uint16)
    void = None
    if has_void(present):
        void = labels == VOID
        labels[void] = 0
        count = plural(int(void.sum()), "pixel")
        notes.append(f"{path.name} has {count} of 255 besides other ids: read as void, which is background")
    return MaskFile(labels, notes, void=void)


def mask_from_rgb(rgb: np.ndarray, path: Path, known: dict[int, Colour] | None) -> MaskFile:
    """Labels from (H, W, 3) uint8 colours: each is an object, black is background. known: id -> colour of earlier
    masks. Raises `InputError` for soft edges and photographs."""
    if not known and (rgb == rgb[..., :1]).all():
        mask = mask_from_values(rgb[..., 0], path)
        return replace(mask, notes=[f"{path.name} is RGB but all grey: each grey value is an id", *mask.notes])
    packed = pack_rgb(rgb)
    values, index_map = index_values(packed)
    if len(values) > 2:
        report = examine_edges(index_map, rgb)
        soft, solid = (int((values[found] > 0).sum()) for found in (report.soft, report.solid))
        if (soft >= 3 and soft > solid) or len(values) > MAX_ID:
            raise _soft_edge_error(path, len(values), soft, report.solid_share)
    labels, colours, notes = labels_from_colours(values, index_map, path.name, known)
    return MaskFile(labels, notes, colours)


def pack_rgb(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 colours as uint32 0xRRGGBB."""
    wide = rgb.astype(np.uint32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def index_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, ascending, and the index of each pixel's value."""
    if values.dtype.kind == "u" and int(values.max()) < 1 << 24:  # a table is many times faster than sorting the pixels
        seen = np.zeros(int(values.max()) + 1, dtype=bool)
        seen[values] = True
        table = np.cumsum(seen, dtype=np.int32) - 1
        return np.flatnonzero(seen).astype(values.dtype), table[values]
    found, index_map = np.unique(values, return_inverse=True)
    return found, index_map.reshape(values.shape)  # flat in some versions of NumPy


def _check_value_edges(
    ids: np.ndarray, index_map: np.ndarray, channels: np.ndarray, top: int | None, path: Path
) -> list[str]:
    """Raise `InputError` if most values come from soft edges; return a note if only a few may."""
    if len(ids) < 3:
        return []
    report = examine_edges(index_map, channels)
    soft = [int(i) for i in ids[report.soft] if i]
    solid = [int(i) for i in ids[report.solid] if i]
    present = [int(i) for i in ids]
    # Refuses values like 0, 1, 254, 255, but not 0, 1, 2, 255, which are probably objects and void.
    inner = present[1:-1]
    near = all(i <= 8 or i >= 247 for i in inner) and any(i >= 247 for i in inner)
    if top == VOID and {0, VOID} < set(present) and near:
        raise InputError(f"{path} has values close to 0 and 255 ({listed(inner)}), as from a JPEG; threshold it at 128")
    # If only white is solid, all other greys must belong to its edge, however few they are.
    if (len(soft) >= 3 and len(soft) > len(solid)) or (soft and solid == [top]):
        raise _soft_edge_error(path, len(ids), len(soft), report.solid_share)
    if not soft:
        return []
    return [f"{path.name} has the ids {listed(soft)} only along edges: blended pixels, or something very thin?"]


def _soft_edge_error(path: Path, values: int, soft: int, solid_share: float) -> InputError:
    if solid_share < 0.2:
        what = f"{path} looks like a photograph or soft map ({values} values); in a mask, each is an object"
        return InputError(f"{what}, so draw a mask with `hodor annotate`")
    return InputError(
        f"{path} has soft edges: {soft} of its {values} values appear only along edges, as from a JPEG or smoothing; "
        "each would be an object; save it with hard edges, or if it is black and white, threshold it at 128"
    )
