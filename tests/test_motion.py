"""How far an object may get between two frames, and what is said about what was cut off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from segmenter_fakes import THREE, Scripted, frames_of, make_model, segmenter_for, square

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.history import HistoryRing
from hodor_cli.engine.motion import Extent, Motion, limited
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.state import Followed
from hodor_cli.errors import DeviceError, WeightsError
from hodor_cli.model import Hodor

H, W, SPREAD = 24, 40, 4
#: The size of the disc with radius 5 that most tests follow.
DISC = Extent(10, 10, 80)
#: Height and width at stride 4; the last column of cells is padding.
FRAME = (2 * H, 2 * W - 2)


def disc(x: float, y: float = 12.0, radius: float = 5.0, scale: int = 1) -> torch.Tensor:
    """A disc of 0 and 1 on the map at stride 8, or with scale 2 at stride 4."""
    rows, columns = torch.meshgrid(torch.arange(H * scale), torch.arange(W * scale), indexing="ij")
    inside = (rows + 0.5 - scale * y) ** 2 + (columns + 0.5 - scale * x) ** 2 <= (scale * radius) ** 2
    return inside.float()


def logits_of(*found: torch.Tensor) -> torch.Tensor:
    """Logits at stride 4 by which objects lie where these maps are 1, and background elsewhere."""
    logits = torch.full((1, NUM_NON_OBJECT + len(found), 2 * H, 2 * W), -4.0)
    logits[:, 0] = 4.0
    for row, one in enumerate(found):
        logits[0, NUM_NON_OBJECT + row] = torch.where(one > 0, 12.0, -4.0)
    return logits


def shown(logits: torch.Tensor, row: int = 0) -> torch.Tensor:
    return (logits.argmax(dim=1)[0] == NUM_NON_OBJECT + row).float()


@pytest.mark.parametrize("step", [1, 5, 7, 9])
def test_an_object_that_moves_fast_keeps_its_front(step: int) -> None:
    was, now = disc(10), disc(10 + step, scale=2)
    kept, cut = limited(logits_of(now), was[None], [SPREAD], [DISC], FRAME)
    assert shown(kept).sum() > 0.9 * now.sum() and cut == [0.0]
    assert torch.equal(shown(kept), now) or step == SPREAD + 1  # a fringe may go, from the next frame on it is foreseen


def test_what_looks_alike_far_away_is_another_object() -> None:
    near, far = disc(10, scale=2), disc(32, scale=2)
    kept, cut = limited(logits_of(near + far), disc(10)[None], [SPREAD], [DISC], FRAME)
    assert torch.equal(shown(kept), near) and cut == [0.0]


def test_what_was_not_there_before_may_lie_farther_away() -> None:
    near, far = disc(10, scale=2), disc(32, scale=2)
    new = 1 - disc(32, radius=6)[None, None]  # the place of the second disc matches nothing in the previous frame
    kept, _ = limited(logits_of(near + far), disc(10)[None], [SPREAD], [DISC], FRAME, new)
    assert torch.equal(shown(kept), near + far)
    kept, _ = limited(logits_of(near + far), disc(10)[None], [SPREAD], [DISC], FRAME, torch.ones_like(new))
    assert torch.equal(shown(kept), near)


def test_what_comes_in_at_the_border_is_another_object() -> None:
    near, new = disc(10, scale=2), torch.zeros(1, 1, H, W)
    for entering in (disc(36, scale=2), disc(28, y=2, scale=2)):
        kept, _ = limited(logits_of(near + entering), disc(10)[None], [SPREAD], [DISC], FRAME, new)
        assert torch.equal(shown(kept), near)


def test_a_hidden_part_may_return_but_no_second_object() -> None:
    rear, front, another = disc(8, radius=3, scale=2), disc(20, radius=3, scale=2), disc(33, radius=3, scale=2)
    whole = Extent(8, 20, 100)  # before a tree hid its middle and its front
    kept, _ = limited(logits_of(rear + front + another), disc(8, radius=3)[None], [SPREAD], [whole], FRAME)
    assert torch.equal(shown(kept), rear + front)
    kept, _ = limited(logits_of(rear + front), disc(8, radius=3)[None], [SPREAD], [Extent(6, 6, 29)], FRAME)
    assert torch.equal(shown(kept), rear)


def test_an_object_that_spills_over_into_its_neighbour_is_cut_off_and_that_is_said() -> None:
    both = torch.maximum(disc(10, scale=2), disc(19.5, scale=2))
    kept, cut = limited(logits_of(both), disc(10)[None], [SPREAD], [DISC], FRAME)
    assert shown(kept)[:, 2 * 20 :].sum() == 0
    assert 0.2 < cut[0] < 0.5


def test_every_object_has_its_own_limit() -> None:
    slow, fast = disc(8, y=5, radius=3, scale=2), disc(30, y=18, radius=3, scale=2)
    logits = logits_of(slow + disc(20, y=5, radius=3, scale=2), fast + disc(20, y=18, radius=3, scale=2))
    was = torch.stack((disc(8, y=5, radius=3), disc(30, y=18, radius=3)))
    kept, _ = limited(logits, was, [SPREAD, 16], [DISC, DISC], FRAME)
    assert torch.equal(shown(kept, 0), slow)
    assert shown(kept, 1)[:, : 2 * 24].sum() > 0


def test_the_limit_follows_speed_and_time() -> None:
    motion = Motion()
    assert motion.radii([7], SPREAD, None) == [SPREAD]
    for x in (10, 16):
        motion.observe([7], disc(x)[None], None)
    assert motion.radii([7, 8], SPREAD, None) == [9, SPREAD]
    timed = Motion()
    for count, x in enumerate((10, 11)):
        timed.observe([7], disc(x)[None], count / 24)
    assert timed.radii([7], SPREAD, 2 / 24) == [SPREAD]
    assert timed.radii([7], SPREAD, 1 / 24 + 1 / 8) == [3 * SPREAD]  # frames are missing
    assert timed.radii([7], SPREAD, 9.0) == [4 * SPREAD]


@pytest.mark.parametrize("rate", [24, 24000 / 1001, 25, 60])
def test_the_times_of_an_ordinary_video_give_the_limit_of_frames_without_times(rate: float) -> None:
    motion = Motion()
    for count in range(1000):
        assert motion.radii([7], SPREAD, count / rate) == [SPREAD]
        motion.observe([7], disc(10)[None], count / rate)


def test_motion_survives_being_saved_and_forgets_lost_objects() -> None:
    motion = Motion()
    for x in (10, 16):
        motion.observe([7, 300], torch.stack((disc(x), disc(12))), None)
    again = Motion.unpack(motion.pack())
    assert again.radii([7, 300], SPREAD, None) == motion.radii([7, 300], SPREAD, None) == [9, SPREAD]
    again.observe([7], torch.zeros(1, H, W), None)
    assert again.radii([7], SPREAD, None) == [SPREAD]
    assert again.largest([7, 8]) == [DISC, Extent()]  # what it was, should only a part of it be found again
    again.observe([7], disc(16, radius=3)[None], None)
    assert again.largest([7]) == [DISC]


def test_an_object_that_is_removed_leaves_no_motion_behind() -> None:
    followed = Followed(HistoryRing(1), ObjectIds([7, 300]))
    for x in (10, 16):
        followed.motion.observe([7, 300], torch.stack((disc(x), disc(x))), None)
    followed.forget(7)
    assert followed.motion.radii([7, 300], SPREAD, None) == [SPREAD, 9]
    assert followed.motion.largest([7, 300]) == [Extent(), DISC]


def test_values_that_are_not_numbers_are_refused_and_change_nothing(toy: Hodor) -> None:
    frames = frames_of(3)
    for precision, kind in (("fp32", WeightsError), ("bf16", DeviceError)):
        segmenter = segmenter_for(toy, precision=precision)
        segmenter.step(frames[0], THREE)
        before = segmenter.state()
        genuine = segmenter.model.decode

        def broken(*inputs: object, genuine=genuine) -> torch.Tensor:
            logits = genuine(*inputs)
            logits[0, 3, 2, 2] = math.nan
            return logits

        segmenter.model.decode = broken
        try:
            with pytest.raises(kind, match="NaN or infinite values in frame 1"):
                segmenter.step(frames[1])
        finally:
            del segmenter.model.decode
        after = segmenter.state()
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(value, after[name])
        segmenter.step(frames[1])


def test_damaged_weights_are_refused_in_the_first_frame() -> None:
    model = make_model("toy")
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(math.nan)
    with pytest.raises(WeightsError, match="NaN or infinite values in frame 0"):
        segmenter_for(model, precision="fp32").step(frames_of(1)[0], THREE)


def test_an_empty_mask_ends_an_object_and_a_later_one_starts_it_again(toy: Hodor) -> None:
    segmenter, frames = segmenter_for(toy), frames_of(4)
    segmenter.step(frames[0], THREE)
    labels = segmenter.step(frames[1], {300: np.zeros_like(THREE[300])})
    assert segmenter.object_ids == [7, 65535] and 300 not in segmenter.last.objects and not (labels == 300).any()
    segmenter.step(frames[2], {300: square(4, 40)})
    assert segmenter.object_ids == [7, 65535, 300] and segmenter.last.objects[300].area == 14 * 14


def test_witnesses_tell_a_mask_that_has_moved_to_something_else(mini: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted()
    monkeypatch.setattr(mini, "decode", script)
    segmenter = segmenter_for(mini, matching=True)
    frame = frames_of(1)[0]
    segmenter.step(frame, {7: square(4, 4)})
    assert segmenter.last.objects[7].agreement is None and segmenter.last.objects[7].change is None
    found = []
    for left in (1, 12):
        mask = torch.zeros(16, 24, dtype=torch.bool)
        mask[1:6, left : left + 5] = True
        script.masks = [mask]
        segmenter.step(frame)
        found.append(segmenter.last.objects[7])
    assert found[0].agreement > found[1].agreement + 0.2
    assert found[0].change < found[1].change


def test_the_model_of_the_caller_stays_where_and_as_it_is(toy: Hodor) -> None:
    training = make_model("toy").train()
    segmenter_for(training)
    assert training.training
    assert segmenter_for(toy.eval()).model is toy


def test_movement_and_size_are_the_same_in_a_finer_map() -> None:
    motion = Motion()
    for x in (10.0, 16.0):
        motion.observe([5], disc(x)[None], None)
    assert motion.radii([5], SPREAD, None) == [9] and motion.scaled(1.5).radii([5], SPREAD, None) == [14]
    assert motion.scaled(1.5).largest([5]) == [Extent(15, 15, 180)]
    assert motion.radii([5], SPREAD, None) == [9]
