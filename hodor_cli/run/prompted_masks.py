"""Makes the masks of a frame's objects from boxes and clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hodor_cli.clicks.shapes import PromptedMask
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import Box
from hodor_cli.records import Click
from hodor_cli.run.prompts import check_box

#: The smallest share of a box that an object must fill.
_MIN_SHARE = 0.03


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
