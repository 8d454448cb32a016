"""Cross-entropy and DICE over the predictions of a cycle (HODOR, sec. 3.5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT

_EPSILON = 1e-6
#: `contrast_loss` divides cosines by this.
_TEMPERATURE = 0.1
#: Score of pairs that are left out: finite, because it is multiplied by zero.
_NEVER = -1e4


class Losses(NamedTuple):
    """Scalars: the two losses, each with weight 1 in the total, and the mean IoU of the predictions (no gradient).

    contrast: the weighted loss of descriptors that do not tell objects apart.
    """

    cross_entropy: Tensor
    dice: Tensor
    iou: Tensor
    contrast: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.cross_entropy + self.dice + self.contrast

    @property
    def values(self) -> Tensor:
        """(cross-entropy, DICE, IoU, contrast), without gradient."""
        return torch.stack(self).detach()


def merge_background(logits: Tensor) -> Tensor:
    """Logits (B, 10 + I, h, w) -> (B, 1 + I, h, w): the catch-all and the background cells become their maximum."""
    background = logits[:, :NUM_NON_OBJECT].amax(dim=1, keepdim=True)
    return torch.cat((background, logits[:, NUM_NON_OBJECT:]), dim=1)


def prediction_losses(logits: list[Tensor], targets: list[Tensor]) -> Losses:
    """Losses of P supervised predictions.

    Args:
        logits: P tensors (B, 10 + I, H/4, W/4).
        targets: P label maps (B, H, W) int64, 0 for background and 1..I for the objects.
    """
    labels = torch.stack(targets, dim=1)  # (B, P, H, W)
    size = labels.shape[-2:]
    merged = torch.stack([merge_background(prediction) for prediction in logits], dim=1)  # (B, P, 1 + I, h, w)
    upsampled = F.interpolate(merged.flatten(0, 1).float(), size=size, mode="bilinear", align_corners=False)
    log_probabilities = upsampled.log_softmax(dim=1)
    cross_entropy = F.nll_loss(log_probabilities, labels.flatten(0, 1))

    count = merged.shape[2] - 1
    probabilities = log_probabilities[:, 1:].exp().unflatten(0, labels.shape[:2])  # (B, P, I, H, W)
    wanted = labels[:, :, None] == torch.arange(1, count + 1, device=labels.device)[:, None, None]
    # The same as argmax, which is fifteen times slower across channels on a CPU.
    found = upsampled.detach().max(dim=1).indices.flatten(1)
    total, present = merged.new_zeros((), dtype=torch.float32), merged.new_zeros((), dtype=torch.float32)
    for number in range(1, count + 1):  # the mean IoU over the objects that are in the target
        hit, there = found == number, wanted[:, :, number - 1].reshape(found.shape)
        iou = (hit & there).sum(dim=1) / (hit | there).sum(dim=1).clamp(min=1)
        shown = there.any(dim=1)
        total, present = total + (iou * shown).sum(), present + shown.sum()
    dice = dice_loss(probabilities, wanted.to(probabilities.dtype))
    return Losses(cross_entropy, dice, total / present.clamp(min=1), contrast=torch.zeros_like(cross_entropy))


def contrast_loss(descriptors: list[Tensor], sure: list[Tensor]) -> Tensor:
    """How little descriptors tell objects apart: cross-entropy of finding the same object among all in the batch.

    Each descriptor is compared by cosine with all others in the batch. Those of the same object in other frames are
    positives; those of all other objects are negatives (InfoNCE; van den Oord et al., 2018).

    Args:
        descriptors: T tensors (B, I, D), one for each frame in which the objects were encoded.
        sure: T tensors (B, I) bool; descriptors that are not sure are left out.
    Returns:
        A scalar, 0 if nothing can be compared.
    """
    vectors = torch.stack(descriptors)  # (T, B, I, D)
    frames, batch, count = vectors.shape[:3]
    identity = torch.arange(batch * count, device=vectors.device).repeat(frames)
    valid = torch.stack(sure).flatten()
    vectors = F.normalize(vectors.flatten(0, 2).float(), dim=1)
    scores = vectors @ vectors.T / _TEMPERATURE
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(itself | ~valid, _NEVER)
    same = (identity[:, None] == identity) & ~itself & valid & valid[:, None]
    log_share = scores.log_softmax(dim=1)
    partners = same.sum(dim=1)
    per_vector = -(log_share * same).sum(dim=1) / partners.clamp(min=1)
    asked = partners > 0
    return (per_vector * asked).sum() / asked.sum().clamp(min=1)


def dice_loss(probabilities: Tensor, wanted: Tensor) -> Tensor:
    """1 - DICE, one value per sample over predictions, objects and pixels together, then the mean over samples.

    Both (B, P, I, H, W). A sample without any overlap counts 0, so that it gives no gradient.
    """
    p, g = probabilities.flatten(1), wanted.flatten(1)
    overlap = 2 * (p * g).mean(dim=1)
    loss = 1 - (overlap + _EPSILON) / (p.mean(dim=1) + g.mean(dim=1) + _EPSILON)
    return torch.where(overlap <= _EPSILON, torch.zeros_like(loss), loss).mean()
