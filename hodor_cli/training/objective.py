"""One batch through the network: a module whose forward gives the losses, so that it can be distributed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.preprocess import normalise
from hodor_cli.training.cycles import Hardship, Prediction, Step, run_cycles
from hodor_cli.training.losses import Losses, contrast_loss, prediction_losses

#: What `Objective` takes of a batch, in its order.
INPUTS = ("frames", "masks", "valid", "presence")


class Objective(nn.Module):
    """Frames and label maps in, losses out (HODOR, sec. 3.5).

    supervise: "all" predictions, or those of the "reference" frame. contrast: weight of the loss on descriptors.
    """

    def __init__(self, model: Hodor, *, supervise: str, contrast: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.supervise = supervise
        self.contrast = contrast

    def forward(
        self,
        frames: Tensor,
        masks: Tensor,
        valid: Tensor,
        presence: Tensor,
        steps: tuple[Step, ...],
        hardship: Hardship | None = None,
    ) -> tuple[Losses, list[Prediction]]:
        """The losses, and the predictions without gradient.

        frames (B, T, H, W, 3) uint8, masks (B, T, H, W) uint8, valid (B, T, H, W) bool, presence (B, T, I) bool.
        """
        config = self.model.config
        images = normalise(frames.permute(0, 1, 4, 2, 3).float(), config.pixel_mean, config.pixel_std)
        # Pixels from outside the image are the normalised zero, like padding.
        images = images * valid[:, :, None]
        predictions, sightings = run_cycles(self.model, images, masks.long(), presence, steps, hardship)
        supervised = [p for p in predictions if self.supervise == "all" or p.frame == 0]
        with torch.autocast(frames.device.type, enabled=False):
            losses = prediction_losses([p.logits for p in supervised], [p.target for p in supervised])
            if self.contrast:
                apart = contrast_loss([s.descriptors for s in sightings], [s.sure for s in sightings])
                losses = losses._replace(contrast=self.contrast * apart)
        # Detached: several processes wait for a gradient of every output that could have one.
        return losses, [Prediction(p.frame, p.logits.detach(), p.target) for p in predictions]
