"""Decoding a part of a frame: the same logits as in the whole frame, and the whole frame where that would not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segmenter_fakes import Scripted, segmenter_for, some_model

from hodor_cli.engine import Segmenter
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.region import WholeFrame, holds_all, in_whole_frame
from hodor_cli.model import Hodor
from hodor_cli.model.fast import plain
from hodor_cli.model.region import Norms, Region
from hodor_cli.model.types import Cue, History, KeyedMasks

FRAME = np.full((256, 256, 3), 90, dtype=np.uint8)


@pytest.fixture
def network() -> Hodor:
    return some_model("mini")


def history_of_one(model: Hodor) -> History:
    torch.manual_seed(1)
    channels = model.config.descriptor_channels
    there = torch.ones(1, 1, 1, dtype=torch.bool)
    return History(torch.randn(1, 1, 1, channels), torch.randn(1, 1, 9, channels), there, there[..., 0], complete=True)


@torch.inference_mode()
def test_a_region_has_the_logits_of_the_whole_frame(network: Hodor) -> None:
    torch.manual_seed(0)
    maps = network.extract(torch.nn.functional.interpolate(torch.randn(1, 3, 16, 20), size=(256, 320), mode="bicubic"))
    mask = torch.zeros(1, 1, 32, 40)
    mask[..., 12:20, 20:28] = 1
    cue, norms, history = Cue(mask, mask), Norms(), history_of_one(network)
    whole = network.decode(maps, history, cue, None, norms)
    region = Region(slice(4, 28), slice(8, 40), (32, 40))
    # Eight cells inside, for convolutions see beyond the border of the region, farther where offsets are large.
    inside = Region(slice(12, 20), slice(16, 40), (32, 40)).doubled()

    def difference(used: Norms) -> float:
        part = in_whole_frame(network.decode(maps, history, cue, region, used), region)
        return float((inside.of(part) - inside.of(whole)).abs().mean())

    assert difference(Norms(norms.statistics)) < 0.01
    assert difference(Norms()) > 0.05  # by its own norms


@torch.inference_mode()
def test_both_matchers_carry_the_same_masks_into_a_region(network: Hodor) -> None:
    torch.manual_seed(0)
    keys, before = (torch.nn.functional.normalize(torch.randn(1, 128, 20, 28), dim=1) for _ in range(2))
    source, region = KeyedMasks(before, torch.rand(1, 2, 20, 28)), Region(slice(9, 17), slice(10, 20), (20, 28))
    assert network.matcher is not None
    affinity = network.matcher.affinity(keys, before, region)
    fast, fast_matched = network.matcher.carried(affinity, source.masks, region)
    matcher = plain(network).matcher
    assert matcher is not None
    carried, matched = matcher.carried(matcher.affinity(keys, before, region), source.masks, region)
    torch.testing.assert_close(fast, carried, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fast_matched, matched, atol=1e-4, rtol=1e-4)
    whole = matcher.nearby(keys, source)[0]
    torch.testing.assert_close(region.of(fast), region.of(whole), atol=1e-4, rtol=1e-4)
    assert fast.sum() == pytest.approx(float(region.of(fast).sum()))  # nothing outside


def test_a_region_holds_all_places_an_object_can_be_in() -> None:
    masks = torch.zeros(2, 40, 60)
    masks[0, 10:12, 8:10], masks[1, 20:22, 30:33] = 1.0, 1.0
    seen = WholeFrame(ObjectIds((1, 2)), torch.zeros(2, 4))
    region = seen.region(ObjectIds((1, 2)), masks, [4, 9])
    assert region is not None
    assert region.rows.start <= 6 and region.rows.stop >= 22 + 9
    assert region.columns.start <= 4 and region.columns.stop >= 33 + 9
    assert (region.rows.stop - region.rows.start) * (region.columns.stop - region.columns.start) < 40 * 60
    assert seen.region(ObjectIds((1, 3)), masks, [4, 9]) is None  # other objects
    masks[1] = 0.1
    assert seen.region(ObjectIds((1, 2)), masks, [4, 9]) is None  # one may be anywhere


@pytest.mark.parametrize(("rows", "columns", "holds"), [((8, 12), (8, 12), True), ((8, 12), (0, 3), False)])
def test_an_object_at_the_border_is_looked_for_behind_it(
    rows: tuple[int, int], columns: tuple[int, int], holds: bool
) -> None:
    logits = torch.zeros(1, 11, 24, 24)
    logits[0, 10] = -9.0
    logits[0, 10, slice(*rows), slice(*columns)] = 9.0
    assert holds_all(logits, Region(slice(4, 16), slice(4, 16), (32, 32))) is holds
    assert holds_all(logits, Region(slice(4, 16), slice(0, 12), (32, 32)))  # the frame ends there


def test_outside_of_a_region_no_object_is_likely() -> None:
    region = Region(slice(4, 16), slice(8, 20), (32, 32))
    whole = in_whole_frame(torch.zeros(1, 11, 24, 24), region).softmax(dim=1)[0, 10]
    assert whole.shape == (64, 64) and region.doubled().of(whole).min() > 0.09
    assert whole.sum() == pytest.approx(float(region.doubled().of(whole).sum()), abs=1e-3)


@pytest.fixture
def regions(network: Hodor, monkeypatch: pytest.MonkeyPatch) -> tuple[Segmenter, Scripted, list[Region | None]]:
    """A segmenter whose decoder finds what the test says, and the regions that were decoded."""
    script, seen = Scripted(), list[Region | None]()

    def recording(*args: object) -> torch.Tensor:
        seen.append(args[3])  # type: ignore[arg-type]
        return script(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "decode", recording)
    return segmenter_for(network, min_dim=256), script, seen


def test_few_frames_are_decoded_as_a_whole(regions: tuple[Segmenter, Scripted, list[Region | None]]) -> None:
    segmenter, script, seen = regions
    there = torch.zeros(64, 64, dtype=torch.bool)
    there[24:36, 24:36] = True
    script.masks = [there]
    segmenter.step(FRAME, {1: np.kron(there, np.ones((4, 4))) > 0})
    for _ in range(10):
        labels = segmenter.step(FRAME)
        assert (labels[100:140, 100:140] == 1).all() and not labels[:64].any() and not labels[:, 180:].any()
    whole = [number for number, region in enumerate(seen) if region is None]
    assert whole == [0, 8]


def test_an_object_that_starts_again_is_first_decoded_in_the_whole_frame(
    regions: tuple[Segmenter, Scripted, list[Region | None]],
) -> None:
    segmenter, script, seen = regions
    there = torch.zeros(64, 64, dtype=torch.bool)
    there[24:36, 24:36] = True
    script.masks, mask = [there], np.kron(there, np.ones((4, 4))) > 0
    for _ in range(2):
        segmenter.step(FRAME, {1: mask})
        segmenter.step(FRAME)
        segmenter.step(FRAME)
        segmenter.remove(1)
    assert [region is None for region in seen] == [True, False, True, False]


def test_an_object_that_jumps_is_found_in_the_whole_frame(
    regions: tuple[Segmenter, Scripted, list[Region | None]],
) -> None:
    segmenter, script, seen = regions
    there, elsewhere = torch.zeros(2, 64, 64, dtype=torch.bool)
    there[8:16, 8:16], elsewhere[50:58, 50:58] = True, True
    script.masks = [there]
    segmenter.step(FRAME, {1: np.kron(there, np.ones((4, 4))) > 0})
    segmenter.step(FRAME)
    segmenter.step(FRAME)
    script.masks = [elsewhere]
    labels = segmenter.step(FRAME)
    assert labels[205:225, 205:225].all() and not labels[:100].any()
    assert [region is None for region in seen] == [True, False, False, True]


def test_a_run_continues_in_the_middle_of_regions(network: Hodor) -> None:
    generator = np.random.default_rng(0)
    square = generator.integers(150, 255, (50, 50, 3), dtype=np.uint8)
    frames = [FRAME.copy() for _ in range(5)]
    for number, frame in enumerate(frames):
        frame[90:140, 90 + 2 * number : 140 + 2 * number] = square
    mask = np.zeros((256, 256), dtype=np.uint16)
    mask[90:140, 90:140] = 3
    one = segmenter_for(network, min_dim=256)
    for number, frame in enumerate(frames):
        one.step(frame, mask if number == 0 else None)
        if number == 2:
            state = one.state()
    assert state["whole/age"] == 2  # frame 2 was a region
    other = segmenter_for(network, min_dim=256)
    other.load_state(state)
    for frame in frames[3:]:
        other.step(frame)
    for name, value in one.state().items():
        np.testing.assert_array_equal(other.state()[name], value, err_msg=name)
