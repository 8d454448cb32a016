"""Cross-entropy and DICE over the predictions of a cycle (HODOR, sec. 3.5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT

_EPSILON = 1e-6


class Losses(NamedTuple):
    """Scalars: the two losses, each with weight 1 in the total, and the mean IoU of the predictions (no gradient)."""

    cross_entropy: Tensor
    dice: Tensor
    iou: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.cross_entropy + self.dice


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
    wanted = F.one_hot(labels, count + 1)[..., 1:].permute(0, 1, 4, 2, 3).to(probabilities.dtype)
    return Losses(cross_entropy, dice_loss(probabilities, wanted), _mean_iou(upsampled.detach(), labels))


def dice_loss(probabilities: Tensor, wanted: Tensor) -> Tensor:
    """1 - DICE, one value per sample over predictions, objects and pixels together, then the mean over samples.

    Both (B, P, I, H, W). A sample without any overlap counts 0, so that it gives no gradient.
    """
    p, g = probabilities.flatten(1), wanted.flatten(1)
    overlap = 2 * (p * g).mean(dim=1)
    loss = 1 - (overlap + _EPSILON) / ((p + g).mean(dim=1) + _EPSILON)
    return torch.where(overlap <= _EPSILON, torch.zeros_like(loss), loss).mean()


def _mean_iou(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean IoU over the objects that are in the target. logits (B * P, 1 + I, H, W), labels (B, P, H, W)."""
    # The index of the maximum, as argmax gives it, which on a CPU takes fifteen times as long across channels.
    found, labels = logits.max(dim=1).indices.flatten(1), labels.flatten(0, 1).flatten(1)
    total, present = logits.new_zeros(()), logits.new_zeros(())
    for number in range(1, logits.shape[1]):
        hit, wanted = found == number, labels == number
        iou = (hit & wanted).sum(dim=1) / (hit | wanted).sum(dim=1).clamp(min=1)
        there = wanted.any(dim=1)
        total, present = total + (iou * there).sum(), present + there.sum()
    return total / present.clamp(min=1)
