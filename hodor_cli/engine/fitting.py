"""Fits descriptors to the frame they were encoded from, by gradient descent. Not in the paper.

The encoder makes an object's descriptor in one pass, without seeing how the decoder reads it. So decoding the same
frame may not return the given mask, above all if it is small. A few steps of gradient descent on the descriptors, with
the network unchanged, find descriptors near the encoder's that return it. Masks that the network found are not fitted:
their mistakes would reinforce themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Descriptors, History, Maps
from hodor_cli.runtime.device import without_autocast
from hodor_cli.runtime.preprocess import resize

#: Adam's learning rate, and the weight of the cross-entropy (mean over pixels) relative to the Dice loss (mean over
#: objects). Chosen on composites of clips that took no part in training.
_RATE, _CROSS_ENTROPY = 0.1, 5.0


@torch.inference_mode(False)
@torch.enable_grad()
def fitted_to_frame(model: Hodor, maps: Maps, made: Descriptors, masks: Tensor) -> Descriptors:
    """Descriptors from which a frame's masks are decoded better than from the encoder's.

    Args:
        model: the network; its configuration has the number of steps, each of which takes about as long as decoding the
            frame twice. Its weights do not change.
        maps: of one frame.
        made: the encoder's descriptors of the masks, objects (1, I, D) and background (1, 9, D).
        masks: (I, H, W) in 0..1, padded and at the network's input resolution.
    Returns:
        float32 descriptors of the same shapes. The places that they hold (see `Place`) are unchanged.
    """
    # Tensors made in inference mode take no part in autograd; their clones do.
    maps = Maps(maps.stride4.clone().float(), maps.stride8.clone().float())
    objects, background = made.objects.clone().float(), made.background.clone().float()
    wanted = resize(masks.clone()[None].float(), (maps.stride4.shape[2], maps.stride4.shape[3]))[0]
    changes = torch.zeros_like(objects, requires_grad=True), torch.zeros_like(background, requires_grad=True)

    def changed() -> Descriptors:
        place, of_objects = model.encoder.place, changes[0]
        if place is not None:
            directions = place.directions.float()
            of_objects = of_objects - of_objects @ directions.T @ directions
        return Descriptors(objects + of_objects, background + changes[1])

    adam = torch.optim.Adam(changes, lr=_RATE)
    with without_autocast(maps.stride4.device):
        for _ in range(model.config.fitted_steps):
            loss = _loss(model.decode(maps, _history(changed()))[0], wanted)
            for change, gradient in zip(changes, torch.autograd.grad(loss, changes), strict=True):
                change.grad = gradient
            adam.step()
    fitted = changed()
    return Descriptors(fitted.objects.detach(), fitted.background.detach())


def _history(descriptors: Descriptors) -> History:
    """A history of these descriptors alone."""
    device, count = descriptors.objects.device, descriptors.objects.shape[1]
    present = torch.ones(1, 1, count, dtype=torch.bool, device=device)
    return History(
        descriptors.objects[:, None], descriptors.background[:, None], present, present[..., 0], complete=True
    )


def _loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and Dice loss of logits (10 + I, h, w); a pixel of no object may belong to any of the ten."""
    likely = logits.log_softmax(dim=0)
    rest, objects = likely[:NUM_NON_OBJECT].logsumexp(dim=0), likely[NUM_NON_OBJECT:]
    cross_entropy = -((masks * objects).sum(dim=0) + (1 - masks.sum(dim=0)).clamp(min=0) * rest).mean()
    found = objects.exp()
    dice = 1 - (2 * (found * masks).sum(dim=(1, 2)) + 1) / ((found + masks).sum(dim=(1, 2)) + 1)
    return _CROSS_ENTROPY * cross_entropy + dice.mean()
