"""Artificial mistakes in the correspondence cue, so that a network learns to correct them.

The cue carries the last frame's masks along, including their mistakes. Short training sequences have few mistakes, so
the network would learn to trust the cue, and in a long video a lost object would stay lost. Therefore parts of the
carried masks are erased and pieces are added next to the objects; the network must use the features to correct them.
In some sequences the cue is also wrong about a whole object in every frame: it shows the object nowhere, elsewhere, or
in another object's place; the network must then rely on the descriptors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hodor_cli.model.matching import at_most_one
from hodor_cli.model.types import Cue
from hodor_cli.training.config import TrainConfig


class Hardship(NamedTuple):
    """What makes an iteration harder: the settings of these names in `TrainConfig`, drawn for the iteration.

    drop_cue: leave out the correspondence cue, so that only the descriptors are left.
    drop_history: decode from the newest source's descriptors only.
    damage_cue: chance of mistakes in the masks that the cue carries from the newest source.
    wrong_cue: chance, per object, that the cue is wrong about the whole object in all frames.
    """

    drop_cue: bool = False
    drop_history: bool = False
    damage_cue: float = 0.0
    wrong_cue: float = 0.0

    @staticmethod
    def drawn(config: TrainConfig, iteration: int) -> Hardship:
        """The hardship of an iteration, determined by the seed and the iteration."""
        cue, history = np.random.default_rng([config.seed, iteration, 7]).random(2)
        dropped = bool(cue < config.drop_cue), bool(history < config.drop_history)
        return Hardship(*dropped, config.damage_cue, config.wrong_cue)


NO_HARDSHIP = Hardship()
#: Range of the sides of erased and added ellipses, as shares of the sides of the object's box.
_SIDES = (0.25, 0.8)


def with_mistakes(masks: Tensor, chance: float) -> Tensor:
    """Soft masks with mistakes; every object gets a hole and an added piece, each with this chance.

    masks: (B, I, h, w) in 0..1, which sum to at most 1 at every pixel before and afterwards. An object without a cell
    above 0.5 gets no mistakes. Uses PyTorch's global generator.
    """
    batch, count, height, width = masks.shape
    inside = masks > 0.5
    y0, y1 = _extent(inside.any(dim=3))
    x0, x1 = _extent(inside.any(dim=2))
    there = inside.flatten(2).any(dim=2)
    draws = torch.rand(10, batch, count, device=masks.device)
    tall, wide = y1 - y0 + 1, x1 - x0 + 1

    erased = there & (draws[0] < chance)
    hole = _ellipse(
        (y0 + draws[1] * tall, x0 + draws[2] * wide), (_side(draws[3]) * tall, _side(draws[4]) * wide), (height, width)
    )
    masks = torch.where(hole & erased[..., None, None], 0.0, masks)

    # The piece is centred near the border of the object's box.
    added = there & (draws[5] < chance)
    angle = 2 * torch.pi * draws[6]
    beside = (
        (y0 + y1) / 2 + angle.sin() * tall * (0.4 + 0.4 * draws[7]),
        (x0 + x1) / 2 + angle.cos() * wide * (0.4 + 0.4 * draws[7]),
    )
    piece = _ellipse(beside, (_side(draws[8]) * tall / 2, _side(draws[9]) * wide / 2), (height, width))
    piece &= added[..., None, None]
    # Where pieces of several objects overlap, the first object gets the cell.
    piece &= piece.int().cumsum(dim=1) == 1
    return torch.where(piece.any(dim=1, keepdim=True), piece.to(masks.dtype), masks)


def _extent(filled: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true index along the last axis of `filled` (B, I, n), float; 0 and n - 1 if none is true."""
    count = filled.shape[-1]
    first = filled.int().argmax(dim=-1)
    last = count - 1 - filled.flip(-1).int().argmax(dim=-1)
    return first.float(), last.float()


def _side(draw: Tensor) -> Tensor:
    return _SIDES[0] + (_SIDES[1] - _SIDES[0]) * draw


def _ellipse(centre: tuple[Tensor, Tensor], sides: tuple[Tensor, Tensor], size: tuple[int, int]) -> Tensor:
    """(B, I, h, w) bool: ellipses with these centres and axes, each (B, I), in cells."""
    y = torch.arange(size[0], device=centre[0].device)[:, None] - centre[0][..., None, None]
    x = torch.arange(size[1], device=centre[0].device) - centre[1][..., None, None]
    return (2 * y / sides[0][..., None, None]).square() + (2 * x / sides[1][..., None, None]).square() <= 1


class WrongCue(NamedTuple):
    """How the cue is wrong about each object in all frames of a sequence; all fields but `shift` are (B, I) bool.

    gone: the cue shows the object nowhere. moved: it shows it lower and farther right by `shift` (B, 2, I), shares of
    the map's sides. swapped: it shows it in the place of the preceding object. both: the cue from the reference frame
    has the same mistake.
    """

    gone: Tensor
    moved: Tensor
    shift: Tensor
    swapped: Tensor
    both: Tensor

    @staticmethod
    def draw(batch: int, count: int, chance: float, device: torch.device) -> WrongCue:
        """Each object is wrong with this chance, in one of the three ways. Uses PyTorch's global generator."""
        draws = torch.rand(5, batch, count, device=device)
        wrong, way = draws[0] < chance, draws[1]
        each = 1 / 3 if count > 1 else 1 / 2  # a single object cannot be swapped
        return WrongCue(
            gone=wrong & (way < each),
            moved=wrong & (way >= each) & (way < 2 * each),
            shift=draws[2:4].transpose(0, 1) - 0.5,
            swapped=wrong & (way >= 2 * each),
            both=draws[4] < 0.5,
        )

    def apply(self, cue: Cue) -> Cue:
        """The cue with these mistakes; its masks still sum to at most 1 at every pixel."""
        reference = self._mistaken(cue.reference)
        reference = torch.where(self.both[..., None, None], reference, cue.reference)
        return cue._replace(previous=at_most_one(self._mistaken(cue.previous)), reference=at_most_one(reference))

    def _mistaken(self, masks: Tensor) -> Tensor:
        """Soft masks (B, I, h, w) with every object's mistake."""
        height, width = masks.shape[-2:]
        wrong = torch.where(self.swapped[..., None, None], masks.roll(1, dims=1), masks)
        y = torch.arange(height, device=masks.device) - (self.shift[:, 0] * height).round().long()[..., None]
        x = torch.arange(width, device=masks.device) - (self.shift[:, 1] * width).round().long()[..., None]
        # A part shifted out on one side comes back on the other, which is a mistake like any other.
        cells = (y % height)[..., None] * width + (x % width)[..., None, :]
        shifted = masks.flatten(2).gather(2, cells.flatten(2)).view_as(masks)
        wrong = torch.where(self.moved[..., None, None], shifted, wrong)
        return torch.where(self.gone[..., None, None], 0.0, wrong)
