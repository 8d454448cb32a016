"""The correspondence cue: labels carried along by matching features with the previous and the reference frame.

Not part of the paper's network. A small network trained on few images learns slowly to tell an object from its
descriptor alone, while matching ImageNet features between frames carries labels rather well without any training. The
cue gives the decoder both: every pixel finds where it was in the previous frame (nearby) and in the reference frame
(anywhere) and brings that place's soft masks along. The memory is constant: one frame's keys and masks for each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.model.constants import cached_constant

if TYPE_CHECKING:
    from hodor_cli.model.decoder import History

#: Pixels that are matched at once.
_BLOCK = 128
#: Below this a logarithm of nearness counts as zero anyway. Without the limit most weights would be denormal numbers,
#: with which a CPU counts several times slower.
FARTHEST = -30.0


class KeyedMasks(NamedTuple):
    """A frame that can be matched with: keys (B, K, h, w) and soft object masks (B, I, h, w), both at stride 8."""

    keys: Tensor
    masks: Tensor


class Cue(NamedTuple):
    """Soft object masks (B, I, h, w) in 0..1, carried from the previous and from the reference frame."""

    previous: Tensor
    reference: Tensor


class Matcher(nn.Module):
    """Keys of a frame, and the soft masks that matching them with another frame's brings along."""

    def __init__(self, *, inputs: tuple[int, int], key_channels: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.key_proj = nn.Conv2d(sum(inputs), key_channels, 1, bias=False)
        # An orthogonal projection nearly keeps angles, so that ImageNet features match from the first iteration on.
        nn.init.orthogonal_(self.key_proj.weight.view(key_channels, -1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(40.0)))

    def keys(self, stride8: Tensor, stride16: Tensor) -> Tensor:
        """Unit-length keys (B, K, h, w) from the backbone's maps at strides 8 and 16."""
        coarse = F.interpolate(stride16, size=stride8.shape[-2:], mode="bilinear", align_corners=False)
        features = torch.cat((F.normalize(stride8, dim=1), F.normalize(coarse, dim=1)), dim=1)
        return F.normalize(self.key_proj(features).float(), dim=1)

    def forward(self, keys: Tensor, source: KeyedMasks, *, local: bool) -> Tensor:
        """Masks (B, I, h, w) of `source` carried to the frame with these keys; `local` prefers the same place."""
        height, width = keys.shape[-2:]
        with torch.autocast(keys.device.type, enabled=False):  # scores reach 40, where bfloat16 counts in quarters
            asked = (keys.flatten(2).transpose(1, 2) * self.log_scale.exp()).contiguous()
            answers, masks = source.keys.flatten(2), source.masks.flatten(2).transpose(1, 2).float()
            near = _nearness(height, width, self.sigma, keys.device) if local else None
            parts = []
            # A block of scores stays in a core's cache; all of them would be 20 MB, written and read four times.
            for begin in range(0, asked.shape[1], _BLOCK):
                scores = asked[:, begin : begin + _BLOCK] @ answers
                if near is not None:
                    scores = scores + near[begin : begin + _BLOCK]
                parts.append(scores.softmax(dim=-1) @ masks)
        return torch.cat(parts, dim=1).transpose(1, 2).unflatten(-1, (height, width))


class CueInjection(nn.Module):
    """Brings a cue into the decoder: as descriptors added to the map, and as a bias on the logits."""

    def __init__(self, *, channels: int, descriptor_channels: int) -> None:
        super().__init__()
        self.previous_proj = nn.Linear(descriptor_channels, channels)
        self.reference_proj = nn.Linear(descriptor_channels, channels)
        self.elsewhere = nn.Parameter(torch.zeros(2, channels))
        # Starts as plain label propagation.
        self.gain = nn.Parameter(torch.tensor([2.0, 2.0]))

    def forward(self, cue: Cue, history: History) -> Tensor:
        """(B, h, w, C): at each pixel the projected descriptors of the objects that the cue sees there."""
        weight = history.has_object[..., None].to(history.objects.dtype)
        objects = (history.objects * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)  # (B, I, D)
        terms = []
        for masks, proj, elsewhere in (
            (cue.previous, self.previous_proj, self.elsewhere[0]),
            (cue.reference, self.reference_proj, self.elsewhere[1]),
        ):
            masks = masks.permute(0, 2, 3, 1)
            seen = masks.flatten(1, 2) @ proj(objects).to(masks.dtype)
            terms.append(seen.view(*masks.shape[:3], -1) + (1 - masks.sum(dim=-1, keepdim=True)) * elsewhere)
        return terms[0] + terms[1]

    def add_to_logits(self, logits: Tensor, cue: Cue) -> Tensor:
        """Raise or lower the objects' logits (B, 10 + I, H, W) by what the cue says, learned in strength."""
        bias = self.gain[0] * (2 * cue.previous - 1) + self.gain[1] * (2 * cue.reference - 1)
        bias = F.interpolate(bias.float(), size=logits.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat((logits[:, : -bias.shape[1]], logits[:, -bias.shape[1] :] + bias), dim=1)


@cached_constant(maxsize=2)  # tens of MB each
def _nearness(height: int, width: int, sigma: float, device: torch.device) -> Tensor:
    """(h * w, h * w) float32: the logarithm of a Gaussian of the distance between two cells, at least FARTHEST."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    position = torch.stack((y.flatten(), x.flatten()), dim=-1).float()
    return (-torch.cdist(position, position).square() / (2 * sigma**2)).clamp(min=FARTHEST)
