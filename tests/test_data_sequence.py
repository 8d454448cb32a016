"""Sequences from still images: what both makers promise, and what each option of the fast one does."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import numpy as np
import pytest
from data_fakes import box_mask, photograph

from hodor_cli.errors import UsageError
from hodor_cli.samples.sequence import make_still_sequence
from hodor_cli.samples.settings import MINI, PAPER, PRESETS, AugmentSettings, augment_preset

BOXES = [(20, 20, 40, 50), (80, 40, 30, 30)]
SIZE = (120, 160)
STILL = AugmentSettings(
    translation=(0, 0), rotation=(0, 0), shear=(0, 0), crop_keep=(1, 1), hue=(0, 0), saturation=(0, 0),
    contrast=(0, 0), brightness=(0, 0), flip=0,
)  # fmt: skip


@pytest.fixture
def photo():
    return photograph(np.random.default_rng(0), *SIZE, BOXES), [box_mask(*SIZE, box) for box in BOXES]


def others(rng):
    return photograph(rng, 90, 90, [(30, 30, 30, 30)]), [box_mask(90, 90, (30, 30, 30, 30))]


def makers():
    yield "mini", MINI
    yield "toy", PRESETS["toy"]
    yield "paper", PAPER
    yield "paper with the fast maker", dataclasses.replace(PAPER, maker="fast")


@pytest.mark.parametrize("settings", [pytest.param(value, id=name) for name, value in makers()])
def test_every_maker_keeps_its_promises(photo, settings):
    if settings.maker == "imgaug":
        pytest.importorskip("skimage")
    image, masks = photo
    for seed in range(6):
        rng = np.random.default_rng(seed)
        sample = make_still_sequence(image, masks, rng, settings, (96, 128), name="a.png", others=others)
        assert sample.frames.shape == (3, 96, 128, 3) and sample.frames.dtype == np.uint8
        assert sample.masks.shape == sample.valid.shape == (3, 96, 128) and sample.masks.dtype == np.uint8
        assert sample.presence.shape == (3, 2) and sample.valid.dtype == bool
        assert sample.name == "a.png" and sample.num_objects == 2 and sample.labelled.all()
        assert sample.presence[0].all(), "frame 0 shows every object"
        for t in range(3):
            assert set(np.unique(sample.masks[t])) - {0} == {i + 1 for i in range(2) if sample.presence[t, i]}
        assert not sample.masks[~sample.valid].any(), "there are no objects outside the image"
        assert not sample.frames[~sample.valid].any()


@pytest.mark.parametrize("settings", [pytest.param(MINI, id="fast"), pytest.param(PAPER, id="imgaug")])
def test_the_same_random_state_gives_the_same_sample(photo, settings):
    first, second, third = (
        make_still_sequence(photo[0], photo[1], np.random.default_rng([1, counter]), settings, (96, 128), others=others)
        for counter in (5, 5, 6)
    )
    assert np.array_equal(first.frames, second.frames) and np.array_equal(first.masks, second.masks)
    assert not np.array_equal(first.frames, third.frames)


def test_without_motion_the_frames_are_the_photograph(photo):
    image, masks = photo
    sample = make_still_sequence(image, masks, np.random.default_rng(0), STILL, SIZE)
    for t in range(3):
        assert np.abs(sample.frames[t].astype(int) - image).max() <= 2
        assert np.array_equal(sample.masks[t] == 1, masks[0]) and np.array_equal(sample.masks[t] == 2, masks[1])
    assert sample.valid.all()


def test_masks_move_with_the_picture(photo):
    """After any motion, the pixels under a mask still have the object's colour."""
    image, masks = photo
    for settings in (dataclasses.replace(MINI, shared_colour=0, grey=0, blur=0, compression=0, occluder=0), PAPER):
        plain = dataclasses.replace(settings, hue=(0, 0), saturation=(0, 0), contrast=(0, 0), brightness=(0, 0))
        sample = make_still_sequence(image, masks, np.random.default_rng(4), plain, SIZE)
        for t in range(3):
            for number, mask in enumerate(masks, start=1):
                found = sample.masks[t] == number
                if found.sum() > 200:
                    inside = np.median(sample.frames[t][found].astype(int), axis=0)
                    assert np.abs(inside - np.median(image[mask], axis=0)).max() <= 3


