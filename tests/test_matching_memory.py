"""The frames kept for matching: which they are, and what each object is carried from."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from hodor_cli.config import COLOUR_CHANNELS
from hodor_cli.engine.matching_memory import MAX_REFERENCES, RECENT, MatchingMemory
from hodor_cli.engine.stored_frame import stored_frame
from hodor_cli.model import Hodor, Maps, build_model
from hodor_cli.runtime.preprocess import Geometry

H, W = 12, 16


@pytest.fixture(scope="module")
def mini() -> Hodor:
    torch.manual_seed(0)
    return build_model("mini").requires_grad_(False)


def frame_maps(seed: int = 0) -> Maps:
    """A frame whose every place (2 x 2 cells) is unlike every other; the same seed is the same frame."""
    generator = torch.Generator().manual_seed(seed)
    parts = [F.normalize(torch.randn(1, n, H // 2, W // 2, generator=generator), dim=1) for n in (128, COLOUR_CHANNELS)]
    keys = F.interpolate(torch.cat(parts, dim=1), scale_factor=2)
    return Maps(stride4=torch.zeros(1), stride8=torch.zeros(1), keys=keys)


def mask(left: int) -> torch.Tensor:
    found = torch.zeros(1, H, W)
    found[0, 2:8, 2 * left : 2 * left + 6] = 1
    return found


def assert_there(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """The soft mask means this mask; borders are smooth, because the reference is asked about every second cell."""
    assert torch.equal(found > 0.5, wanted > 0.5)
    assert found.min() >= 0 and found.max() <= 1 + 1e-5


def test_nothing_to_match_with_is_no_cue(mini: Hodor) -> None:
    memory = MatchingMemory()
    assert memory.cue(mini, frame_maps(), [7]) is None
    memory.remember(frame_maps(), [7], mask(0), reference=(7,))
    memory.forget(7)
    assert memory.previous is None and memory.references == []
    assert memory.cue(mini, frame_maps(), [7]) is None


def test_a_model_without_keys_remembers_nothing() -> None:
    memory = MatchingMemory()
    memory.remember(frame_maps()._replace(keys=None), [7], mask(0), reference=(7,))
    assert memory.previous is None and memory.references == []


def test_an_object_is_carried_from_its_own_reference_though_another_was_given_later(mini: Hodor) -> None:
    """In the later reference frame the earlier object's pixels are unmarked, which must not count against it."""
    memory, maps = MatchingMemory(), frame_maps()
    memory.remember(maps, [7], mask(0), reference=(7,))
    both = torch.cat((mask(0), mask(4)))
    memory.remember(maps, [7, 300], both, reference=(300,))
    cue = memory.cue(mini, maps, [7, 300])
    assert cue is not None
    assert_there(cue.reference[0], both)
    assert_there(cue.previous[0], both)


def test_claims_of_several_references_stay_within_one(mini: Hodor) -> None:
    memory, maps = MatchingMemory(), frame_maps()
    memory.remember(maps, [7], mask(0), reference=(7,))
    memory.remember(maps, [7, 300], torch.cat((torch.zeros(1, H, W), mask(0))), reference=(300,))
    cue = memory.cue(mini, maps, [7, 300])
    assert cue is not None
    assert cue.reference.sum(dim=1).max() <= 1 + 1e-5
    torch.testing.assert_close(cue.reference[0, 0, 5, 3].item(), 0.5, atol=0.05, rtol=0)


def test_ids_are_kept_apart_in_any_order_and_unknown_ones_are_nowhere(mini: Hodor) -> None:
    memory, maps = MatchingMemory(), frame_maps()
    memory.remember(maps, [7, 300], torch.cat((mask(0), mask(4))), reference=(7, 300))
    cue = memory.cue(mini, maps, [300, 9, 7])
    assert cue is not None
    for found in (cue.previous[0], cue.reference[0]):
        assert_there(found[0], mask(4)[0])
        assert found[1].abs().max() == 0
        assert_there(found[2], mask(0)[0])


def test_only_the_newest_references_are_kept_and_older_objects_follow_the_previous_frame(mini: Hodor) -> None:
    memory, maps = MatchingMemory(), frame_maps()
    ids, masks = [], torch.zeros(0, H, W)
    for object_id, left in ((1, 0), (2, 3), (3, 5)):
        ids, masks = [*ids, object_id], torch.cat((masks, mask(left)))
        memory.remember(maps, ids, masks, reference=(object_id,))
    assert len(memory.references) == MAX_REFERENCES
    assert [frame.object_ids for frame in memory.references] == [(2,), (3,)]
    cue = memory.cue(mini, maps, ids)
    assert cue is not None
    assert_there(cue.reference[0, 0], cue.previous[0, 0])


def test_a_copy_goes_its_own_way() -> None:
    memory = MatchingMemory()
    memory.remember(frame_maps(), [7], mask(0), reference=(7,))
    copied = copy.copy(memory)
    memory.forget(7)
    assert copied.previous is not None and len(copied.references) == 1


