"""Cycles of training: which frame is decoded from which, and what its target is (HODOR, sec. 3.5).

A sample has a labelled reference frame 0 and further frames. A step decodes a target frame from the descriptors of its
source frames; the soft masks it predicts, without gradient, are encoded into the target's descriptors, which later
steps use. A schedule is plain data, so that the paper's cycles and shorter ones run through the same code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.background import predicted_masks, reference_masks
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import with_recent
from hodor_cli.model.types import Cue, Descriptors, History, KeyedMasks, Maps
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.damage import WrongCue, with_mistakes

#: A predicted mask counts as its object's if its IoU with the true one is above this.
_SURE = 0.5
#: The node that stands for frame 0 with its true masks.
TRUTH = "truth"


class Step(NamedTuple):
    """Decode frame `target` from `sources`, oldest first, and call the result `makes`.

    after: index of the step before this one in its cycle, None for the first. A step leaves an object out of its target
    if none of its sources shows the object, or if a step before it left the object out. alone: without the
    correspondence cue.
    """

    sources: tuple[str, ...]
    target: int
    makes: str
    after: int | None = None
    alone: bool = False


class Prediction(NamedTuple):
    """Logits (B, 10 + I, H/4, W/4) of a step and the label map (B, H, W) that they should give."""

    frame: int
    logits: Tensor
    target: Tensor


class Sighting(NamedTuple):
    """Descriptors (B, I, D) of the objects in one frame, and whether each was made from (nearly) its true mask."""

    descriptors: Tensor
    sure: Tensor


class CycleResult(NamedTuple):
    """What the steps predicted, and the descriptors that were encoded on the way."""

    predictions: list[Prediction]
    sightings: list[Sighting]


class Hardship(NamedTuple):
    """What makes an iteration harder.

    cue_dropped: leave out the correspondence cue, so that the descriptors alone must do.
    history_dropped: decode from the newest source's descriptors alone.
    cue_damage: chance of mistakes in the masks that the cue carries from the newest source.
    cue_wrong: chance, per object, that the cue is wrong about all of it in all frames.
    """

    cue_dropped: bool = False
    history_dropped: bool = False
    cue_damage: float = 0.0
    cue_wrong: float = 0.0

    @staticmethod
    def drawn(config: TrainConfig, iteration: int) -> Hardship:
        """That of an iteration, drawn for it alone."""
        cue, history = np.random.default_rng([config.seed, iteration, 7]).random(2)
        dropped = bool(cue < config.drop_cue), bool(history < config.drop_history)
        return Hardship(*dropped, config.damage_cue, config.wrong_cue)


NO_HARDSHIP = Hardship()


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


def schedule(name: str, iteration: int, frames: int) -> tuple[Step, ...]:
    """The steps of iteration `iteration` (from 0) for one of the schedules of `TrainConfig` and that many frames.

    "self-chain" is the chain, and the labelled frame from its own descriptors alone: what tells its objects apart must
    be in them; the cue would compare the frame with itself and leave nothing to learn. A single frame is decoded from
    itself, which is what is left of the cycles without a sequence.
    """
    if frames == 1:
        return (Step((TRUTH,), 0, "self"),)
    if name == "paper":
        return paper_schedule(iteration)
    alone = (Step((TRUTH,), 0, "self", alone=True),) if name == "self-chain" else ()
    return (*chain_schedule(frames), *alone)


class _Node(NamedTuple):
    """A frame whose masks are known or predicted: its descriptors and stride-8 masks (B, I, h, w)."""

    frame: int
    descriptors: Descriptors
    masks: Tensor


def run_cycles(
    model: Hodor,
    frames: Tensor,
    masks: Tensor,
    presence: Tensor,
    steps: tuple[Step, ...],
    hardship: Hardship = NO_HARDSHIP,
) -> CycleResult:
    """Run the steps of a schedule on one batch.

    Args:
        model: the network, in training mode.
        frames: (B, T, 3, H, W) normalised input, sides multiples of 32.
        masks: (B, T, H, W) int64 label maps, objects 1..I.
        presence: (B, T, I) bool; all true for frames without labels.
        steps: the schedule.
        hardship: what makes it harder.
    """
    batch, count = frames.shape[0], presence.shape[2]
    wrong = WrongCue.draw(batch, count, hardship.cue_wrong, frames.device) if hardship.cue_wrong else None
    # Where frame 0 is only a source, as in a chain, it needs no fine map.
    maps = _extracted(model, frames, fine_from=0 if any(step.target == 0 for step in steps) else 1)
    truth = F.one_hot(masks[:, 0], count + 1)[..., 1:].permute(0, 3, 1, 2).to(frames.dtype)
    objects, background = reference_masks(truth)
    nodes = {TRUTH: _Node(0, model.encode(maps[0], objects, background), objects)}
    used = {name for step in steps for name in step.sources}
    removed: list[Tensor] = []  # per step (B, I): objects that some step of the cycle so far could not know
    predictions = []
    sightings = [Sighting(nodes[TRUTH].descriptors.objects, objects.flatten(2).amax(dim=2) > 0.5)]
    for step in steps:
        sources = [nodes[name] for name in step.sources]
        unknown = ~torch.stack([presence[:, node.frame] for node in sources]).any(dim=0)
        if step.after is not None:
            unknown = unknown | removed[step.after]
        removed.append(unknown)
        cue = None
        if not (hardship.cue_dropped or step.alone):
            cue = _cue(model, maps, sources, step.target, hardship.cue_damage)
        if cue is not None and wrong is not None:
            cue = wrong.apply(cue)
        known = [node.descriptors for node in (sources[-1:] if hardship.history_dropped else sources)]
        seen = torch.stack([one.objects for one in known], dim=1)
        ground = torch.stack([one.background for one in known], dim=1)
        there = torch.ones(seen.shape[:3], dtype=torch.bool, device=seen.device)
        history = History(seen, ground, there, there.new_ones(ground.shape[:2]), complete=True)
        logits = model.decode(maps[step.target], history, cue)
        predictions.append(Prediction(step.target, logits, without_objects(masks[:, step.target], unknown)))
        if step.makes in used:
            soft = F.avg_pool2d(logits.detach().softmax(dim=1)[:, NUM_NON_OBJECT:], 2)
            descriptors = model.encode(maps[step.target], *predicted_masks(soft))
            nodes[step.makes] = _Node(step.target, descriptors, soft)
            labels = predictions[-1].target[:, 4::8, 4::8]  # the middle of every cell is enough to tell
            true = F.one_hot(labels, count + 1)[..., 1:].permute(0, 3, 1, 2).to(soft.dtype)
            both, sizes = (soft * true).sum(dim=(2, 3)), (soft + true).sum(dim=(2, 3))
            sightings.append(Sighting(descriptors.objects, both > _SURE * (sizes - both).clamp(min=1)))
    return CycleResult(predictions, sightings)


def _extracted(model: Hodor, frames: Tensor, *, fine_from: int) -> list[Maps]:
    """The maps of each frame, with fine ones from frame `fine_from` on."""
    batch, length = frames.shape[:2]
    # All of frame 0 first, then all of frame 1: each frame's maps are then one piece of memory.
    whole = model.extract(torch.cat(frames.unbind(1)), fine_from * batch)
    fine = [whole.stride4[:0]] * fine_from + list(whole.stride4.split(batch))
    keys = [None] * length if whole.keys is None else whole.keys.split(batch)
    return [Maps(*of_frame) for of_frame in zip(fine, whole.stride8.split(batch), keys, strict=True)]


def without_objects(labels: Tensor, removed: Tensor) -> Tensor:
    """Label maps (B, H, W) with the objects that removed (B, I) marks turned into background."""
    kept = F.pad(~removed, (1, 0), value=True)  # (B, 1 + I), the background stays
    return labels * kept.gather(1, labels.flatten(1)).view_as(labels)


def _cue(model: Hodor, maps: list[Maps], sources: list[_Node], target: int, damage: float) -> Cue | None:
    """Match with the newest source as the previous frame, the oldest as the reference, and one between as the recent
    one."""
    newest, recent, oldest = sources[-1], sources[len(sources) // 2], sources[0]
    newest_keys, recent_keys, oldest_keys = (maps[node.frame].keys for node in (newest, recent, oldest))
    keys = maps[target].keys
    if newest_keys is None or recent_keys is None or oldest_keys is None or keys is None:
        return None
    previous = KeyedMasks(newest_keys, with_mistakes(newest.masks, damage) if damage else newest.masks)
    cue = model.match(maps[target], previous, KeyedMasks(oldest_keys, oldest.masks))
    if cue is None or model.matcher is None or len(sources) < 3:
        return cue
    carried = model.matcher.anywhere(keys, KeyedMasks(recent_keys, recent.masks))
    both = with_recent(cue.reference, carried, recent.masks)
    return cue._replace(reference=both)
