"""Cycles, losses and the average of the weights, on tiny tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hodor_cli.model import build_model
from hodor_cli.training.config import train_preset
from hodor_cli.training.cycles import Objective, chain_schedule, paper_schedule, schedule, targets_of
from hodor_cli.training.learner import Learner
from hodor_cli.training.losses import dice_loss, merge_background, prediction_losses


def cycle_targets(iteration: int, presence: torch.Tensor, steps: str = "paper") -> list[tuple[int, set[int]]]:
    """(frame, objects in the target) of every step, for two objects that every label map shows."""
    torch.manual_seed(0)
    model = build_model("toy")
    frames = torch.randint(0, 256, (1, 3, 64, 64, 3), dtype=torch.uint8)
    masks = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    masks[..., 8:24, 8:24], masks[..., 40:56, 40:56] = 1, 2
    with torch.no_grad():
        objective = Objective(model, supervise="all")
        _, predictions = objective(frames, masks, masks < 3, presence, schedule(steps, iteration, 3))
    assert all(prediction.logits.shape == (1, 12, 16, 16) for prediction in predictions)
    return [(p.frame, set(p.target.unique().tolist()) - {0}) for p in predictions]


def test_an_object_is_not_asked_for_after_a_step_that_could_not_know_it() -> None:
    presence = torch.tensor([[[True, True], [True, False], [True, True]]])  # object 2 is not in frame 1
    both, one = {1, 2}, {1}
    even = cycle_targets(0, presence)
    assert even == [(0, both), (1, both), (0, one), (2, one), (1, one), (0, one)]
    # With two sources one of them is enough.
    assert cycle_targets(1, presence) == [(0, both), (1, both), (0, one), (2, both), (1, both), (0, both)]


def test_everything_present_leaves_every_target_whole() -> None:
    everywhere = torch.ones(1, 3, 2, dtype=torch.bool)
    assert cycle_targets(0, everywhere) == [(frame, {1, 2}) for frame in (0, 1, 0, 2, 1, 0)]
    assert cycle_targets(0, everywhere, "chain") == [(1, {1, 2}), (2, {1, 2})]


def test_the_papers_cycles_use_two_sources_in_odd_iterations() -> None:
    even, odd = paper_schedule(0), paper_schedule(1)
    assert [step.target for step in even] == [step.target for step in odd] == [0, 1, 0, 2, 1, 0]
    assert [len(step.sources) for step in even] == [1] * 6
    assert [len(step.sources) for step in odd] == [1, 1, 1, 2, 1, 2]
    # The way back ends with the descriptors that the way back made.
    assert odd[5].sources == ("forward2", "back1")
    assert [len(step.sources) for step in chain_schedule(4)] == [1, 2, 3]
    assert [step.target for step in schedule("paper", 0, 1)] == [0]


def test_removed_objects_become_background() -> None:
    labels = torch.tensor([[[0, 1], [2, 3]], [[3, 3], [1, 0]]])[:, None]
    presence = torch.tensor([[[True, False, True]], [[True, True, False]]])
    (target,) = targets_of(labels, presence, schedule("paper", 0, 1))
    assert target.tolist() == [[[0, 1], [0, 3]], [[0, 0], [1, 0]]]


def test_a_right_answer_costs_nothing_and_a_wrong_one_much() -> None:
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    labels[:, :8] = 1
    right = torch.full((2, 11, 4, 4), -20.0)
    right[:, 3, 2:] = 20.0  # one of the background cells stands for the background
    right[:, 10, :2] = 20.0
    good = prediction_losses([right, right], [labels, labels])
    assert good.total.item() < 0.2  # what the edge costs after upsampling
    assert good.iou.item() > 0.9
    bad = prediction_losses([right.flip(2)], [labels])
    assert bad.cross_entropy.item() > 10
    assert bad.iou.item() < 0.1


def test_dice_is_one_value_per_sample_and_none_without_overlap() -> None:
    p = torch.zeros(2, 1, 1, 2, 2, requires_grad=True)
    with torch.no_grad():
        p[0, 0, 0, 0] = 1.0
    wanted = torch.zeros(2, 1, 1, 2, 2)
    wanted[:, :, :, 0, :] = 1.0
    loss = dice_loss(p, wanted)  # the first is right; the second overlaps nowhere and counts 0
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    half = torch.full((1, 1, 1, 2, 2), 0.5)
    assert dice_loss(half, wanted[:1]).item() == pytest.approx(0.5, abs=1e-5)


def test_the_background_is_the_largest_of_its_ten_logits() -> None:
    logits = torch.arange(12.0).view(1, 12, 1, 1)
    assert merge_background(logits).flatten().tolist() == [9.0, 10.0, 11.0]


def test_averaged_weights_are_in_a_network_of_their_own() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    learner = Learner(layer, replace(train_preset("toy"), average=0.9), torch.device("cpu"))
    torch.nn.init.constant_(layer.weight, 1.0)
    learner.done = 10_000
    assert learner.update(0.0, torch.zeros(1))
    assert learner.learned.weight.item() == pytest.approx(0.1)
    assert layer.weight.item() == 1.0


def test_the_cue_is_also_carried_from_a_frame_between_the_labelled_and_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a video. Frames 1 to 3 are alike and unlike frame 0, whose object is on the other side."""
    torch.manual_seed(0)
    model, cues = build_model("mini").eval(), []
    assert model.matcher is not None
    model.matcher.log_scale.data += 8  # maps of an untrained backbone differ little
    left = torch.zeros(1, 11, 16, 16)
    left[:, -1] = -20.0
    left[:, -1, :, :8] = 20.0
    monkeypatch.setattr(model, "decode", lambda maps, history, cue: cues.append(cue) or left)
    frames = torch.randint(0, 256, (1, 2, 64, 64, 3), dtype=torch.uint8)[:, [0, 1, 1, 1]]
    masks = torch.zeros(1, 4, 64, 64, dtype=torch.uint8)
    masks[:, :, :, 40:] = 1
    with torch.no_grad():
        objective = Objective(model, supervise="all")
        objective(frames, masks, masks < 2, torch.ones(1, 4, 1, dtype=torch.bool), chain_schedule(4))
    _, without, found = (cue.reference[0, 0] for cue in cues)  # the last is the first with a frame between
    assert found[:, :3].mean() > without[:, :3].mean() + 0.2
    assert found[:, 5:].mean() < without[:, 5:].mean()