def test_an_object_that_changes_its_look_is_carried_from_a_recent_frame_too(mini: Hodor) -> None:
    memory, old, new = MatchingMemory(), frame_maps(0), frame_maps(1)
    memory.remember(old, [7], mask(0), reference=(7,))
    for _ in range(RECENT - 1):
        memory.remember(new, [7], mask(4))
    before = memory.cue(mini, new, [7])
    memory.remember(new, [7], mask(4))
    after = memory.cue(mini, new, [7])
    assert before is not None and before.given is None and after is not None and after.given is not None
    torch.testing.assert_close(after.given, before.reference)  # what was given says the same as before
    inside = mask(4)[0] > 0
    assert after.reference[0, 0][inside].mean() > before.reference[0, 0][inside].mean() + 0.3
    assert after.reference[0, 0][~inside].mean() < before.reference[0, 0][~inside].mean()


def test_an_object_that_comes_near_is_carried_from_a_frame_that_shows_it_so(mini: Hodor) -> None:
    """As it grows, the frame that matters is replaced before its time; an object that keeps its size waits for it."""
    memory, old, new = MatchingMemory(), frame_maps(0), frame_maps(1)
    memory.remember(old, [7], mask(1), reference=(7,))
    memory.remember(new, [7], mask(2))
    assert memory.recent is None
    near = torch.zeros(1, H, W)
    near[0, :10, 2:14] = 1
    memory.remember(new, [7], near)
    cue = memory.cue(mini, new, [7])
    assert cue is not None and cue.given is not None
    inside = near[0] > 0
    assert cue.given[0, 0][inside].mean() < 0.4
    # What shows the object so large counts three quarters.
    assert cue.reference[0, 0][inside].mean() > 0.7
    shown = memory.recent
    memory.remember(old, [7], near)
    assert memory.recent is shown


def test_an_object_that_the_recent_frame_does_not_show_is_carried_from_its_reference_alone(mini: Hodor) -> None:
    memory, maps = MatchingMemory(), frame_maps()
    memory.remember(maps, [7, 8], torch.cat((mask(0), mask(4))), reference=(7, 8))
    for _ in range(RECENT):
        memory.remember(maps, [7, 8], torch.cat((torch.zeros(1, H, W), mask(4))))
    cue = memory.cue(mini, maps, [7, 8])
    assert cue is not None and cue.given is not None
    torch.testing.assert_close(cue.reference[0, 0], cue.given[0, 0])
    assert_there(cue.reference[0, 0], mask(0)[0])


def test_a_resized_frame_shows_its_objects_at_the_same_place_of_the_picture(mini: Hodor) -> None:
    old, new = (Geometry.of(100, 180, min_dim=lines, max_dim=999) for lines in (100, 150))
    masks = torch.zeros(1, old.padded[0] // 8, old.padded[1] // 8)
    masks[0, 4:8, 10:16] = 1
    keys = torch.zeros(1, 128, *masks.shape[1:])
    keys[:, 0], keys[:, 1, 4:8, 10:16] = 0.1, 5.0  # the object's keys differ from all others
    colours = F.normalize(torch.rand(1, COLOUR_CHANNELS, *masks.shape[1:]), dim=1)
    both = torch.cat((F.normalize(keys, dim=1), colours), dim=1)
    frame = stored_frame(Maps(stride4=torch.zeros(1), stride8=torch.zeros(1), keys=both), [7], masks)
    assert frame is not None and mini.matcher is not None
    resized = frame.resized(old, new, mini.matcher)
    found = resized.keyed_masks([7])
    assert found.masks.shape[2:] == (new.padded[0] // 8, new.padded[1] // 8) == found.keys.shape[2:]
    rows, columns = (found.masks[0, 0] > 0.5).nonzero().T
    edges = [int(edge) for edge in (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)]
    assert edges == [6, 12, 15, 24]  # one and a half times as far and as large
    assert torch.equal(found.keys[0, 1] > 0.7, found.masks[0, 0] > 0.5)
    for part in (found.keys[:, :128], found.keys[:, 128:]):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(1, *part.shape[2:]), rtol=0, atol=1e-3)


def test_the_padding_of_a_resized_frame_shows_no_object(mini: Hodor) -> None:
    old, new = (Geometry.of(100, 180, min_dim=lines, max_dim=999) for lines in (100, 150))
    masks = torch.ones(1, old.padded[0] // 8, old.padded[1] // 8)
    maps = Maps(stride4=torch.zeros(1), stride8=torch.zeros(1), keys=torch.ones(1, 134, *masks.shape[1:]))
    frame = stored_frame(maps, [7], masks)
    assert frame is not None and mini.matcher is not None
    found = frame.resized(old, new, mini.matcher).masks[0]
    assert found[:19, :34].min() > 0.99 and not found[19:].any() and not found[:, 34:].any()
