"""Prompts of an object, as tensors, and as maps, which are the input of the click network's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Box = tuple[float, float, float, float]

#: Channels of `PromptMaps.maps`.
PROMPT_CHANNELS = 11
#: Radius of a click's disc, and the decay lengths of the two maps of the distance to it, in cells of stride 4.
_DISC, _NEAR, _FAR = 1.5, 5.0, 20.0
#: The distance if there is no click of a kind.
_NOWHERE = 1e4


@dataclass(frozen=True)
class PromptState:
    """The prompts for one object: points (x, y, +1 or -1), a box, a mask to start from; and the resulting mask.

    logits: of the mask, at stride 2 of the frame's view. mask: (H, W) bool.
    """

    points: tuple[tuple[float, float, float], ...] = ()
    box: Box | None = None
    given: NDArray[np.bool_] | None = None
    logits: Tensor | None = None
    mask: NDArray[np.bool_] | None = None


class Prompts(NamedTuple):
    """The prompts for N objects, in pixels of the network's input.

    points: (N, P, 2) x, y of clicks, the first click first; signs: (N, P) 1 on the object, -1 off it, 0 for no click.
    boxes: (N, 4) left, top, right, bottom, all NaN without a box. previous: (N, 1, H/4, W/4) probabilities of the mask
    so far, all negative without one.
    """

    points: Tensor
    signs: Tensor
    boxes: Tensor
    previous: Tensor


class PromptMaps(NamedTuple):
    """maps: (N, PROMPT_CHANNELS, h, w), the head's input; places: (N, 5, h, w) weights >= 0 of the descriptors."""

    maps: Tensor
    places: Tensor


def prompt_maps(prompts: Prompts, size: tuple[int, int]) -> PromptMaps:
    """The maps of prompts at stride 4, `size` = (H/4, W/4)."""
    h, w = size
    device = prompts.points.device
    x = torch.arange(w, device=device, dtype=torch.float32).view(1, 1, 1, w)
    y = torch.arange(h, device=device, dtype=torch.float32).view(1, 1, h, 1)
    cells = (prompts.points.float() + 0.5) / 4 - 0.5  # (N, P, 2)
    distances = torch.hypot(x - cells[..., 0, None, None], y - cells[..., 1, None, None])  # (N, P, h, w)
    signs = prompts.signs[..., None, None]
    positive = distances.masked_fill(signs <= 0, _NOWHERE).amin(1, keepdim=True)
    negative = distances.masked_fill(signs >= 0, _NOWHERE).amin(1, keepdim=True)
    first = distances[:, :1].masked_fill(signs[:, :1] <= 0, _NOWHERE)

    left, top, right, bottom = ((edge / 4 - 0.5).view(-1, 1, 1, 1) for edge in prompts.boxes.unbind(1))
    boxed = prompts.boxes[:, 0].isfinite().view(-1, 1, 1, 1)
    inside = boxed & (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    outside = boxed & ~inside
    # Coordinates relative to the middle of the box, or to the first click, distinguish the object from others.
    middle = torch.stack(((left + right) / 2, (top + bottom) / 2)).nan_to_num()
    clicked = (signs[:, :1] != 0) & ~boxed
    x0, y0 = (
        torch.where(clicked, cells[:, 0, 0].view(-1, 1, 1, 1), middle[0]),
        torch.where(clicked, cells[:, 0, 1].view(-1, 1, 1, 1), middle[1]),
    )
    scale = max(h, w) / 2

    known = prompts.previous >= 0
    previous = prompts.previous.clamp(min=0)
    core = (previous > 0.5).float()
    maps = torch.cat(
        [
            *(torch.sigmoid(4 * (_DISC - d)) for d in (positive, negative)),
            *(torch.exp(-d / width) for d in (positive, negative) for width in (_NEAR, _FAR)),
            inside.float(),
            outside.float(),
            torch.where(known, 2 * previous - 1, 0.0),
            ((x - x0) / scale).expand(-1, 1, h, -1).clamp(-2, 2),
            ((y - y0) / scale).expand(-1, 1, -1, w).clamp(-2, 2),
        ],
        dim=1,
    )
    spot = [torch.exp(-((d / _DISC) ** 2)) for d in (positive, first, negative)]
    core = torch.where(known, core, inside.float())
    away = torch.where(known, 1 - core, outside.float())
    return PromptMaps(maps, torch.cat([*spot, core, away], dim=1))
