"""The correspondence cue: masks carried along by matching features with the previous and the reference frame.

Not part of the paper's network. A small network trained on few images is slow to learn to recognise an object by its
descriptor alone, while matching ImageNet features between frames carries masks along rather well without any training.
The cue gives the decoder both: each pixel is matched with the previous frame (nearby), and with the reference frame and
a recent one (anywhere), and takes over the soft masks of the cells that it matches. Memory is constant: the keys and
masks of each of these frames.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.config import COLOUR_CHANNELS
from hodor_cli.model.region import Region
from hodor_cli.model.types import Affinity, Cue, History, KeyedMasks
from hodor_cli.runtime.device import without_autocast

#: The log-nearness of cells out of reach, which makes their weight exactly zero. A slightly larger number would give
#: denormal weights, with which a CPU computes several times slower.
FARTHEST = -1e4
#: A cell with at least this probability of an object counts as a part of it that other cells may follow.
PART = 0.3
#: How much an object's logits are lowered where it cannot be.
FAR = 20.0
#: Objects of at most this many cells are too small to judge by their area whether they have come nearer.
FEW = 4.0
#: The weight of a recent frame for an object that is twice as large in it as in the reference frame. J of six
#: composites in which objects grow for 20 frames is 0.807 with 0.5, 0.824 with this and 0.826 with 1.
_NEAR = 0.75
#: The cosine between a cell's key and its best match at which it counts as half matched, and the width of that
#: transition. A wing that opens matches nothing in the previous frame, where the ground resembles it most. Chosen on
#: six clips that were kept out of training and on composites of them.
_ALIKE, _ALIKE_WIDTH = 0.75, 0.03
#: Where matching at half the resolution carries at least this much of an object, and not nearly all, it is not sure.
_UNSURE = 0.1


class Matcher(nn.Module):
    """Computes a frame's keys, and carries soft masks to it by matching them with another frame's keys.

    With the previous frame, cells are matched within `reach` stride-8 cells, because objects move little from frame to
    frame. With the reference frame, they are matched anywhere, at half the resolution and, where that is unsure, once
    more at full resolution.

    colours: keys also hold the colours of their cells (see `colour_codes`). Where frames are matched anywhere, these
    count as much as the features; nearby they do not count, because there they brought nothing.
    """

    def __init__(
        self,
        *,
        inputs: tuple[int, int],
        key_channels: int,
        sigma: float,
        reach: int,
        spread: int,
        colours: bool = False,
    ) -> None:
        super().__init__()
        self.sigma, self.reach, self.spread, self.colours = sigma, reach, spread, colours
        self.key_proj = nn.Conv2d(sum(inputs), key_channels, 1, bias=False)
        # An orthogonal projection nearly keeps angles, so that ImageNet features match from the first iteration on.
        nn.init.orthogonal_(self.key_proj.weight.view(key_channels, -1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(40.0)))

    def keys(self, stride8: Tensor, stride16: Tensor, colours: Tensor | None = None) -> Tensor:
        """Keys (B, K, h, w) from the backbone's maps at strides 8 and 16: unit vectors of features and, behind them,
        those of the `colours` (B, 6, h, w) if there are any."""
        coarse = F.interpolate(stride16, size=stride8.shape[-2:], mode="bilinear", align_corners=False)
        features = torch.cat((F.normalize(stride8, dim=1), F.normalize(coarse, dim=1)), dim=1)
        keys = F.normalize(self.key_proj(features).float(), dim=1)
        return keys if colours is None else torch.cat((keys, colours), dim=1)

    def unit(self, keys: Tensor) -> Tensor:
        """Keys whose features and colours are scaled to unit length again, after an interpolation or a mean."""
        parts = keys.split((keys.shape[1] - COLOUR_CHANNELS, COLOUR_CHANNELS), dim=1) if self.colours else (keys,)
        return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)

    def nearby(self, keys: Tensor, source: KeyedMasks) -> tuple[Tensor, Tensor]:
        """The masks of `source`, carried to the frame with these keys from nearby cells, (B, I, h, w); and how well
        each cell is matched, (B, 1, h, w) in 0..1."""
        return self.carried(self.affinity(keys, source.keys), source.masks)

    def affinity(self, keys: Tensor, source: Tensor, region: Region | None = None) -> Affinity:
        """Match the cells of a region with those within `reach` in the frame with the keys `source`."""
        if self.colours:
            keys, source = keys[:, :-COLOUR_CHANNELS], source[:, :-COLOUR_CHANNELS]
        with without_autocast(keys.device):  # scores reach 40, where bfloat16 has steps of 1/4
            weights, best, covered = self._affinity(keys, source, region or Region.all_of(*keys.shape[2:]))
            matched = ((best / self.log_scale.exp() + (1 - _ALIKE)) / _ALIKE_WIDTH).sigmoid()
            return Affinity(weights, matched, covered)

    def carried(self, affinity: Affinity, masks: Tensor, region: Region | None = None) -> tuple[Tensor, Tensor]:
        """As `nearby`, by an affinity that covers `region` with a frame of these masks (B, I, h, w); zero outside."""
        with without_autocast(masks.device):
            carried, matched = self._carried(affinity, masks), affinity.matched
            return (carried, matched) if region is None else (region.alone(carried), region.alone(matched))

    def anywhere(self, coarse: Tensor, source: KeyedMasks, keys: Tensor | None = None) -> Tensor:
        """The masks of `source`, carried from anywhere in it to a frame of the same size: (B, I, h, w).

        coarse: the frame's keys at half the resolution (`every_second`). keys: with these, its keys at full resolution,
        cells for which that is unsure are matched again.
        """
        with without_autocast(coarse.device):
            carried = self._anywhere(coarse, source).unflatten(-1, coarse.shape[-2:])
            carried = F.interpolate(carried, scale_factor=2, mode="bilinear", align_corners=False)
            if keys is None:
                return carried
            most, least = (sign * F.max_pool2d(sign * carried, 3, stride=1, padding=1) for sign in (1, -1))
            unsure = ((most > _UNSURE) & (least < 1 - _UNSURE)).flatten(0, 1).any(dim=0)
            return self._again(carried, unsure, keys, source)

    def _affinity(self, keys: Tensor, source: Tensor, region: Region) -> tuple[Tensor, Tensor, Region]:
        """Match every cell, or at least those of a region, with the cells within `reach`, preferring nearer ones.

        Returns the weights of the cells, the score of each cell's best match (B, 1, h, w), which is at most 0, and the
        region in which they are right.
        """
        y, x = (self._nearness(size, keys.device) for size in keys.shape[-2:])
        near = (y[:, None, :, None] + x[None, :, None, :]).clamp(min=FARTHEST).flatten(2).flatten(0, 1)  # (hw, hw)
        scores = self._scores(keys, source) + near
        return (
            scores.softmax(dim=-1),
            scores.amax(dim=-1)[:, None].unflatten(-1, region.whole),
            Region.all_of(*region.whole),
        )

    def _carried(self, affinity: Affinity, masks: Tensor) -> Tensor:
        """Masks carried to the cells of the affinity's region; (B, I, h, w)."""
        return _weighted(affinity.weights, masks).unflatten(-1, masks.shape[-2:])

    def _anywhere(self, coarse: Tensor, source: KeyedMasks) -> Tensor:
        """Match each of these keys with the whole frame: (B, I, cells)."""
        return _weighted(self._scores(coarse, source.keys).softmax(dim=-1), source.masks)

    def _again(self, carried: Tensor, cells: Tensor, keys: Tensor, source: KeyedMasks) -> Tensor:
        """Masks `carried` (B, I, h, w), with some cells (h, w) bool matched again, by these keys."""
        return torch.where(cells, self._anywhere(keys, source).unflatten(-1, keys.shape[2:]), carried)

    def every_second(self, keys: Tensor) -> Tensor:
        """Keys (B, K, h, w), with even sides, at half the resolution."""
        rows = keys[:, :, ::2] + keys[:, :, 1::2]  # faster than `avg_pool2d`
        return self.unit(rows[..., ::2] + rows[..., 1::2])

    def _scores(self, keys: Tensor, source: Tensor) -> Tensor:
        """How well each key (row) matches each of `source` (column): (B, cells, cells), at most 0."""
        return self.log_scale.exp() * (keys.flatten(2).transpose(1, 2) @ source.flatten(2) - 1)

    def _nearness(self, size: int, device: torch.device) -> Tensor:
        """(size, size): the logarithm of a Gaussian of the distance along one side; FARTHEST out of reach."""
        position = torch.arange(size, device=device)
        distance = position[:, None] - position
        nearness = -distance.float().square() / (2 * self.sigma**2)
        return nearness.masked_fill(distance.abs() > self.reach, FARTHEST)


