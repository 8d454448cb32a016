"""Cycles of training: which frame is decoded from which, and what its target is (HODOR, sec. 3.5).

A sample has a labelled reference frame 0 and further frames. A step decodes a target frame from the descriptors of its
source frames; the soft masks it predicts, without gradient, are encoded into the target's descriptors, which later
steps use. A schedule is plain data, so that the paper's cycles and shorter ones run through the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.background import predicted_masks, reference_masks
from hodor_cli.model.decoder import History
from hodor_cli.model.encoder import Descriptors
from hodor_cli.model.fpn import Maps
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import Cue, KeyedMasks
from hodor_cli.training.damage import damaged

#: The node that stands for frame 0 with its true masks.
TRUTH = "truth"


class Step(NamedTuple):
    """Decode frame `target` from `sources`, oldest first, and call the result `makes`.

    `after` is the step, by index, that comes before this one in its cycle (None for the first): an object that a step
    of the cycle could not know is not asked for in the steps after it.
    """

    sources: tuple[str, ...]
    target: int
    makes: str
    after: int | None = None


class Prediction(NamedTuple):
    """Logits (B, 10 + I, H/4, W/4) of a step and the label map (B, H, W) that they should give."""

    frame: int
    logits: Tensor
    target: Tensor


def paper_schedule(iteration: int) -> tuple[Step, ...]:
    """The paper's three cycles with equal steps done once: six predictions, of frames 0, 1, 0, 2, 1, 0.

    (0 -> 0); (0 -> 1 -> 0); and 0 -> 1 -> 2 -> 1 -> 0, in odd iterations with two sources where two are known.
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
    """As in a video: every next frame from all before it, and no way back; frames - 1 predictions."""
    steps: list[Step] = []
    nodes = [TRUTH]
    for target in range(1, frames):
        steps.append(Step(tuple(nodes), target, f"forward{target}", after=target - 2 if target > 1 else None))
        nodes.append(f"forward{target}")
    return tuple(steps)


def single_schedule() -> tuple[Step, ...]:
    """The frame from itself: what is left of the cycles without a sequence."""
    return (Step((TRUTH,), 0, "self"),)


def schedule(name: str, iteration: int, frames: int) -> tuple[Step, ...]:
    """The steps of iteration `iteration` (from 0) for the schedule "paper" or "chain" and that many frames."""
    if frames == 1:
        return single_schedule()
    return paper_schedule(iteration) if name == "paper" else chain_schedule(frames)


@dataclass(frozen=True)
class _Node:
    """A frame whose masks are known or predicted: descriptors, stride-8 masks (B, I, h, w), and who was there."""

    frame: int
    descriptors: Descriptors
    masks: Tensor


def run_cycles(
    model: Hodor,
    frames: Tensor,
    masks: Tensor,
    presence: Tensor,
    steps: tuple[Step, ...],
    *,
    cue_dropped: bool = False,
    history_dropped: bool = False,
    cue_damage: float = 0.0,
) -> list[Prediction]:
    """Run the steps of a schedule on one batch.

    Args:
        model: the network, in training mode.
        frames: (B, T, 3, H, W) normalised input, sides multiples of 32.
        masks: (B, T, H, W) int64 label maps, objects 1..I.
        presence: (B, T, I) bool; all true for frames without labels.
        steps: the schedule.
        cue_dropped: leave out the correspondence cue, so that the descriptors alone must do.
        history_dropped: decode from the newest source's descriptors alone.
        cue_damage: chance of mistakes in the masks that the cue carries from the newest source.
    """
    batch, length = frames.shape[:2]
    count = presence.shape[2]
    # All of frame 0 first, then all of frame 1: each frame's maps are then one piece of memory. Where frame 0 is only
    # a source, as in a chain, it needs no fine map.
    fine_from = 0 if any(step.target == 0 for step in steps) else batch
    maps = _split(model.extract(torch.cat(frames.unbind(1)), fine_from), batch, length)
    truth = F.one_hot(masks[:, 0], count + 1)[..., 1:].permute(0, 3, 1, 2).to(frames.dtype)
    objects, background = reference_masks(truth)
    nodes = {TRUTH: _Node(0, model.encode(maps[0], objects, background), objects)}
    used = {name for step in steps for name in step.sources}
    removed: list[Tensor] = []  # per step (B, I): objects that some step of the cycle so far could not know
    predictions = []
    for step in steps:
        sources = [nodes[name] for name in step.sources]
        unknown = ~torch.stack([presence[:, node.frame] for node in sources]).any(dim=0)
        if step.after is not None:
            unknown = unknown | removed[step.after]
        removed.append(unknown)
        cue = None if cue_dropped else _cue(model, maps, sources, step.target, cue_damage)
        logits = model.decode(maps[step.target], _history(sources[-1:] if history_dropped else sources), cue)
        predictions.append(Prediction(step.target, logits, without_objects(masks[:, step.target], unknown)))
        if step.makes in used:
            soft = F.avg_pool2d(logits.detach().softmax(dim=1)[:, NUM_NON_OBJECT:], 2)
            descriptors = model.encode(maps[step.target], *predicted_masks(soft))
            nodes[step.makes] = _Node(step.target, descriptors, soft)
    return predictions


def without_objects(labels: Tensor, removed: Tensor) -> Tensor:
    """Label maps (B, H, W) with the objects that removed (B, I) marks turned into background."""
    kept = F.pad(~removed, (1, 0), value=True)  # (B, 1 + I), the background stays
    return labels * kept.gather(1, labels.flatten(1)).view_as(labels)


def _split(maps: Maps, batch: int, length: int) -> list[Maps]:
    """Maps of T * B frames -> T maps of B frames; the first without stride 4 if `extract` left it out."""
    fine = list(maps.stride4.split(batch))
    if len(fine) < length:
        fine.insert(0, maps.stride4[:0])
    keys = [None] * length if maps.keys is None else maps.keys.split(batch)
    return [Maps(*of_frame) for of_frame in zip(fine, maps.stride8.split(batch), keys, strict=True)]


def _history(sources: list[_Node]) -> History:
    objects = torch.stack([node.descriptors.objects for node in sources], dim=1)
    background = torch.stack([node.descriptors.background for node in sources], dim=1)
    return History(
        objects,
        background,
        torch.ones(objects.shape[:3], dtype=torch.bool, device=objects.device),
        torch.ones(background.shape[:2], dtype=torch.bool, device=objects.device),
        complete=True,
    )


def _cue(model: Hodor, maps: list[Maps], sources: list[_Node], target: int, damage: float) -> Cue | None:
    """Match with the newest source as the previous frame and with the oldest as the reference."""
    newest, oldest = sources[-1], sources[0]
    newest_keys, oldest_keys = maps[newest.frame].keys, maps[oldest.frame].keys
    if newest_keys is None or oldest_keys is None:
        return None
    previous = KeyedMasks(newest_keys, damaged(newest.masks, damage) if damage else newest.masks)
    return model.match(maps[target], previous, KeyedMasks(oldest_keys, oldest.masks))
