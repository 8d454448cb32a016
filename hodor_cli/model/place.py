"""An object's place: four numbers in its descriptor, which make the decoder prefer pixels near them in another frame.

Not in the paper. By soft attention, a descriptor knows its object's place only to about a twentieth of the frame, but
objects that look alike may be closer together than that. So the place is measured on the mask and written into the
descriptor, along directions in which descriptors hardly differ.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hodor_cli.model.region import Region
from hodor_cli.runtime.constants import cached_constant

#: Mean y and x of the mask, and its spread (standard deviation) along both, as shares of the map.
PLACE_NUMBERS = 4
#: The place of an object that can be anywhere: its spread is far larger than the frame.
ANYWHERE = (0.5, 0.5, 2.0, 2.0)
#: An object's reach along a side is _SLACK times its spread plus _LEAST of the frame. These and the next three were
#: chosen on photographs and composites of clips that took no part in training.
_SLACK, _LEAST = 1.0, 0.02
#: What is added to the logits at the place itself, and at most far away from it.
_NEAR, _FAR = 1.0, -8.0
#: Objects that reach less far than others get more added, as a narrower normal distribution has a higher density: so a
#: rucksack wins over the child that carries it. From this reach on, all objects are treated alike.
_NARROW = 0.1
#: The weight of the whole bias where a cue also says where objects are.
_BESIDE_CUE = 0.5


@torch.no_grad()
def places_of(masks: Tensor) -> Tensor:
    """(B, N, h, w) soft masks in 0..1 -> (B, N, 4) float32: mean y and x, standard deviation of y and x, 0..1."""
    soft = masks.float()
    # Pixels above half the maximum belong to the object. The threshold is soft, so that rounding errors stay small.
    peak = soft.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    weights = torch.sigmoid(40 * (soft / peak - 0.5))
    weights = weights / weights.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    numbers = []
    for share in (weights.sum(dim=3), weights.sum(dim=2)):  # of each row; of each column
        centres = _centres(share.shape[-1], masks.device)
        mean = (share * centres).sum(dim=-1)
        variance = (share * (centres - mean[..., None]) ** 2).sum(dim=-1)
        numbers.append((mean, variance.sqrt()))
    (y, height_spread), (x, width_spread) = numbers
    return torch.stack((y, x, height_spread, width_spread), dim=-1)


class Place(nn.Module):
    """Writes an object's place into its descriptor, and computes from it which pixels are near."""

    directions: Tensor
    offset: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        #: Orthonormal rows; the components of descriptors along them are replaced by offset + place.
        self.register_buffer("directions", torch.eye(channels)[:PLACE_NUMBERS].contiguous())
        self.register_buffer("offset", torch.zeros(PLACE_NUMBERS))

    def write(self, descriptors: Tensor, masks: Tensor) -> Tensor:
        """Descriptors (B, N, D) with the places of their masks (B, N, h, w) written into them."""
        return self._with(descriptors, places_of(masks))

    def forget(self, descriptors: Tensor) -> Tensor:
        """Descriptors (..., D) whose objects can be anywhere."""
        return self._with(descriptors, self.offset.new_tensor(ANYWHERE).expand(*descriptors.shape[:-1], -1))

    def _with(self, descriptors: Tensor, places: Tensor) -> Tensor:
        found, directions = descriptors.float(), self.directions.float()
        change = self.offset.float() + places.float() - found @ directions.T
        return (found + change @ directions).to(descriptors.dtype)

    def bias(self, descriptors: Tensor, region: Region, *, beside_cue: bool = False) -> Tensor:
        """What the places in descriptors (..., I, D) add to the objects' logits in a region of a map: (..., I, h, w).

        beside_cue: whether a cue also says where objects are.
        """
        y, x, *spreads = (descriptors.float() @ self.directions.float().T - self.offset.float()).unbind(dim=-1)
        reaches = [_SLACK * spread.clamp(min=0) + _LEAST for spread in spreads]
        density = (_NARROW**2 / (reaches[0] * reaches[1])).log().clamp(min=0)
        peak = _NEAR + density - density.amin(dim=-1, keepdim=True)
        away = []
        for mean, reach, part, size in zip((y, x), reaches, region[:2], region.whole, strict=True):
            centres = _centres(size, descriptors.device)[part]
            away.append(((centres - mean[..., None]) / reach[..., None]) ** 2 / 2)
        bias = (peak[..., None, None] - away[0][..., :, None] - away[1][..., None, :]).clamp(min=_FAR)
        return _BESIDE_CUE * bias if beside_cue else bias


@cached_constant(maxsize=32)
def _centres(size: int, device: torch.device) -> Tensor:
    return (torch.arange(size, device=device) + 0.5) / size
