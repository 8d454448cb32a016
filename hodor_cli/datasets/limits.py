"""Which objects are large enough to train on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from hodor_cli.settings import about, check_settings


@dataclass(frozen=True)
class ObjectLimits:
    """Which objects of a picture are large enough to be a reference.

    Objects are measured as if their image were scaled to `at_area` pixels, the size at which the paper trains. With
    `at_area=None` they are measured in the pixels of the file.
    """

    min_area: Annotated[float, about("Minimum area of an object, in pixels.", least=0)] = 2000.0
    min_side: Annotated[float, about("Minimum width and height of its box, in pixels.", least=0)] = 20.0
    at_area: Annotated[float, about("Image area at which objects are measured; none for the file's.", above=0)] | (
        None
    ) = 300_000.0

    def __post_init__(self) -> None:
        check_settings(self)

    def accepts(self, area: float, box_width: float, box_height: float, height: int, width: int) -> bool:
        """Whether an object of this area and box (pixels of the file) may be a reference in a height x width image."""
        ratio = 1.0 if self.at_area is None or height * width == 0 else height * width / self.at_area
        return area >= self.min_area * ratio and min(box_width, box_height) >= self.min_side * math.sqrt(ratio)

    def usable_ids(self, labels: NDArray[np.integer]) -> tuple[int, ...]:
        """The ids in an (H, W) label map whose objects are within the limits, ascending."""
        present = (np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1).tolist()
        return tuple(one for one in present if self.accepts(*area_and_sides(labels == one), *labels.shape))

    def __str__(self) -> str:
        at = "" if self.at_area is None else f" in an image scaled to {self.at_area:,.0f} px"
        return f"area >= {self.min_area:g} px and sides >= {self.min_side:g} px{at}"


def area_and_sides(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """(area, box width, box height) of an (H, W) mask in pixels; zeros for an empty one."""
    from hodor_cli.images.label_png import box_of  # slow to import, and the help of `pretrain` imports this module

    _, _, width, height = box_of(mask) or (0, 0, 0, 0)
    return int(np.count_nonzero(mask)), width, height
