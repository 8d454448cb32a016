"""Matching before the step: it gives the same cue, and what does not fit the step is not used."""

from __future__ import annotations

import pytest
import torch
from segmenter_fakes import some_model
from test_matching_memory import H, W, frame_maps, mask

from hodor_cli.engine.matched_ahead import Carried, KnownAffinity, MatchedAhead
from hodor_cli.engine.matching_memory import MatchingMemory
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.region import WholeFrame
from hodor_cli.engine.stored_frame import rounded
from hodor_cli.model import Hodor
from hodor_cli.model.matching import Matcher
from hodor_cli.model.region import Region

LEFT = Region(slice(0, H), slice(0, 8), (H, W))


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    found = some_model("mini").requires_grad_(False).matcher
    assert found is not None
    return found


@pytest.fixture
def memory() -> MatchingMemory:
    """The frame before, with an object on the left."""
    memory = MatchingMemory()
    memory.remember(frame_maps(), [7], mask(1), reference=(7,))
    return memory


def ahead(matcher: Matcher, memory: MatchingMemory, before: int, region: Region | None) -> MatchedAhead:
    """What a frame was matched with in advance: the reference, and the frame of a seed."""
    keys, earlier = frame_maps(1).keys, frame_maps(before).keys
    assert keys is not None and earlier is not None
    carried = Carried.all_of(matcher, keys, memory.lasting, [7])
    return MatchedAhead(carried, KnownAffinity.of(matcher, keys, rounded(earlier[0]), region))


@pytest.mark.parametrize("region", [None, LEFT])
def test_the_cue_is_that_of_matching_in_the_step(
    matcher: Matcher, memory: MatchingMemory, region: Region | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, maps = some_model("mini").requires_grad_(False), frame_maps(1)
    wanted = memory.cue(model, maps, [7], region=region)
    known = ahead(matcher, memory, 0, region)
    for name in ("affinity", "every_second"):  # the step matches nothing itself
        monkeypatch.setattr(type(matcher), name, lambda *_: pytest.fail("matched again"))
    found = memory.cue(model, maps, [7], known, region)
    assert wanted is not None and found is not None
    torch.testing.assert_close(found.previous, wanted.previous)
    torch.testing.assert_close(found.matched, wanted.matched)
    torch.testing.assert_close(found.reference, wanted.reference)


def test_what_was_matched_with_another_frame_is_not_used(matcher: Matcher, memory: MatchingMemory) -> None:
    assert memory.previous is not None
    assert ahead(matcher, memory, 0, None).affinity(memory.previous, None) is not None
    assert ahead(matcher, memory, 2, None).affinity(memory.previous, None) is None
    assert MatchedAhead([], None).affinity(memory.previous, None) is None


def test_a_part_of_a_frame_does_not_do_for_more_of_it(matcher: Matcher, memory: MatchingMemory) -> None:
    assert memory.previous is not None
    known = ahead(matcher, memory, 0, LEFT)
    assert known.affinity(memory.previous, LEFT) is not None
    for needed in (None, Region(slice(0, H), slice(4, 12), (H, W))):
        assert known.affinity(memory.previous, needed) is None


def test_a_missing_object_or_reference_is_matched_in_the_step(matcher: Matcher, memory: MatchingMemory) -> None:
    model: Hodor = some_model("mini").requires_grad_(False)
    known = ahead(matcher, memory, 0, None)
    memory.remember(frame_maps(), [7, 300], torch.cat((mask(1), mask(4))), reference=(300,))
    wanted, found = (memory.cue(model, frame_maps(0), [7, 300], *ready) for ready in ((), (known,)))
    assert wanted is not None and found is not None
    torch.testing.assert_close(found.reference, wanted.reference)


def test_a_region_is_known_a_frame_ahead() -> None:
    """It holds the region of the frame that follows, also next to frames that are decoded as a whole."""
    ids, masks = ObjectIds((1,)), torch.zeros(1, 40, 60)
    masks[0, 10:12, 20:24] = 1.0
    for age in range(1, 9):
        seen = WholeFrame(ids, torch.zeros(2, 4), age)
        region, later = seen.region_ahead(ids, masks, [4]), WholeFrame(ids, seen.norms, age % 8 + 1)
        following = later.region(ids, masks.roll(1, dims=2), [4])
        assert (region is None) == (following is None) == (age == 7)
        assert region is None or (following is not None and region.covers(following))
