"""The data that the network's parts exchange: feature maps, descriptors, their history, and the matching cue."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hodor_cli.model.region import Region


class Maps(NamedTuple):
    """Feature maps of B frames: all that encoding, decoding and matching need of a frame, whatever its masks are.

    stride4 (B, C, H/4, W/4) and stride8 (B, C, H/8, W/8); keys (B, K, H/8, W/8) for matching, None for models without a
    correspondence cue.
    """

    stride4: Tensor
    stride8: Tensor
    keys: Tensor | None = None


class Descriptors(NamedTuple):
    """Descriptors of one frame: objects (B, I, D) and background (B, 9, D)."""

    objects: Tensor
    background: Tensor


class History(NamedTuple):
    """Descriptors of T frames, the newest last. An object or the background may be absent from some of them.

    objects (B, T, I, D), background (B, T, 9, D), has_object (B, T, I) bool, has_background (B, T) bool.
    complete: the caller knows that nothing is absent. Then attention needs no mask, which is faster; checking the masks
    here instead would make a GPU wait.
    """

    objects: Tensor
    background: Tensor
    has_object: Tensor
    has_background: Tensor
    complete: bool = False

    @property
    def present(self) -> Tensor:
        """(B, T * I + T * 9) bool: which descriptors are there, objects before background."""
        background = self.has_background[..., None].expand(-1, -1, self.background.shape[2])
        return torch.cat((self.has_object.flatten(1), background.flatten(1)), dim=1)

    def newest_objects(self) -> Tensor:
        """(B, I, D): each object's descriptor in the last frame that has it, or in the first frame if none has it."""
        if self.complete:
            return self.objects[:, -1]
        frames = torch.arange(1, self.objects.shape[1] + 1, device=self.objects.device)
        last = (self.has_object * frames[:, None]).argmax(dim=1)
        return self.objects.gather(1, last[:, None, :, None].expand(-1, -1, -1, self.objects.shape[3]))[:, 0]


class KeyedMasks(NamedTuple):
    """A frame that can be matched with: keys (B, K, h, w) and soft object masks (B, I, h, w), both at stride 8."""

    keys: Tensor
    masks: Tensor


class Affinity(NamedTuple):
    """How much each cell of a frame resembles the cells around it in another frame (`Matcher.affinity`).

    weights: of the cells that masks are carried from, in the matcher's own order. matched: (B, 1, h, w) in 0..1, how
    well the best of them matches. region: the part of the frame that both cover, or more.
    """

    weights: Tensor
    matched: Tensor
    region: Region


class Cue(NamedTuple):
    """Soft object masks (B, I, h, w) in 0..1, carried to a frame from the previous one and from frames farther back.

    previous: carried from the previous frame.
    reference: carried from the frame with given masks; averaged with those from a recent frame, if there is one.
    near: 1 where an object can be, given where it was in the previous frame, and 0 elsewhere; None if that is not to
    count, as in training, or is considered after decoding, as by the segmenter.
    matched: (B, 1, h, w) in 0..1, how well each pixel matches the previous frame; None if all are to count as matched.
    given: carried from the frames with given masks alone; None if `reference` is.
    """

    previous: Tensor
    reference: Tensor
    near: Tensor | None = None
    matched: Tensor | None = None
    given: Tensor | None = None

    @property
    def of_given(self) -> Tensor:
        """(B, I, h, w): the masks carried from frames with given masks alone."""
        return self.reference if self.given is None else self.given