def _weighted(weights: Tensor, masks: Tensor) -> Tensor:
    """Masks (B, I, h, w), weighted for each of some cells (B, cells, hw): (B, I, cells)."""
    return (weights @ masks.float().flatten(2).transpose(1, 2)).transpose(1, 2)


class CueInjection(nn.Module):
    """Feeds a cue to the decoder: as descriptors added to the map, and as a bias on the logits.

    gate: scale the bias at each pixel by a factor computed from the decoder's map.
    """

    def __init__(self, *, channels: int, descriptor_channels: int, gate: bool = False) -> None:
        super().__init__()
        self.previous_proj = nn.Linear(descriptor_channels, channels)
        self.reference_proj = nn.Linear(descriptor_channels, channels)
        self.elsewhere = nn.Parameter(torch.zeros(2, channels))
        # Starts as plain mask propagation.
        self.gain = nn.Parameter(torch.tensor([2.0, 2.0]))
        self.gate = nn.Conv2d(channels, 2, 1) if gate else None
        if self.gate is not None:
            for parameter in self.gate.parameters():
                nn.init.zeros_(parameter)  # a factor of 1 everywhere

    def forward(self, cue: Cue, history: History) -> Tensor:
        """(B, h, w, C): at each pixel, the projected descriptors of the objects that the cue has there."""
        weight = history.has_object[..., None].to(history.objects.dtype)
        objects = (history.objects * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)  # (B, I, D)
        terms = []
        for masks, proj, elsewhere in (
            (cue.previous, self.previous_proj, self.elsewhere[0]),
            (cue.reference, self.reference_proj, self.elsewhere[1]),
        ):
            masks = masks.permute(0, 2, 3, 1)
            inside = masks.flatten(1, 2) @ proj(objects).to(masks.dtype)
            terms.append(inside.view(*masks.shape[:3], -1) + (1 - masks.sum(dim=-1, keepdim=True)) * elsewhere)
        return terms[0] + terms[1]

    def add_to_logits(self, logits: Tensor, cue: Cue, stride8: Tensor) -> Tensor:
        """Raise the objects' logits (B, 10 + I, H, W) where the cue has them and lower them elsewhere.

        stride8: (B, C, h, w), the decoder's last map, from which the gate computes its factors.
        """
        previous, reference = 2 * cue.previous - 1, 2 * cue.reference - 1
        if self.gate is not None:
            factors = 2 * self.gate(stride8).float().sigmoid()
            previous, reference = previous * factors[:, :1], reference * factors[:, 1:]
        if cue.matched is not None:
            # A pixel that matches nothing gets no mask carried to it, but may still belong to an object.
            previous, reference = (torch.where(x < 0, x * cue.matched, x) for x in (previous, reference))
        bias = self.gain[0] * previous + self.gain[1] * reference
        bias = F.interpolate(bias.float(), size=logits.shape[-2:], mode="bilinear", align_corners=False)
        logits = torch.cat((logits[:, : -bias.shape[1]], logits[:, -bias.shape[1] :] + bias), dim=1)
        return logits if cue.near is None else kept_near(logits, cue.near)