def test_outside_the_image_is_flagged(photo):
    away = dataclasses.replace(STILL, translation=(0.25, 0.25))
    sample = make_still_sequence(photo[0], photo[1], np.random.default_rng(0), away, SIZE)
    for t in range(3):
        share = 1 - sample.valid[t].mean()
        assert abs(share - (1 - 0.75 * 0.75)) < 0.02


def test_a_different_aspect_ratio_is_padded_not_stretched(photo):
    image, masks = photo
    sample = make_still_sequence(image, masks, np.random.default_rng(0), STILL, (160, 160))
    assert abs(sample.valid[0].mean() - 0.75) < 0.02
    assert abs((sample.masks[0] == 1).sum() - masks[0].sum()) < 0.05 * masks[0].sum()


@pytest.mark.parametrize("size", [(80, 200), (200, 80)])
def test_a_closer_view_of_an_object_at_the_edge_stays_in_the_picture(size):
    height, width = size
    boxes = [(width - 24, 2, 20, 20), (2, height - 24, 20, 20)]
    image, masks = photograph(np.random.default_rng(0), *size, boxes), [box_mask(*size, box) for box in boxes]
    closer = dataclasses.replace(STILL, view_scale=(2, 2), view_rotation=0)
    for mask in masks:
        sample = make_still_sequence(image, [mask], np.random.default_rng(0), closer, size)
        assert sample.valid.all() and sample.masks.any()


def test_overlapping_masks_put_the_smaller_on_top():
    image = photograph(np.random.default_rng(0), *SIZE, [])
    small, large = box_mask(*SIZE, (40, 40, 20, 20)), box_mask(*SIZE, (20, 20, 80, 80))
    for masks, number in (([small, large], 1), ([large, small], 2)):
        sample = make_still_sequence(image, masks, np.random.default_rng(0), STILL, SIZE)
        assert sample.masks[0][50, 50] == number and sample.presence.all()


def test_independent_motion_leaves_the_ground_behind(photo):
    image, masks = photo
    apart = dataclasses.replace(STILL, independent=1.0, object_motion=0.1)
    sample = make_still_sequence(image, masks, np.random.default_rng(1), apart, SIZE)
    assert sample.valid.all()
    positions = [np.argwhere(sample.masks[t] == 1).mean(0) for t in range(3)]
    assert max(np.abs(positions[0] - position).max() for position in positions[1:]) > 3, "the object moved"
    ground = (sample.masks == 0).all(0) & ~masks[0] & ~masks[1]
    border = np.zeros(SIZE, dtype=bool)
    border[:8] = True
    assert np.abs(sample.frames[0].astype(int) - sample.frames[1])[ground & border].max() <= 3, "the ground did not"


def test_an_other_background_comes_from_another_photograph(photo):
    image, masks = photo
    settings = dataclasses.replace(
        STILL, independent=1.0, other_background=1.0, object_motion=0.0, translation=(0.25, 0.25)
    )
    white = np.full((50, 200, 3), 255, dtype=np.uint8)
    sample = make_still_sequence(image, masks, np.random.default_rng(1), settings, SIZE, others=lambda rng: (white, []))
    assert (sample.frames[0][sample.masks[0] == 0] > 250).mean() > 0.9
    assert np.array_equal(np.median(sample.frames[0][sample.masks[0] == 1], axis=0), image[30, 30])


