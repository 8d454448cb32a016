"""Mistakes put into carried masks, and pieces of background put into adaptation's sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import moving_square

from hodor_cli.adaptation import examples
from hodor_cli.errors import UsageError
from hodor_cli.model import build_model
from hodor_cli.samples.sequence import make_still_sequence
from hodor_cli.samples.settings import AugmentSettings
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.cycles import Objective, chain_schedule
from hodor_cli.training.damage import Hardship, with_mistakes


def _two_objects() -> torch.Tensor:
    masks = torch.zeros(2, 3, 20, 30)  # the third object is absent
    masks[:, 0, 4:12, 3:12] = 1
    masks[:, 1, 6:16, 14:26] = 0.8
    return masks


def test_every_object_loses_and_gains_a_piece_and_no_pixel_belongs_to_two() -> None:
    masks = _two_objects()
    torch.manual_seed(0)
    lost, gained = torch.zeros(2, 3), torch.zeros(2, 3)
    for _ in range(50):
        result = with_mistakes(masks, 1.0)
        assert result.shape == masks.shape and result.min() >= 0 and result.sum(dim=1).max() <= 1
        lost += ((masks > 0.5) & (result < 0.5)).flatten(2).any(dim=2)
        gained += ((masks < 0.5) & (result > 0.5)).flatten(2).any(dim=2)
    assert (lost[:, :2] > 45).all() and (gained[:, :2] > 25).all()
    assert not lost[:, 2].any() and not gained[:, 2].any()


def test_without_a_chance_masks_stay_as_they_are() -> None:
    assert torch.equal(with_mistakes(_two_objects(), 0.0), _two_objects())


def test_the_same_seed_makes_the_same_mistakes() -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(with_mistakes(_two_objects(), 0.5))
    assert torch.equal(*results)


def test_training_with_mistakes_sees_another_cue() -> None:
    torch.manual_seed(0)
    objective = Objective(build_model("mini"), supervise="all").eval()
    frames = torch.randint(0, 256, (1, 2, 64, 96, 3), dtype=torch.uint8)
    masks = torch.zeros(1, 2, 64, 96, dtype=torch.uint8)
    masks[..., 16:48, 24:64] = 1
    inputs = (frames, masks, torch.ones_like(masks, dtype=torch.bool), torch.ones(1, 2, 1, dtype=torch.bool))
    with torch.no_grad():
        clean = objective(*inputs, chain_schedule(2))[1][0].logits
        wrong = objective(*inputs, chain_schedule(2), Hardship(damage_cue=1.0))[1][0].logits
        alone = objective(*inputs, chain_schedule(2), Hardship(drop_cue=True))[1][0].logits
        alone_too = objective(*inputs, chain_schedule(2), Hardship(drop_cue=True, damage_cue=1.0))[1][0].logits
    assert not torch.allclose(clean, wrong, atol=1e-3)
    assert torch.equal(alone, alone_too)


def test_a_chance_above_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"`damage_cue` must be between 0 and 1, not 2"):
        TrainConfig(damage_cue=2.0)


def test_what_adaptation_pastes_is_background_in_the_shape_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, masks = moving_square(1)
    labels = masks[0].astype(np.uint16)
    drawn: list[np.ndarray] = []

    def watch(*arguments, others, **more):  # type: ignore[no-untyped-def]
        drawn.extend(others(np.random.default_rng(len(drawn)))[1])
        return make_still_sequence(*arguments, others=others, **more)

    monkeypatch.setattr(examples, "make_still_sequence", watch)
    example = examples.Example(frames[0], labels)
    for seed in range(10):
        example.sample(np.random.default_rng(seed), AugmentSettings(occluder=1.0), (64, 128), max_objects=4)
    assert drawn
    for piece in drawn:
        assert not piece[labels > 0].any()
        assert np.count_nonzero(piece) > np.count_nonzero(labels) / 2
