"""Checks reference masks in the forms that a user may give, and brings them into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID, array_of, ids_in

Masks = np.ndarray | Mapping[int, np.ndarray]


def reference_masks_by_id(
    masks: Masks,
    *,
    size: tuple[int, int],
    frame: int,
    followed: Collection[int] = (),
) -> dict[int, np.ndarray]:
    """A label map (H, W) or {object id: (H, W) bool} -> {object id: (H, W) bool}.

    Only an object in `followed` may have an empty mask, which says that it is gone. Raises InputError for other empty
    masks, other types, masks of another size, ids that are not between 1 and 65535, and masks that overlap.
    """
    if isinstance(masks, np.ndarray):
        masks = np.ma.filled(masks, 0)  # pixels that a masked array hides are background
        if not np.issubdtype(masks.dtype, np.integer) and masks.dtype != bool:
            raise InputError(f"the label map of frame {frame} is {masks.dtype}; give integers, one id per pixel")
        _check_size(masks, size, f"the label map of frame {frame}")
        given: Mapping[int, np.ndarray] = {object_id: masks == object_id for object_id in ids_in(masks)}
    elif isinstance(masks, Mapping):
        given = masks
    else:
        raise InputError(
            f"the mask of frame {frame} is a {type(masks).__name__}; give a NumPy array of ids (such as"
            " `read_mask(path).labels`), or a mask for each object id"
        )
    by_id: dict[int, np.ndarray] = {}
    for object_id, values in given.items():
        check_object_id(object_id, f"in frame {frame}")
        what = f"the mask of object {object_id} in frame {frame}"
        by_id[int(object_id)] = mask = bool_mask(values, size, what)
        if not mask.any() and object_id not in followed:
            raise InputError(f"{what} is empty; mark at least one pixel or leave the object out")
    if not by_id:
        raise InputError(f"the mask of frame {frame} is empty; mark at least one object or give no mask")
    if not isinstance(masks, np.ndarray):
        _check_overlap(by_id, frame)
    return by_id


def bool_mask(values: object, size: tuple[int, int], what: str) -> np.ndarray:
    """A mask as (H, W) bool. Raises InputError, naming it as `what`, for another size, and for what is not integers or
    booleans."""
    mask = array_of(values, what)
    _check_size(mask, size, what)
    if mask.dtype.kind not in "biu":
        raise InputError(f"{what} is {mask.dtype}; give true or false per pixel, such as `mask > 0.5`")
    return mask.astype(bool)


def check_object_id(object_id: object, where: str) -> None:
    """Raise InputError, saying where, for an object id that is not a whole number between 1 and 65535."""
    if not isinstance(object_id, (int, np.integer)) or not 1 <= object_id <= MAX_ID:
        raise InputError(f"object id {object_id!r} {where} is not a whole number between 1 and {MAX_ID}; renumber it")


def _check_size(mask: np.ndarray, size: tuple[int, int], what: str) -> None:
    if mask.shape != size:
        found = f"{mask.shape[1]}x{mask.shape[0]} pixels" if mask.ndim == 2 else f"an array of shape {mask.shape}"
        raise InputError(f"{what} is {found} and the frame is {size[1]}x{size[0]}; give one of the frame's size")


def _check_overlap(by_id: dict[int, np.ndarray], frame: int) -> None:
    owner = np.zeros(next(iter(by_id.values())).shape, dtype=np.uint16)
    for object_id, mask in by_id.items():
        taken = owner[mask]
        if taken.any():
            other = int(taken[taken > 0][0])
            raise InputError(
                f"objects {other} and {object_id} share {int((taken > 0).sum())} pixels in frame {frame};"
                " give each pixel to one object, as `Clicker.labels` does"
            )
        owner[mask] = object_id
