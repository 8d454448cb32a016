"""The paper's augmentation through imgaug: each augmenter does what its range says, under this NumPy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hodor_cli.errors import DataError
from hodor_cli.samples.imgaug_sequence import (
    _UNUSED,
    colour_augmenter,
    geometry_augmenter,
    restore_numpy_names,
    unused_settings,
)
from hodor_cli.samples.sequence import make_still_sequence
from hodor_cli.samples.settings import PAPER, AugmentSettings

NOTHING = AugmentSettings(
    maker="imgaug", translation=(0, 0), rotation=(0, 0), shear=(0, 0), crop_keep=(1, 1), hue=(0, 0),
    saturation=(0, 0), contrast=(0, 0), brightness=(0, 0), flip=0,
)  # fmt: skip
SIZE = (90, 120)


@pytest.fixture(scope="module")
def imgaug():
    try:
        from hodor_cli.samples.imgaug_sequence import load_imgaug

        return load_imgaug()
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture
def image():
    """Mid colours, so that no change saturates."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(70, 180, (9, 12, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((10, 10, 1), np.uint8))


def geometry(imgaug, image, settings, seed, keep=1.0, rectangle=(slice(35, 55), slice(50, 70))):
    _, maps = imgaug
    square = np.zeros(SIZE, np.int32)
    square[rectangle] = 1
    augmenter = geometry_augmenter(settings, SIZE, keep, seed).to_deterministic()
    frame, moved = augmenter(image=image, segmentation_maps=maps(square + 1, shape=image.shape))
    codes = moved.get_arr()
    return np.asarray(frame), codes == 2, codes > 0


def colours(imgaug, image, settings, seed):
    return np.asarray(colour_augmenter(settings, seed)(image=image))


def test_nothing_asked_nothing_done(imgaug, image):
    frame, square, valid = geometry(imgaug, image, NOTHING, 1)
    assert np.array_equal(frame, image) and valid.all() and square.sum() == 400
    assert np.abs(colours(imgaug, image, NOTHING, 1).astype(int) - image).max() <= 8  # HSV and back, 8 bits


def test_settings_called_unused_change_nothing(imgaug, image):
    changed = {name: (1.5, 1.5) if name in ("view_scale", "frame_scale") else 0.9 for name in _UNUSED}
    mask = np.zeros(image.shape[:2], bool)
    mask[30:60, 30:60] = True
    plain, same = (
        make_still_sequence(image, [mask], np.random.default_rng(1), settings, SIZE)
        for settings in (PAPER, dataclasses.replace(PAPER, **changed))
    )
    assert np.array_equal(plain.frames, same.frames) and np.array_equal(plain.masks, same.masks)
    assert unused_settings(dataclasses.replace(PAPER, blur=0.2, pasted=1, rotation=(0, 1))) == ["augment.blur"]


def test_translation_of_a_quarter_in_both_directions(imgaug, image):
    settings = dataclasses.replace(NOTHING, translation=(0.25, 0.25))
    seen = set()
    for seed in range(12):
        _, square, _ = geometry(imgaug, image, settings, seed)
        rows, columns = np.argwhere(square).mean(0) - (44.5, 59.5)
        assert abs(abs(columns) - 30) <= 1 and abs(abs(rows) - 22.5) <= 1
        seen.add((rows > 0, columns > 0))
    assert len(seen) == 4


def test_rotation_of_ten_degrees_in_both_directions(imgaug, image):
    settings = dataclasses.replace(NOTHING, rotation=(10, 10))
    angles = []
    for seed in range(8):
        _, bar, valid = geometry(imgaug, image, settings, seed, rectangle=(slice(43, 47), slice(25, 95)))
        rows, columns = np.nonzero(bar)
        angles.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
    assert {round(abs(angle)) for angle in angles} == {10}
    assert {angle > 0 for angle in angles} == {True, False}
    assert valid.mean() < 1


def test_shear_moves_rows_and_columns(imgaug, image):
    settings = dataclasses.replace(NOTHING, shear=(10, 10))
    _, square, valid = geometry(imgaug, image, settings, 2)
    assert 0.75 < valid.mean() < 1
    assert abs(square.sum() - 400) < 60