@pytest.mark.parametrize("zoom", [{"frame_scale": (0.5, 0.5)}, {"scale_jump": 1.0, "scale_jump_range": (0.5, 0.5)}])
def test_frames_are_zoomed(photo, zoom):
    settings = dataclasses.replace(STILL, **zoom)
    sample = make_still_sequence(photo[0], photo[1], np.random.default_rng(0), settings, SIZE)
    assert np.allclose((sample.masks == 1).sum(axis=(1, 2)), photo[1][0].sum() / 4, rtol=0.1)


def test_occluders_hide_objects_but_never_all_of_one_in_frame_0(photo):
    image, masks = photo
    settings = dataclasses.replace(STILL, occluder=1.0)
    hidden = 0
    for seed in range(12):
        sample = make_still_sequence(image, masks, np.random.default_rng(seed), settings, SIZE, others=others)
        assert sample.presence[0].all()
        hidden += any((sample.masks[t] > 0).sum() < (masks[0] | masks[1]).sum() * 0.9 for t in range(3))
    assert hidden > 2


def test_a_path_moves_steadily(photo):
    path = dataclasses.replace(
        STILL, frames=5, path=1.0, path_step=(0.1, 0.1), translation=(0.0, 0.2), view_scale=(0.8, 0.8)
    )
    jumps = dataclasses.replace(path, path=0.0)

    def wiggle(settings: AugmentSettings) -> float:
        """Mean size of the second difference of the object's place: 0 for steady motion."""
        found = []
        for seed in range(8):
            sample = make_still_sequence(photo[0], photo[1], np.random.default_rng(seed), settings, SIZE)
            places = [np.argwhere(mask == 1).mean(0) for mask in sample.masks if (mask == 1).any()]
            found.append(np.abs(np.diff(places, 2, axis=0)).mean())
        return float(np.mean(found))

    assert wiggle(path) < 1.0 < 5.0 < wiggle(jumps)


def test_an_object_lost_by_the_motion_is_absent_in_later_frames():
    """An object in the corner leaves the picture in some later frame; then presence says so."""
    image = photograph(np.random.default_rng(0), *SIZE, [(2, 2, 16, 16), (70, 50, 40, 40)])
    masks = [box_mask(*SIZE, (2, 2, 16, 16)), box_mask(*SIZE, (70, 50, 40, 40))]
    away = dataclasses.replace(STILL, translation=(0.25, 0.25))
    samples = [make_still_sequence(image, masks, np.random.default_rng(seed), away, SIZE) for seed in range(8)]
    assert all(sample.presence[0].all() for sample in samples)
    assert any(not sample.presence[1:, 0].all() for sample in samples)


def test_single_frames_and_long_sequences(photo):
    for length in (1, 6):
        settings = dataclasses.replace(MINI, frames=length)
        sample = make_still_sequence(photo[0], photo[1], np.random.default_rng(0), settings, SIZE, others=others)
        assert len(sample.frames) == len(sample.presence) == length


def test_one_colour_for_all_frames_or_one_for_each(photo):
    bright = dataclasses.replace(STILL, brightness=(0.0, 0.25))
    means = [
        make_still_sequence(photo[0], photo[1], np.random.default_rng(0), settings, SIZE).frames.mean((1, 2, 3))
        for settings in (bright, dataclasses.replace(bright, colour_each_frame=False))
    ]
    assert np.ptp(means[0]) > 2 and np.ptp(means[1]) == 0


def test_settings_refuse_nonsense_by_name():
    with pytest.raises(UsageError, match="'paint'"):
        AugmentSettings(maker="paint")
    with pytest.raises(UsageError, match=r"`occluder` must be between 0 and 1, not 1\.5"):
        AugmentSettings(occluder=1.5)
    with pytest.raises(UsageError, match="`rotation` must be"):
        AugmentSettings(rotation=(10, 5))
    with pytest.raises(UsageError, match="`frames` must be at least 1, not 0"):
        AugmentSettings(frames=0)
    with pytest.raises(UsageError, match="mini"):
        augment_preset("huge")


def test_settings_survive_json():
    assert msgspec.convert(json.loads(json.dumps(dataclasses.asdict(MINI))), AugmentSettings) == MINI
