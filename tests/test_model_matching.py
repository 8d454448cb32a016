"""The matcher and its cue, against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from segmenter_fakes import toy_history

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model import Cue, KeyedMasks
from hodor_cli.model.colour import colour_codes
from hodor_cli.model.fast.matching import TiledMatcher
from hodor_cli.model.matching import CueInjection, Matcher, surroundings
from hodor_cli.runtime.preprocess import normalise

# --- the matcher


@pytest.fixture(params=[Matcher, TiledMatcher])
def matcher(request: pytest.FixtureRequest) -> Matcher:
    torch.manual_seed(3)
    form: type[Matcher] = request.param
    return form(inputs=(8, 12), key_channels=16, sigma=2.0, reach=8, spread=4).requires_grad_(False)


def places(height: int, width: int) -> torch.Tensor:
    """Keys (1, 64, height, width) that differ from one place of 2 x 2 cells to the next."""
    keys = F.normalize(torch.randn(1, 64, height // 2, width // 2), dim=1)
    return F.interpolate(keys, scale_factor=2)


def test_keys_have_unit_length_at_stride_8(matcher: Matcher) -> None:
    keys = matcher.keys(torch.randn(1, 8, 6, 10), torch.randn(1, 12, 3, 5))
    assert keys.shape == (1, 16, 6, 10)
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(1, 6, 10))


def test_a_frame_matched_with_itself_brings_its_masks_back(matcher: Matcher) -> None:
    keys = places(6, 10)
    masks = torch.zeros(1, 2, 6, 10)
    masks[0, 0, 2:4, 2:6] = masks[0, 1, 2:6, 6:10] = 1
    for local in (True, False):
        source = KeyedMasks(keys, masks)
        carried = matcher.nearby(keys, source)[0] if local else matcher.anywhere(matcher.every_second(keys), source)
        assert ((carried > 0.5) == (masks > 0.5)).all()
        assert carried.min() >= 0 and carried.sum(dim=1).max() <= 1 + 1e-5


def test_what_is_narrower_than_two_cells_is_carried_from_anywhere(matcher: Matcher) -> None:
    torch.manual_seed(5)
    keys = F.normalize(torch.randn(1, 64, 8, 12), dim=1)
    masks = torch.zeros(1, 2, 8, 12)
    masks[0, 0, 2:7, 3] = masks[0, 1, 5, 6:11] = 1
    moved, wanted = keys.roll(1, dims=3), masks.roll(1, dims=3)
    coarse = matcher.every_second(moved)
    carried = matcher.anywhere(coarse, KeyedMasks(keys, masks), moved)
    assert ((carried > 0.5) == (wanted > 0.5)).all()
    assert ((matcher.anywhere(coarse, KeyedMasks(keys, masks)) > 0.5) != (wanted > 0.5)).any()
    no_object = KeyedMasks(keys, torch.zeros_like(masks))
    assert (matcher.anywhere(coarse, no_object, moved) == 0).all()


def test_masks_follow_the_keys_and_only_local_matching_minds_the_distance(matcher: Matcher) -> None:
    keys = places(6, 32)
    masks = torch.zeros(1, 1, 6, 32)
    masks[0, 0, 2:4, 2:6] = 1
    for step, found_locally in ((2, True), (20, False)):
        moved_keys, moved_masks = keys.roll(step, dims=3), masks.roll(step, dims=3)
        anywhere = matcher.anywhere(matcher.every_second(moved_keys), KeyedMasks(keys, masks))
        assert ((anywhere > 0.5) == (moved_masks > 0.5)).all()
        nearby, matched = matcher.nearby(moved_keys, KeyedMasks(keys, masks))
        same = (nearby > 0.5) == (moved_masks > 0.5)
        assert same[..., step:].all() == found_locally  # what rolled in on the left has its match out of reach
        assert (matched[..., step:] > 0.9).all() == found_locally and matched[0, 0, :, step - 1].max() < 0.1


def test_a_local_match_reaches_eight_cells_and_no_further(matcher: Matcher) -> None:
    keys = torch.zeros(1, 16, 4, 40)
    keys[:, 0] = 1  # all places alike: only the distance decides
    masks = torch.zeros(1, 1, 4, 40)
    masks[..., 20] = 1
    carried = matcher.nearby(keys, KeyedMasks(keys, masks))[0][0, 0, 0]
    assert carried[12] > 0 and carried[28] > 0
    assert carried[:12].max() == 0 and carried[29:].max() == 0


def test_the_cue_adds_descriptors_where_it_sees_objects_and_moves_only_their_logits() -> None:
    torch.manual_seed(4)
    injection = CueInjection(channels=8, descriptor_channels=32)
    torch.nn.init.normal_(injection.elsewhere)
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 0, :2] = 1
    history = toy_history(2, 2)
    history.has_object[0, 1, 0] = False
    added = injection(Cue(masks, masks), history)
    of_object = history.objects[0, 0, 0]  # its only descriptor
    expected = injection.previous_proj(of_object) + injection.reference_proj(of_object)
    torch.testing.assert_close(added[0, 0, 0], expected)
    torch.testing.assert_close(added[0, 3, 3], injection.elsewhere.sum(dim=0))
    logits = torch.randn(1, NUM_NON_OBJECT + 2, 8, 8)
    moved = injection.add_to_logits(logits, Cue(masks, masks), torch.zeros(1, 8, 4, 4)) - logits
    assert (moved[:, :NUM_NON_OBJECT] == 0).all()
    torch.testing.assert_close(moved[0, NUM_NON_OBJECT, 0, 0].item(), 4.0)
    torch.testing.assert_close(moved[0, NUM_NON_OBJECT + 1], torch.full((8, 8), -4.0))
    unlike = Cue(masks, masks, matched=torch.zeros(1, 1, 4, 4))  # what is there now was not there before
    moved = injection.add_to_logits(logits, unlike, torch.zeros(1, 8, 4, 4)) - logits
    torch.testing.assert_close(moved[0, NUM_NON_OBJECT, 0, 0].item(), 4.0)
    torch.testing.assert_close(moved[0, NUM_NON_OBJECT + 1], torch.zeros(8, 8))


def test_an_object_stays_near_where_it_was_unless_it_is_nowhere_there() -> None:
    was = torch.zeros(1, 1, 6, 24)
    was[..., 2:4, 4:8] = 1
    near = surroundings(was, 3)
    assert near[0, 0, :, 1:11].all() and not near[..., 0].any() and not near[..., 11:].any()
    injection = CueInjection(channels=8, descriptor_channels=32)
    logits = torch.zeros(1, NUM_NON_OBJECT + 1, 12, 48)
    logits[:, NUM_NON_OBJECT] = -9.0
    logits[:, NUM_NON_OBJECT, 4:8, 40:] = 9.0  # it looks as if it were here

    def found(logits: torch.Tensor) -> torch.Tensor:
        nothing = torch.full_like(was, 0.5)  # a cue that adds nothing
        return (
            injection.add_to_logits(logits, Cue(nothing, nothing, near), torch.zeros(1, 8, 6, 24))[0, NUM_NON_OBJECT]
            > 0
        )

    assert found(logits)[4:8, 40:].all(), "after a cut, or when it comes back, it may be anywhere"
    logits[:, NUM_NON_OBJECT, 4:8, 10:16] = 9.0  # and here, where it was
    assert found(logits)[4:8, 10:16].all() and not found(logits)[:, 22:].any()


def test_in_half_precision_masks_are_carried_to_within_a_few_percent() -> None:
    torch.manual_seed(3)
    matcher = TiledMatcher(inputs=(8, 12), key_channels=16, sigma=2.0, reach=8, spread=4).requires_grad_(False).eval()
    # Cells look like those around them: several scores lie between 35 and 40, where bfloat16 has steps of 1/4.
    keys = F.normalize(F.interpolate(torch.randn(1, 64, 4, 5), size=(12, 20), mode="bilinear"), dim=1)
    noisy = F.normalize(keys + 0.02 * torch.randn_like(keys), dim=1)
    masks = (torch.rand(1, 2, 12, 20) > 0.5).float() / 2
    for local in (True, False):
        match = matcher.nearby if local else matcher.anywhere
        wanted = match(noisy, KeyedMasks(keys, masks))
        with torch.autocast("cpu", torch.bfloat16):
            found = match(noisy, KeyedMasks(keys, masks))
        if isinstance(found, tuple) and isinstance(wanted, tuple):
            (found, matched), (wanted, matched_well) = found, wanted
            assert matched.dtype == torch.float32 and (matched - matched_well).abs().max() < 0.05
        assert found.dtype == torch.float32 and not found.equal(wanted)
        assert (found - wanted).abs().mean() < 0.002


# --- colours


def test_the_product_of_colour_codes_is_one_for_equal_colours_and_less_the_more_they_differ() -> None:
    def code(*rgb: int) -> torch.Tensor:
        frame = torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 16, 16)
        return colour_codes(normalise(frame, (127.5,) * 3, (50.0,) * 3), (127.5,) * 3, (50.0,) * 3)[0, :, 0, 0]

    violet, lilac, darker, blue = code(200, 160, 210), code(205, 160, 200), code(170, 136, 178), code(120, 190, 230)
    assert violet.shape == (6,) and violet.norm() == pytest.approx(1)
    assert violet @ lilac > 0.97 and violet @ darker > 0.9 and violet @ blue < 0.6


@pytest.mark.parametrize("form", [Matcher, TiledMatcher])
def test_frames_farther_back_are_matched_by_colour_where_features_are_alike(form: type[Matcher]) -> None:
    matcher = form(inputs=(8, 12), key_channels=16, sigma=2.0, reach=8, spread=4, colours=True).requires_grad_(False)
    colours = torch.zeros(1, 3, 64, 128)
    colours[..., :64], colours[:, 0, :, 64:] = -0.5, 0.5  # grey on the left, red on the right
    masks = torch.zeros(1, 2, 8, 16)
    masks[:, 0, :, :8] = masks[:, 1, :, 8:] = 1
    ones = (127.5,) * 3
    alike = F.normalize(torch.ones(1, 16, 8, 16), dim=1)  # all cells look alike but for their colour
    before = torch.cat((alike, colour_codes(colours, ones, ones)), dim=1)
    swapped = torch.cat((alike, colour_codes(colours.flip(3), ones, ones)), dim=1)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            anywhere = matcher.anywhere(matcher.every_second(swapped), KeyedMasks(before, masks))
            nearby = matcher.nearby(swapped, KeyedMasks(before, masks))[0]
        assert (anywhere[:, 0, :, 9:] > 0.99).all() and (anywhere[:, 1, :, :7] > 0.99).all()
        assert (nearby[:, 0, :, :4] > 0.8).all(), "nearby, features alone decide"


def test_keys_with_colours_have_unit_features_and_unit_colours_after_a_mean_too() -> None:
    torch.manual_seed(3)
    matcher = Matcher(inputs=(8, 12), key_channels=16, sigma=2.0, reach=8, spread=4, colours=True)
    codes = colour_codes(torch.rand(1, 3, 48, 80), (0.0,) * 3, (255.0,) * 3)
    keys = matcher.keys(torch.randn(1, 8, 6, 10), torch.randn(1, 12, 3, 5), codes)
    assert keys.shape == (1, 22, 6, 10)
    for made in (keys, matcher.every_second(keys)):
        for part in (made[:, :16], made[:, 16:]):
            torch.testing.assert_close(part.norm(dim=1), torch.ones(1, *part.shape[-2:]))


@pytest.fixture
def of_colours() -> TiledMatcher:
    torch.manual_seed(3)
    matcher = TiledMatcher(inputs=(8, 12), key_channels=16, sigma=2.0, reach=8, spread=4, colours=True)
    return matcher.requires_grad_(False)


def coloured(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([F.normalize(torch.randn(1, n, 8, 8, generator=generator), dim=1) for n in (16, 6)], dim=1)


def test_matching_in_bfloat16_is_that_in_float32(of_colours: TiledMatcher) -> None:
    keys, masks = F.normalize(coloured(0) + 0.9 * coloured(1), dim=1), torch.rand(1, 2, 8, 8)
    source = KeyedMasks(coloured(0), masks)
    keys = of_colours.unit(keys)

    def found() -> tuple[torch.Tensor, ...]:
        return *of_colours.nearby(keys, source), of_colours.anywhere(of_colours.every_second(keys), source)

    wanted = found()
    with torch.autocast("cpu", torch.bfloat16):
        for ours, theirs in zip(found(), wanted, strict=True):
            assert (ours - theirs).abs().mean() < 0.02 and theirs.std() > 0.05


def test_no_mask_is_carried_to_what_matches_nothing_at_all(of_colours: TiledMatcher) -> None:
    keys = coloured(0)[..., :1, :1].expand(-1, -1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        carried = of_colours.anywhere(of_colours.every_second(keys), KeyedMasks(-keys, torch.ones(1, 2, 8, 8)))
    assert (carried == 0).all()


def test_scores_of_cells_that_match_well_are_rounded_least(of_colours: TiledMatcher) -> None:
    """The frame itself, whose cells resemble their neighbours: a score of 77 would be rounded to a multiple of 1/2."""
    keys = of_colours.unit(F.interpolate(coloured(0)[..., :4, :4], scale_factor=2, mode="bilinear"))
    source = KeyedMasks(keys, torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(5)))
    wanted = of_colours.anywhere(of_colours.every_second(keys), source)
    with torch.autocast("cpu", torch.bfloat16):
        found = of_colours.anywhere(of_colours.every_second(keys), source)
    assert (found - wanted).abs().max() < 0.023
