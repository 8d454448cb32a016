"""Where an object is: four numbers in its descriptor, and what they say about each pixel of another frame.

Not in the paper. Soft attention tells a descriptor where its object was to about a twentieth of the frame; objects that
look alike may be closer together. So the numbers are measured on the mask and written into the descriptor, along
directions in which descriptors hardly differ, and the decoder prefers pixels near that place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hodor_cli.model.region import Region

#: Mean y and x of the mask, and its spread along both, as shares of the map.
PLACE_NUMBERS = 4
#: The place of an object that may be anywhere: its spread is far larger than the frame.
ANYWHERE = (0.5, 0.5, 2.0, 2.0)
#: How far an object's pixels are from the mean: as many spreads, and a share of the frame. These and the next three
#: were chosen on photographs and composites of clips that took no part in training.
_SLACK, _LEAST = 1.0, 0.02
#: What is added to the logits at the place itself, and what is taken from them far away at most.
_NEAR, _FAR = 1.0, -8.0
#: Of several objects, more is added for those that reach less far than others, as the density of a normal distribution
#: is higher the narrower it is: so a rucksack wins over the child that carries it. Wider than this, all are alike.
_NARROW = 0.1
#: How much of all that counts where the cue says where objects are, too.
_BESIDE_CUE = 0.5


@torch.no_grad()
def places_of(masks: Tensor) -> Tensor:
    """(B, N, h, w) soft masks in 0..1 -> (B, N, 4) float32: mean y and x, standard deviation of y and x, 0..1."""
    soft = masks.float()
    # What is likelier than half the likeliest pixel is the object; smoothly, so that roundings stay roundings.
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
    """Writes where an object is into its descriptor, and reads from that which pixels are near."""

    directions: Tensor
    offset: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        #: Orthonormal rows; what descriptors have along them is replaced by offset + place.
        self.register_buffer("directions", torch.eye(channels)[:PLACE_NUMBERS].contiguous())
        self.register_buffer("offset", torch.zeros(PLACE_NUMBERS))

    def write(self, descriptors: Tensor, masks: Tensor) -> Tensor:
        """descriptors (B, N, D) with the places of their masks (B, N, h, w) in them."""
        return self._with(descriptors, places_of(masks))

    def forget(self, descriptors: Tensor) -> Tensor:
        """descriptors (..., D) whose objects may be anywhere."""
        return self._with(descriptors, self.offset.new_tensor(ANYWHERE).expand(*descriptors.shape[:-1], -1))

    def _with(self, descriptors: Tensor, places: Tensor) -> Tensor:
        found, directions = descriptors.float(), self.directions.float()
        change = self.offset.float() + places.float() - found @ directions.T
        return (found + change @ directions).to(descriptors.dtype)

    def bias(self, descriptors: Tensor, region: Region, *, beside_cue: bool = False) -> Tensor:
        """What the descriptors (..., I, D) of a frame's objects add to the logits in a region of a map: (..., I, h, w).

        beside_cue: the cue says where objects are, too.
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


def _centres(size: int, device: torch.device) -> Tensor:
    return (torch.arange(size, device=device) + 0.5) / size
