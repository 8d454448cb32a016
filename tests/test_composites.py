"""Labelled objects of other pictures and clips, put into samples."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_fakes import make_blobs

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import UsageError
from hodor_cli.formats.opening import open_set
from hodor_cli.samples.clip_sets import ClipFrames, ClipSequences
from hodor_cli.samples.composites import Composites, add_object
from hodor_cli.samples.cutouts import cutout_of
from hodor_cli.samples.sample import TrainingSample
from hodor_cli.samples.sets import PhotographSet
from hodor_cli.samples.settings import AugmentSettings, ClipOptions, augment_preset
from hodor_cli.samples.sources import build_sets
from hodor_cli.training.config import PRESETS
from hodor_cli.training.recipe import with_settings

SIZE = (64, 96)
LIMITS = ObjectLimits(min_area=20, min_side=3, at_area=None)
SETTINGS = dataclasses.replace(augment_preset("toy"), pasted=3, frames=3)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> PhotographSet:
    return PhotographSet(StillImages(make_blobs(tmp_path_factory.mktemp("blobs")), limits=LIMITS), SETTINGS)


def write_clip(folder: Path, name: str, column: int) -> None:
    """Eight grey frames in which a bright square goes right."""
    for part in ("JPEGImages", "Annotations"):
        (folder / part / name).mkdir(parents=True)
    for t in range(8):
        image, labels = np.full((64, 96, 3), 90, np.uint8), np.zeros((64, 96), np.uint8)
        window = (slice(20, 36), slice(column + 3 * t, column + 3 * t + 16))
        image[window], labels[window] = 230, 1
        Image.fromarray(image).save(folder / "JPEGImages" / name / f"{t:05d}.png")
        Image.fromarray(labels).save(folder / "Annotations" / name / f"{t:05d}.png")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSequences:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder, "one", 4)
    write_clip(folder, "two", 30)
    return ClipSequences(ClipFrames(ClipSet(folder), LIMITS, mode="dense"), SETTINGS, max_gap=3)


def empty_sample(frames: int = 3) -> TrainingSample:
    """Dark frames with object 1, a square in the middle."""
    masks = np.zeros((frames, *SIZE), np.uint8)
    masks[:, 24:40, 40:56] = 1
    images = np.full((frames, *SIZE, 3), 20, np.uint8)
    valid = np.ones((frames, *SIZE), bool)
    return TrainingSample(images, masks, valid, np.ones((frames, 1), bool), "x", np.ones(frames, bool))


def test_a_sample_gets_labelled_objects_until_it_has_as_many_as_were_planned(stills: PhotographSet) -> None:
    made = Composites(stills, [stills], SETTINGS, [1.0])
    assert set(made.object_counts) <= {1, 2, 3, 4} and max(made.object_counts) > 1
    index = int(np.argmax(made.object_counts))
    wanted = made.object_counts[index]
    shown = 0
    for seed in range(10):
        sample = made.make(index, wanted, np.random.default_rng(seed), SIZE)
        assert sample.presence.shape == (3, wanted) and sample.masks.max() <= wanted
        shown += int(sample.presence[0].sum())
    assert shown > 9 * wanted, "frame 0 shows nearly all of them"
    one, two = (made.make(index, wanted, np.random.default_rng(1), SIZE) for _ in range(2))
    assert np.array_equal(one.frames, two.frames) and np.array_equal(one.masks, two.masks)


def test_what_is_labelled_is_what_was_pasted(clips: ClipSequences) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cutout = clips.cut_out(3, 3, rng)
        assert cutout is not None and cutout.moving
        sample = add_object(empty_sample(), cutout, rng, AugmentSettings(contrast=(0, 0), brightness=(0, 0)))
        new = sample.masks == 2
        assert new[0].any() and (sample.masks[0] == 1).sum() >= 0.5 * 16 * 16
        assert sample.frames[new].mean() > 150, "the square that was cut out is bright, the ground dark"
        assert sample.frames[sample.masks == 0].mean() < 60


def test_a_pasted_object_may_be_mirrored() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8, 0] = image[:, 8:, 2] = 255  # red at the left, blue at the right
    cutout = cutout_of([image] * 3, [np.ones((16, 16), bool)] * 3, moving=False)
    red_at_the_left = set()
    for seed in range(12):
        sample = add_object(empty_sample(), cutout, np.random.default_rng(seed), SETTINGS)
        new, (red, _, blue) = sample.masks[0] == 2, sample.frames[0].transpose(2, 0, 1)
        red_at_the_left.add(np.nonzero(new & (red > blue))[1].mean() < np.nonzero(new & (red < blue))[1].mean())
    assert red_at_the_left == {True, False}


def test_an_object_behind_another_is_hidden_by_it(clips: ClipSequences) -> None:
    whole, hidden = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sample = add_object(empty_sample(), clips.cut_out(3, 3, rng), rng, SETTINGS)
        square = (sample.masks == 1).sum(axis=(1, 2))
        whole += int((square == 256).all())
        hidden += int((square < 256).any())
    assert whole > 5 and hidden > 0


def test_a_filmed_object_moves_as_it_did(clips: ClipSequences) -> None:
    cutout = clips.cut_out(0, 3, np.random.default_rng(1))
    assert cutout is not None
    middles = [np.nonzero(alpha > 127)[1].mean() for alpha in cutout.alphas]
    assert np.allclose(np.diff(middles), middles[1] - middles[0])
    assert clips.items[clips.twin_of(0, np.random.default_rng(0))][0] == clips.items[0][0]


def test_frames_without_labels_stay_without(clips: ClipSequences) -> None:
    sample = empty_sample()
    sample = dataclasses.replace(
        sample,
        labelled=np.array([True, False, True]),
        masks=sample.masks * np.array([1, 0, 1], np.uint8)[:, None, None],
    )
    rng = np.random.default_rng(0)
    more = add_object(sample, clips.cut_out(3, 3, rng), rng, SETTINGS)
    assert not more.masks[1].any() and more.presence[1].all() and (more.masks[0] == 2).any()


def test_nothing_to_cut_out_is_an_object_that_no_frame_shows() -> None:
    assert cutout_of([np.zeros((4, 4, 3), np.uint8)], [np.zeros((4, 4), bool)], moving=False) is None
    sample = add_object(empty_sample(), None, np.random.default_rng(0), SETTINGS)
    assert sample.num_objects == 2 and not sample.presence[:, 1].any()


def test_training_sets_are_composed_only_if_the_settings_ask_for_it(tmp_path: Path) -> None:
    folder = make_blobs(tmp_path / "blobs")
    toy = with_settings(PRESETS["toy"], {"limits.min_area": 20.0})
    found = open_set(folder, limits=toy.limits)
    assert isinstance(build_sets([found], [1.0], ClipOptions(), toy.limits, toy.augment)[0][0], PhotographSet)
    more = with_settings(toy, {"augment.pasted": "2"})
    assert isinstance(build_sets([found], [1.0], ClipOptions(), more.limits, more.augment)[0][0], Composites)
    with pytest.raises(UsageError, match="pasted"):
        AugmentSettings(pasted=-1)
