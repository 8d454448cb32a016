"""Cycles of training: which frame is decoded from which, and what its target is (HODOR, sec. 3.5).

A sample has a labelled reference frame 0 and further frames. A step decodes a target frame from the descriptors of its
source frames; the soft masks it predicts, without gradient, are encoded into the target's descriptors, which later
steps use. A schedule is plain data, so that the paper's cycles and shorter ones run through the same code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.background import predicted_masks, reference_masks
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Cue, Descriptors, History, KeyedMasks, Maps
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import normalise
from hodor_cli.samples.sample import Batch
from hodor_cli.training.damage import NO_HARDSHIP, Hardship, WrongCue, with_mistakes
from hodor_cli.training.losses import Losses, contrast_loss, prediction_losses

#: A predicted mask counts as correct if its IoU with the true one is above this.
_SURE = 0.5
#: The node that stands for frame 0 with its true masks.
TRUTH = "truth"


class Step(NamedTuple):
    """Decode frame `target` from `sources`, oldest first, and call the result `makes`.

    after: index of the step before this one in its cycle, None for the first. A step leaves an object out of its target
    if none of its sources shows the object, or if an earlier step of its cycle left it out. without_cue: decode without
    the correspondence cue.
    """

    sources: tuple[str, ...]
    target: int
    makes: str
    after: int | None = None
    without_cue: bool = False


class Prediction(NamedTuple):
    """Logits (B, 10 + I, H/4, W/4) of a step, and their target, a label map (B, H, W)."""

    frame: int
    logits: Tensor
    target: Tensor


def paper_schedule(iteration: int) -> tuple[Step, ...]:
    """The paper's three cycles, with shared steps done once: six predictions, of frames 0, 1, 0, 2, 1, 0.

    0 -> 0; 0 -> 1 -> 0; and 0 -> 1 -> 2 -> 1 -> 0, in odd iterations with two sources where two are known.
    """
    odd = iteration % 2 == 1
    return (
        Step((TRUTH,), 0, "self"),
        Step((TRUTH,), 1, "forward1"),
        Step(("forward1",), 0, "back0", after=1),
        Step((TRUTH, "forward1") if odd else ("forward1",), 2, "forward2", after=1),
        Step(("forward2",), 1, "back1", after=3),
        Step(("forward2", "back1") if odd else ("back1",), 0, "end0", after=4),
    )


def chain_schedule(frames: int) -> tuple[Step, ...]:
    """As in a video: each frame from all frames before it, and no way back; `frames` - 1 predictions."""
    steps: list[Step] = []
    nodes = [TRUTH]
    for target in range(1, frames):
        steps.append(Step(tuple(nodes), target, f"forward{target}", after=target - 2 if target > 1 else None))
        nodes.append(f"forward{target}")
    return tuple(steps)


def schedule(name: str, iteration: int, frames: int) -> tuple[Step, ...]:
    """The steps of an iteration (counted from 0) for a schedule of `TrainConfig` and a number of frames.

    "self-chain" also decodes the labelled frame from its own descriptors, which must therefore tell its objects apart.
    That step uses no cue, because the cue would compare the frame with itself and leave nothing to learn. A single
    frame is always decoded from itself.
    """
    if frames == 1:
        return (Step((TRUTH,), 0, "self"),)
    if name == "paper":
        return paper_schedule(iteration)
    itself = (Step((TRUTH,), 0, "self", without_cue=True),) if name == "self-chain" else ()
    return (*chain_schedule(frames), *itself)


class _Node(NamedTuple):
    """A frame whose masks are known or predicted: its descriptors and stride-8 masks (B, I, h, w)."""

    frame: int
    descriptors: Descriptors
    masks: Tensor


class Objective(nn.Module):
    """The training objective (HODOR, sec. 3.5), from frames and label maps to losses; a module that can be distributed.

    supervise: "all" predictions, or those of the "reference" frame. contrast: weight of the loss on descriptors. dtype:
    precision of the network; losses are float32.
    """

    def __init__(
        self, model: Hodor, *, supervise: str, contrast: float = 0.0, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.model, self.supervise, self.contrast, self.dtype = model, supervise, contrast, dtype

    def forward(
        self,
        frames: Tensor,
        masks: Tensor,
        valid: Tensor,
        presence: Tensor,
        steps: tuple[Step, ...],
        hardship: Hardship = NO_HARDSHIP,
    ) -> tuple[Losses, list[Prediction]]:
        """Run the steps of a schedule on a batch. Returns the losses, and the predictions without gradient.

        frames (B, T, H, W, 3) uint8 RGB, sides multiples of 32; masks (B, T, H, W) uint8, objects 1..I; valid
        (B, T, H, W) bool; presence (B, T, I) bool, all true for frames without labels.
        """
        model, labels, count = self.model, masks.long(), presence.shape[2]
        images = normalise(frames.permute(0, 1, 4, 2, 3).float(), model.config.pixel_mean, model.config.pixel_std)
        # Pixels from outside the image are 0 after normalisation, like padding.
        images = images * valid[:, :, None]
        targets = targets_of(labels, presence, steps)
        wrong = WrongCue.draw(len(frames), count, hardship.wrong_cue, frames.device) if hardship.wrong_cue else None
        used = {name for step in steps for name in step.sources}
        predictions: list[Prediction] = []
        # Two threads that share autocast's copies of the weights would add up gradients in a random order.
        with autocast(frames.device, self.dtype, cache=frames.device.type != "cpu"):
            # If frame 0 is only a source, as in a chain, it needs no fine map.
            maps = _extracted(model, images, fine_from=0 if any(step.target == 0 for step in steps) else 1)
            objects, background = reference_masks(_masks_of(labels[:, 0], count))
            nodes = {TRUTH: _Node(0, model.encode(maps[0], objects, background), objects)}
            seen, sure = [nodes[TRUTH].descriptors.objects], [objects.flatten(2).amax(dim=2) > 0.5]
            for step, target in zip(steps, targets, strict=True):
                sources = [nodes[name] for name in step.sources]
                cue = (
                    None if hardship.drop_cue or step.without_cue else _cue(model, maps, sources, step.target, hardship)
                )
                if cue is not None and wrong is not None:
                    cue = wrong.apply(cue)
                logits = model.decode(maps[step.target], _history(sources, hardship), cue)
                predictions.append(Prediction(step.target, logits, target))
                if step.makes in used:
                    soft = F.avg_pool2d(logits.detach().softmax(dim=1)[:, NUM_NON_OBJECT:], 2)
                    node = _Node(step.target, model.encode(maps[step.target], *predicted_masks(soft)), soft)
                    nodes[step.makes] = node
                    seen.append(node.descriptors.objects)
                    sure.append(_nearly_true(soft, target))
        supervised = [p for p in predictions if self.supervise == "all" or p.frame == 0]
        losses = prediction_losses([p.logits for p in supervised], [p.target for p in supervised])
        if self.contrast:
            losses = losses._replace(contrast=self.contrast * contrast_loss(seen, sure))
        # Detached, because DistributedDataParallel waits for a gradient of every output that could have one.
        return losses, [prediction._replace(logits=prediction.logits.detach()) for prediction in predictions]


def inputs_of(batch: Batch, device: torch.device, begin: int = 0, end: int | None = None) -> list[Tensor]:
    """The inputs of `Objective` for samples `begin` to `end` of a batch, on a device."""
    names = ("frames", "masks", "valid", "presence")
    return [batch[name][begin:end].to(device, non_blocking=True) for name in names]


def targets_of(labels: Tensor, presence: Tensor, steps: tuple[Step, ...]) -> list[Tensor]:
    """The target (B, H, W) of each step: its frame's label map without the objects that the step cannot know.

    labels (B, T, H, W) int64, presence (B, T, I) bool. These objects become background.
    """
    frames = {TRUTH: 0} | {step.makes: step.target for step in steps}
    removed: list[Tensor] = []  # per step (B, I): objects that some step of the cycle so far could not know
    targets = []
    for step in steps:
        unknown = ~presence[:, [frames[name] for name in step.sources]].any(dim=1)
        if step.after is not None:
            unknown = unknown | removed[step.after]
        removed.append(unknown)
        kept = F.pad(~unknown, (1, 0), value=True)  # (B, 1 + I), the background stays
        label_maps = labels[:, step.target]
        targets.append(label_maps * kept.gather(1, label_maps.flatten(1)).view_as(label_maps))
    return targets


def _extracted(model: Hodor, frames: Tensor, *, fine_from: int) -> list[Maps]:
    """The maps of each frame, with fine ones from frame `fine_from` on."""
    batch, length = frames.shape[:2]
    # All samples' frame 0 first, then their frame 1 and so on, so that the maps of each frame are contiguous.
    whole = model.extract(torch.cat(frames.unbind(1)), fine_from * batch)
    fine = [whole.stride4[:0]] * fine_from + list(whole.stride4.split(batch))
    keys = [None] * length if whole.keys is None else whole.keys.split(batch)
    return [Maps(*of_frame) for of_frame in zip(fine, whole.stride8.split(batch), keys, strict=True)]


def _masks_of(labels: Tensor, count: int) -> Tensor:
    """Label maps (B, h, w) as one float mask for each of `count` objects, (B, I, h, w)."""
    return F.one_hot(labels, count + 1)[..., 1:].permute(0, 3, 1, 2).float()


def _nearly_true(soft: Tensor, target: Tensor) -> Tensor:
    """Which predicted masks (B, I, h, w) at stride 8 match the label maps (B, H, W): (B, I) bool."""
    true = _masks_of(target[:, 4::8, 4::8], soft.shape[1])  # the centre of each cell is precise enough
    both, sizes = (soft * true).sum(dim=(2, 3)), (soft + true).sum(dim=(2, 3))
    return both > _SURE * (sizes - both).clamp(min=1)


def _history(sources: list[_Node], hardship: Hardship) -> History:
    """The descriptors that a step decodes from: those of all its sources, or only those of the newest."""
    known = [node.descriptors for node in (sources[-1:] if hardship.drop_history else sources)]
    objects = torch.stack([one.objects for one in known], dim=1)
    background = torch.stack([one.background for one in known], dim=1)
    there = torch.ones(objects.shape[:3], dtype=torch.bool, device=objects.device)
    return History(objects, background, there, there.new_ones(background.shape[:2]), complete=True)


def _cue(model: Hodor, maps: list[Maps], sources: list[_Node], target: int, hardship: Hardship) -> Cue | None:
    """The cue with the newest source as the previous frame, the oldest as the reference, and the middle one of three or
    more as the recent frame."""
    known = [KeyedMasks(keys, node.masks) for node in sources if (keys := maps[node.frame].keys) is not None]
    if not known:
        return None
    previous, damage = known[-1], hardship.damage_cue
    if damage:
        previous = previous._replace(masks=with_mistakes(previous.masks, damage))
    return model.match(maps[target], previous, known[0], known[len(known) // 2] if len(known) > 2 else None)
