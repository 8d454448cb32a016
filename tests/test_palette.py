"""Where descriptors are used alone, objects keep the colours of their given masks."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from segmenter_fakes import HEIGHT, WIDTH, segmenter_for, square

from hodor_cli.config import MatchingConfig
from hodor_cli.engine import OfflineSegmenter, Segmenter, follow
from hodor_cli.engine.palette import colour_bias, palettes_of
from hodor_cli.evaluation.metrics import jaccard
from hodor_cli.model import Hodor, build_model
from hodor_cli.model.colour import colour_codes
from hodor_cli.presets import preset
from hodor_cli.weights import load_model

RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (120, 120, 120)
LEFT, RIGHT = square(16, 4, 16), square(16, 44, 16)


def _frame(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    frame[LEFT], frame[RIGHT] = left, right
    return frame


def _codes(frame: np.ndarray) -> torch.Tensor:
    return colour_codes(torch.tensor(frame).permute(2, 0, 1)[None].float(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))[0]


@pytest.fixture
def comparing() -> Hodor:
    """A network of random weights that compares colours."""
    torch.manual_seed(3)
    changes = {"matching": MatchingConfig(key_channels=8, colours=True), "fitted_steps": 2}
    return build_model(msgspec.structs.replace(preset("toy"), **changes))


def _crossing() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A blue disc that passes in front of a red one: 9 frames and their label maps (64, 96)."""
    noise = np.random.default_rng(0).integers(90, 150, (8, 12)).astype(np.uint8)
    ground = np.kron(noise, np.ones((8, 8), np.uint8))[..., None].repeat(3, axis=2)
    y, x = np.mgrid[:64, :96]
    frames, labels = [], []
    for t in range(9):
        frame, label = ground.copy(), np.zeros((64, 96), np.uint8)
        for number, left, top, colour in ((1, 14 + 8 * t, 26, RED), (2, 82 - 8 * t, 38, BLUE)):
            disc = (y - top) ** 2 + (x - left) ** 2 < 12**2
            frame[disc], label[disc] = colour, number
        frames.append(frame)
        labels.append(label)
    return frames, labels


def test_objects_that_cross_keep_their_colours() -> None:
    frames, labels = _crossing()
    segmenter = segmenter_for(load_model("mini"), min_dim=96, precision="fp32", matching=False)
    found = [segmenter.step(frame, None if index else labels[0]) for index, frame in enumerate(frames)]
    assert all(jaccard(labels[-1] == number, found[-1] == number) > 0.8 for number in (1, 2))


def test_objects_keep_their_colours_between_two_masked_frames() -> None:
    frames, labels = _crossing()
    segmenter = OfflineSegmenter(load_model("mini"), min_dim=96, device="cpu", precision="fp32", matching=False)
    given = {0: labels[0], 8: {1: labels[8] == 1}}
    found = {one.frame: one.result.labels for one in follow(segmenter, frames, given)}
    assert sum(jaccard(labels[5] == number, found[5] == number) for number in (1, 2)) > 1.6


def test_palettes_are_the_colours_of_masks_and_their_shares() -> None:
    frame = _frame(RED, BLUE)
    masks = torch.zeros(3, HEIGHT // 8, WIDTH // 8)
    masks[0, 2:4, 1:2] = masks[0, 2:3, 6:7] = 1  # two red cells and a blue one
    masks[1, 0, :] = 1  # grey
    palettes = palettes_of(_codes(frame), masks)
    red, blue, grey = (_codes(np.full((8, 8, 3), colour, np.uint8)).flatten() for colour in (RED, BLUE, GREY))
    shares = [[float(palette[palette[:, :-1] @ colour > 0.999][:, -1].sum()) for colour in (red, blue, grey)]
              for palette in palettes]  # fmt: skip
    assert np.allclose(shares, [[2 / 3, 1 / 3, 0], [0, 0, 1], [0, 0, 0]], atol=1e-5)
    assert not palettes[2].any()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(palettes_of(_codes(frame), masks), palettes)


def test_an_object_gains_where_its_colours_are_and_one_without_palette_does_not_change() -> None:
    codes = _codes(_frame(RED, BLUE))
    masks = torch.zeros(2, HEIGHT // 8, WIDTH // 8)
    masks[0, 2:4, 1:2], masks[1, 0, :] = 1, 1
    red, grey = palettes_of(codes, masks)
    bias = colour_bias(codes, torch.stack((red, torch.zeros_like(red)))[None], grey.expand(1, 9, -1, -1))
    assert (bias[0, 2:4, 1] > 1).all() and (bias[0, 0] < -1).all()
    assert not bias[1].any() and bias.abs().max() <= 4
    with torch.autocast("cpu", torch.bfloat16):
        shaded = F.normalize(codes + 0.02, dim=0)
        again = colour_bias(shaded, red[None, None], grey.expand(1, 9, -1, -1))
    torch.testing.assert_close(again, colour_bias(shaded, red[None, None], grey.expand(1, 9, -1, -1)))
    alone = colour_bias(codes, red[None, None], torch.zeros(1, 9, *red.shape))
    assert alone.abs().max() < 1e-5  # with nothing to compare it with


@pytest.mark.parametrize("stop", [1, 3])
def test_a_stopped_run_with_palettes_resumes_bit_for_bit(comparing: Hodor, stop: int) -> None:
    frames = [_frame(RED, BLUE), _frame(BLUE, RED), _frame(RED, RED), _frame(BLUE, BLUE), _frame(BLUE, RED)]
    given = {0: {1: LEFT}, 2: {2: RIGHT}}

    def labels(segmenter: Segmenter, start: int, end: int) -> list[np.ndarray]:
        return [segmenter.step(frame, given.get(i)) for i, frame in enumerate(frames[start:end], start)]

    first, second = (segmenter_for(comparing, matching=False) for _ in range(2))
    whole = labels(segmenter_for(comparing, matching=False), 0, 5)
    labels(first, 0, stop)
    second.load_state(first.state())
    np.testing.assert_array_equal(labels(second, stop, 5), whole[stop:])


def test_palettes_of_an_object_and_a_removed_one(comparing: Hodor) -> None:
    segmenter = segmenter_for(comparing, matching=False)
    segmenter.step(_frame(RED, BLUE), {1: LEFT, 2: RIGHT})
    both = segmenter._known.ring.palettes([1, 2, 9])
    segmenter.remove(1)
    kept = segmenter._known.ring.palettes([2, 1])
    assert both is not None and kept is not None
    assert torch.equal(kept[0][0, 0], both[0][0, 1]) and torch.equal(kept[1], both[1])
    assert both[0][0, 0].any() and not both[0][0, 2].any() and not kept[0][0, 1].any()
    assert segmenter_for(comparing, matching=False)._known.ring.palettes([1]) is None
