"""Makes the masks of a frame's objects from boxes and clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import Box
from hodor_cli.records import Click
from hodor_cli.run.prompts import check_box

#: The smallest share of a box that an object must fill.
_MIN_SHARE = 0.03
#: An object's log-odds are reduced by this times the logarithm of its area. On 217 photographs with boxes around 2 to 4
#: objects whose masks overlap, the mean IoU is 72.5 with 2, 70.7 with 0, and 71.7 if the smaller object always wins.
_AREA_WEIGHT = 2.0


class PromptedMask(NamedTuple):
    """The mask of one object, made from its own prompts: (H, W) bool, and (H, W) float32 log-odds from `Clicker`."""

    mask: NDArray[np.bool_]
    log_odds: NDArray[np.float32]


def masks_from_prompts(
    image: NDArray[np.uint8],
    boxes: Mapping[int, Box],
    clicks: Mapping[int, Sequence[Click]],
    given: Mapping[int, NDArray[np.bool_]],
) -> dict[int, PromptedMask]:
    """Make the masks of objects with a box or clicks in a frame, by object id; they may overlap.

    image: (H, W, 3) uint8 RGB. given: masks that clicks correct. The mask of a box without clicks stays inside the box.
    A positive click on one object is a negative click for the others. The masks are deterministic.
    Raises UsageError for an invalid box, InputError if no object is found.
    """
    from hodor_cli.clicks.clicker import Clicker

    clicker = Clicker(device="cpu")
    clicker.set_frame(image)
    found: dict[int, PromptedMask] = {}
    for object_id in sorted({*boxes, *clicks}):
        box, of_object = boxes.get(object_id), clicks.get(object_id, ())
        if box is not None:
            check_box(box, (image.shape[0], image.shape[1]))
            clicker.box(box, object=object_id)
        elif object_id in given:
            clicker.set_mask(given[object_id], object=object_id)
        others = [
            click._replace(positive=False)
            for other, of_other in clicks.items()
            for click in of_other
            if other != object_id and click.positive
        ]
        # Positive clicks come first, because the first prompt must be on the object.
        for click in sorted([*of_object, *others], key=lambda click: not click.positive):
            clicker.click(click.x, click.y, positive=click.positive, object=object_id)
        mask = clicker.mask(object_id)
        least = 1.0
        if box is not None and not of_object:
            x, y, width, height = box
            inside = np.zeros_like(mask)
            inside[y : y + height, x : x + width] = True
            mask &= inside
            least = _MIN_SHARE * width * height
        if mask.sum() < least:
            place = f"at the clicks of object {object_id}" if box is None else f"in the box {','.join(map(str, box))}"
            raise InputError(f"no object was found {place}; click on the object, or give a mask")
        found[object_id] = PromptedMask(mask, clicker.log_odds(object_id))
    return found


def owners(found: Mapping[int, PromptedMask]) -> NDArray[np.uint16]:
    """The object that each pixel belongs to if masks overlap: (H, W) ids, 0 for none.

    A pixel in several masks goes to the object with the highest log-odds there, which are reduced for large objects:
    the smaller object is usually in front, such as a ball before a person.
    """
    by_area = sorted(found.items(), key=lambda item: int(item[1].mask.sum()))
    owner = np.zeros(by_area[0][1].mask.shape, np.uint16)
    highest = np.zeros(owner.shape, np.float32)
    for object_id, (mask, log_odds) in by_area:
        evidence = log_odds - np.float32(_AREA_WEIGHT * np.log(max(1, mask.sum())))
        won = mask & ((owner == 0) | (evidence > highest))
        owner[won], highest[won] = object_id, evidence[won]
    return owner