def test_crop_keeps_the_share_asked_for(imgaug, image):
    frame, square, valid = geometry(imgaug, image, NOTHING, 3, keep=0.6)
    assert frame.shape == image.shape and valid.all()
    assert abs(square.sum() - 400 / 0.36) < 60
    places = {tuple(np.argwhere(geometry(imgaug, image, NOTHING, seed, keep=0.6)[1]).min(0)) for seed in range(5)}
    assert len(places) > 2, "the crop lies somewhere else each time"


def test_hue_turns_the_colour_circle(imgaug, image):
    settings = dataclasses.replace(NOTHING, hue=(0.12, 0.12))
    pure = np.full((20, 20, 3), (160, 80, 80), np.uint8)
    turns = []
    for seed in range(6):
        hsv = cv2.cvtColor(colours(imgaug, pure, settings, seed), cv2.COLOR_RGB2HSV)
        turns.append((float(np.median(hsv[..., 0])) + 90) % 180 - 90)
    assert all(abs(abs(turn) - 0.12 * 180) <= 3 for turn in turns) and len({turn > 0 for turn in turns}) == 2


def test_saturation_contrast_and_brightness_go_both_ways(imgaug, image):
    def saturation(picture):
        return float(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1].mean())

    measures = {
        "saturation": ((0.12, 0.12), saturation, 12),
        "contrast": ((0.05, 0.05), lambda picture: float(picture.std()), 0.4),
        "brightness": ((0.25, 0.25), lambda picture: float(picture.mean()), 15),
    }
    for name, (bounds, measure, least) in measures.items():
        settings = dataclasses.replace(NOTHING, **{name: bounds})
        changes = [measure(colours(imgaug, image, settings, seed)) - measure(image) for seed in range(8)]
        assert min(changes) < -least and max(changes) > least, (name, changes)


def test_paper_draws_one_colour_and_a_motion_for_each_frame(imgaug, image):
    mask = np.zeros(SIZE, bool)
    mask[30:60, 40:80] = True
    settings = dataclasses.replace(NOTHING, translation=(0.05, 0.2), brightness=(0.2, 0.25), colour_each_frame=False)
    sample = make_still_sequence(image, [mask], np.random.default_rng(0), settings, SIZE)
    means = [sample.frames[t][sample.masks[t] == 1].mean() for t in range(3)]
    assert np.ptp(means) < 12 and abs(means[0] - image[mask].mean()) > 15
    assert len({tuple(np.argwhere(sample.masks[t]).min(0)) for t in range(3)}) == 3


def test_the_ranges_of_the_paper():
    assert PAPER.maker == "imgaug"
    assert PAPER.translation == (0.0, 0.25) and PAPER.rotation == PAPER.shear == (0.0, 10.0)
    assert PAPER.crop_keep == (0.6, 0.9) and PAPER.hue == PAPER.saturation == (0.0, 0.12)
    assert PAPER.contrast == (0.0, 0.05) and PAPER.brightness == (0.0, 0.25)


def test_names_numpy_lost_are_restored_and_others_left_alone(monkeypatch):
    monkeypatch.delattr(np, "sctypes", raising=False)
    before = np.__dict__.get("bool")
    restore_numpy_names()
    restored = np.__dict__["sctypes"]
    assert np.float32 in restored["float"] and np.uint8 in restored["uint"]
    assert np.bool is (before or np.bool_)


def test_without_imgaug_training_data_says_so():
    script = (
        "import sys; sys.modules['imgaug'] = None\n"
        "from hodor_cli.samples.imgaug_sequence import load_imgaug\n"
        "from hodor_cli.errors import DataError\n"
        "try:\n    load_imgaug()\nexcept DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "imgaug==0.4.0" in done.stdout and "`augment=fast`" in done.stdout and "Traceback" not in done.stderr
    assert "opencv-python-headless" in done.stdout and done.stdout.count("\n") == 1
