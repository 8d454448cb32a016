"""Makes masks from the page's clicks and boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hodor_cli.clicks.clicker import Clicker
from hodor_cli.errors import InputError

Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]
Point = tuple[float, float, bool]


@dataclass
class Clicks:
    """The clicks (x, y, positive) on one object in one frame, oldest first, and the object's mask before them.

    others: positive clicks on other objects in the frame, which count as negative clicks for this object.
    """

    frame: int
    object_id: int
    start: Mask
    points: list[Point] = field(default_factory=list)
    others: list[Point] = field(default_factory=list)


class Prompter:
    """Makes masks from clicks and boxes. The features of a frame are computed once for consecutive prompts in it."""

    def __init__(self, device: str = "auto") -> None:
        self._clicker = Clicker(device=device)
        self._frame: int | None = None
        #: The object and the clicks that the clicker knows; None if it must start over.
        self._clicked: tuple[int, list[Point]] | None = None

    def click(self, image: Image, clicks: Clicks) -> Mask:
        """The mask (H, W) after the newest click. Raises UsageError if the first click is negative."""
        self.show(image, clicks.frame)
        new = list(clicks.points)
        if self._clicked == (clicks.object_id, new[:-1]):
            new = new[-1:]
        else:  # another object, or a click was undone
            self._clicker.reset(clicks.object_id)
            if clicks.start.any():
                self._clicker.set_mask(clicks.start, object=clicks.object_id)
            new[1:1] = [(x, y, False) for x, y, _ in clicks.others]
        self._clicked = None
        mask = clicks.start
        for x, y, positive in new:
            mask = self._clicker.click(x, y, positive=positive, object=clicks.object_id)
        self._clicked = (clicks.object_id, list(clicks.points))
        return mask

    def box(self, image: Image, frame: int, object_id: int, box: tuple[int, int, int, int]) -> Mask:
        """The mask (H, W) of the object in a box (x, y, width, height). Raises UsageError for one outside the frame."""
        self.show(image, frame)
        self._clicked = None
        return self._clicker.box(box, object=object_id)

    def show(self, image: Image, frame: int) -> None:
        """Compute the features of a frame, unless it was shown last."""
        if frame != self._frame:
            self._frame = self._clicked = None
            self._clicker.set_frame(image)
            self._frame = frame


def found(mask: Mask, advice: str) -> Mask:
    """Return the mask, or raise InputError with the advice if it is empty."""
    if not mask.any():
        raise InputError(f"no object was found there; {advice}")
    return mask


def mostly_taken(mask: Mask, labels: NDArray[np.uint16], object_id: int) -> int:
    """The other object that loses more than half of its pixels to the mask of `object_id`, or 0."""
    others = np.where(labels == object_id, 0, labels)
    taken = np.bincount(others[mask], minlength=1)
    taken[0] = 0
    most = int(taken.argmax())
    return most if 2 * taken[most] > np.count_nonzero(others == most) else 0
