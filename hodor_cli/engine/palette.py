"""Palettes: the few main colours of an object, by which descriptors alone tell apart what features do not.

Not in the paper. A descriptor recognises a shirt in any colour, so where descriptors are used alone, children who cross
are exchanged. Each given mask, and each background cell of its frame, leaves the colours that it has there; in other
frames, an object gains where a cell has its colours rather than those of the others. Masks that the network found
leave none: their mistakes would reinforce themselves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import COLOUR_CHANNELS
from hodor_cli.runtime.device import without_autocast

#: Colours of a palette, and rounds of k-means that find them.
_COLOURS, _ROUNDS = 6, 8
#: How sharply colours are told apart (the exponent of the product of two colour codes), and the density below which
#: all colours are equally unusual. All were chosen on composites of clips that took no part in training.
_SHARPNESS, _RARE = 50.0, 0.02
#: The weight of the logarithm of how much more usual a colour is in an object than elsewhere, and the most that it adds
#: to a logit or takes from it: shade makes new colours.
_WEIGHT, _MOST = 4.0, 4.0


def palettes_of(codes: Tensor, masks: Tensor) -> Tensor:
    """The palette of each mask: (N, K, 7), the code of each colour and its share of the mask, 0..1.

    codes: of colours (6, h, w), see `colour_codes`. masks: (N, h, w) in 0..1. A mask without a cell above 0.5 has
    shares of zero.
    """
    with without_autocast(codes.device):  # in bfloat16, products of similar colours are all 1
        return torch.stack([_palette(codes[:, mask > 0.5].T.float()) for mask in masks])


def _palette(codes: Tensor) -> Tensor:
    """k-means of colour codes (n, 6), from colours that are far apart; the same for the same codes."""
    if not len(codes):
        return codes.new_zeros(_COLOURS, COLOUR_CHANNELS + 1)
    centres = codes[(codes @ codes.mean(dim=0)).argmin()][None]
    while len(centres) < _COLOURS:
        centres = torch.cat((centres, codes[(codes @ centres.T).amax(dim=1).argmin()][None]))
    for _ in range(_ROUNDS):
        own = F.one_hot((codes @ centres.T).argmax(dim=1), _COLOURS).to(codes.dtype)
        number = own.sum(dim=0)[:, None]
        centres = torch.where(number > 0, F.normalize(own.T @ codes, dim=1), centres)
    return torch.cat((centres, number / len(codes)), dim=1)


def colour_bias(codes: Tensor, objects: Tensor, background: Tensor) -> Tensor:
    """What colours add to the logits of objects: (I, h, w).

    codes: of a frame's colours (6, h, w). objects (T, I, K, 7) and background (T, 9, K, 7): palettes of T frames with
    masks, of zeros where there is none. An object without any gains and loses nothing.
    """
    with without_autocast(codes.device):
        of_objects, known = _density(codes, objects)
        of_background, seen = _density(codes, background.flatten(0, 1)[:, None])
    densities = torch.cat((of_objects[known], of_background[seen]))
    bias = torch.zeros_like(of_objects)
    if len(densities):
        usual = densities.mean(dim=0)
        more = ((of_objects[known] + _RARE) / (usual + _RARE)).log()
        bias[known] = (_WEIGHT * more).clamp(-_MOST, _MOST)
    return bias


def _density(codes: Tensor, palettes: Tensor) -> tuple[Tensor, Tensor]:
    """How usual a frame's colours are in palettes (T, N, K, 7): the mean over those that there are, (N, h, w) in 0..1,
    and for which there is one, (N,) bool."""
    there = palettes[..., -1].sum(dim=-1) > 0
    products = palettes[..., :-1] @ codes.flatten(1).float()
    usual = (palettes[..., -1:] * (_SHARPNESS * (products - 1)).exp()).sum(dim=-2)
    number = there.sum(dim=0)
    return (usual.sum(dim=0) / number.clamp(min=1)[:, None]).unflatten(-1, codes.shape[1:]), number > 0