def with_recent(reference: Tensor, carried: Tensor, recent: Tensor, given: Tensor) -> Tensor:
    """Combine masks (B, I, h, w) carried from the reference frame with those `carried` from a recent frame.

    recent: the masks in the recent frame; an object that is not in them keeps the reference frame's mask. given: the
    objects' areas (B, I) in the reference frame, in cells. Each frame has weight 1/2, but the recent one shows more of
    an object that has come nearer since: its weight grows to `_NEAR` where the area has doubled.
    """
    area = recent.flatten(2).sum(dim=2)
    grown = (area / given.clamp(min=1)).clamp(min=1, max=2).log2() * ((given > FEW) & (area > FEW))
    share = (0.5 + (_NEAR - 0.5) * grown)[..., None, None]
    visible = (recent.flatten(2).amax(dim=2) > 0.5)[..., None, None]
    return torch.where(visible, reference + (carried - reference) * share, reference)


def at_most_one(masks: Tensor) -> Tensor:
    """Scale soft masks (B, I, h, w) down where they sum to more than 1, because several objects claim a pixel."""
    return masks / masks.sum(dim=1, keepdim=True).clamp(min=1)


def surroundings(masks: Tensor, spread: int) -> Tensor:
    """Where objects with soft masks (B, I, h, w) can be a frame later: 1 within `spread` cells, else 0; same shape."""
    return F.max_pool2d((masks > PART).float(), 2 * spread + 1, stride=1, padding=spread)


def kept_near(logits: Tensor, near: Tensor) -> Tensor:
    """Logits (B, 10 + I, 2h, 2w), with each object's lowered where `near` (B, I, h, w) is 0.

    Something far away that looks like the object is another one. But an object that is not found near at all, because
    of a cut or because it was hidden, may be anywhere.
    """
    near = F.interpolate(near, scale_factor=2, mode="nearest")
    count = near.shape[1]
    objects = logits[:, -count:]
    found = ((logits.softmax(dim=1)[:, -count:] * near).flatten(2).amax(dim=-1) > 0.5)[..., None, None]
    objects = torch.where((near == 0) & found, objects - FAR, objects)
    return torch.cat((logits[:, :-count], objects), dim=1)
