"""Clips on disk, and the three ways of training on them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from data_fakes import box_mask, make_clips
from PIL import Image

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError, UsageError
from hodor_cli.samples.clip_sets import ClipFrames, ClipSequences, FrameSet
from hodor_cli.samples.settings import MINI, AugmentSettings, ClipOptions

PLAIN = AugmentSettings(
    translation=(0, 0), rotation=(0, 0), shear=(0, 0), crop_keep=(1, 1), hue=(0, 0), saturation=(0, 0),
    contrast=(0, 0), brightness=(0, 0), flip=0,
)  # fmt: skip
RNG = np.random.default_rng


def sparse_set(clips: ClipSet, settings: AugmentSettings = PLAIN, max_gap: int = 10) -> ClipSequences:
    return ClipSequences(ClipFrames(clips, mode="sparse"), settings, max_gap=max_gap)


def dense_set(
    clips: ClipSet, settings: AugmentSettings = PLAIN, max_gap: int = 10, limits: ObjectLimits | None = None
) -> ClipSequences:
    return ClipSequences(ClipFrames(clips, limits, mode="dense"), settings, max_gap=max_gap)


@pytest.fixture
def davis(tmp_path):
    make_clips(tmp_path, {"bear": 6, "cow": 12})
    return tmp_path


def set_mask(folder, clip, frame, labels):
    Image.fromarray(labels).save(folder / "Annotations" / "480p" / clip / f"{frame:05d}.png")


def names(clips: ClipSet) -> list[str]:
    return [clip.name for clip in clips.clips]


def test_davis_2016_masks_are_one_object(davis):
    clips = ClipSet(davis)
    assert names(clips) == ["bear", "cow"] and len(clips.clips[1].frames) == 12
    assert clips.clips[0].size == (96, 128)
    labels = clips.load_labels(0, 3)
    assert labels.dtype == np.uint16 and np.array_equal(labels == 1, box_mask(96, 128, (20, 24, 40, 44)))
    assert set(np.unique(labels)) == {0, 1}
    assert clips.load_frame(0, 3).shape == (96, 128, 3)


def test_several_objects_keep_their_ids_and_255_among_them_is_void(davis):
    labels = np.zeros((96, 128), dtype=np.uint8)
    labels[:40, :40], labels[50:, 50:], labels[:10, 100:] = 3, 7, 255
    set_mask(davis, "bear", 0, labels)
    assert set(np.unique(ClipSet(davis).load_labels(0, 0))) == {0, 3, 7}


def test_white_among_masks_of_ids_is_void_in_every_frame(davis):
    labels = np.zeros((96, 128), dtype=np.uint8)
    labels[:40, :40], labels[50:, 50:] = 1, 2
    set_mask(davis, "bear", 0, labels)
    assert not ClipSet(davis).load_labels(0, 1).any()
    assert set(np.unique(ClipSet(davis).load_labels(1, 1))) == {0, 1}


def test_youtube_vos_layout_with_its_meta(tmp_path):
    make_clips(tmp_path / "train", {"0a1b": 10, "ffff": 10}, resolution=None, value=2, every=5)
    meta = {"videos": {"0a1b": {"objects": {"2": {"category": "cow", "frames": ["00000"]}}}}}
    (tmp_path / "train" / "meta.json").write_text(json.dumps(meta))
    clips = ClipSet(tmp_path)
    assert names(clips) == ["0a1b", "ffff"]
    assert clips.clips[0].labelled == (0, 5) and clips.clips[0].listed == {2: frozenset({0})}
    frames = ClipFrames(clips)
    assert [frames.name(i) for i in range(len(frames))] == ["0a1b/00000.jpg", "ffff/00000.jpg", "ffff/00005.jpg"]
    (tmp_path / "train" / "meta.json").write_text("[]")
    with pytest.raises(DataError, match=r"meta\.json"):
        ClipSet(tmp_path)


def test_lists_of_sequences_are_followed(davis):
    (davis / "ImageSets" / "2016").mkdir(parents=True)
    (davis / "ImageSets" / "2016" / "train.txt").write_text(
        "/JPEGImages/480p/cow/00000.jpg /Annotations/480p/cow/00000.png\n"
    )
    assert names(ClipSet(davis)) == ["cow"]
    (davis / "ImageSets" / "2017").mkdir()
    (davis / "ImageSets" / "2017" / "train.txt").write_text("bear\n")
    assert names(ClipSet(davis)) == ["bear"]


def test_layouts_that_are_none_say_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        ClipSet(tmp_path / "none")
    with pytest.raises(DataError, match="JPEGImages/SEQUENCE"):
        ClipSet(tmp_path)
    (tmp_path / "JPEGImages" / "bear").mkdir(parents=True)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(DataError, match="named like its frame"):
        ClipSet(tmp_path)


def test_clips_without_annotations_are_skipped_with_a_reason(davis):
    for path in (davis / "Annotations" / "480p" / "bear").iterdir():
        path.unlink()
    clips = ClipSet(davis)
    assert names(clips) == ["cow"]
    assert [(one.where, one.detail) for one in clips.faults.found] == [("bear", "has no annotations")]


def test_wrong_sizes_are_named(davis):
    set_mask(davis, "bear", 1, np.zeros((50, 50), dtype=np.uint8))
    Image.new("RGB", (40, 40)).save(davis / "JPEGImages" / "480p" / "bear" / "00002.jpg")
    clips = ClipSet(davis)
    with pytest.raises(DataError, match="50x50 but its frame is 128x96"):
        clips.load_labels(0, 1)
    with pytest.raises(DataError, match="40x40; its clip is 128x96"):
        clips.load_frame(0, 2)


@pytest.mark.parametrize("mode", ["frames", "sparse", "dense"])
def test_every_mode_makes_samples(davis, mode):
    clips = ClipSet(davis)
    makers = {"frames": lambda: FrameSet(ClipFrames(clips), MINI)}
    makers |= {"sparse": lambda: sparse_set(clips, MINI), "dense": lambda: dense_set(clips, MINI)}
    dataset = makers[mode]()
    assert len(dataset.sizes) == len(dataset.object_counts) == len(dataset.groups) == len(dataset)
    for index in range(0, len(dataset), 3):
        sample = dataset.make(index, 1, RNG(index), (64, 96))
        again = dataset.make(index, 1, RNG(index), (64, 96))
        assert sample.frames.shape == (3, 64, 96, 3) and sample.presence.shape == (3, 1)
        assert sample.presence[0].all() and (sample.masks[0] == 1).any()
        assert sample.name.startswith(("bear/", "cow/"))
        assert np.array_equal(sample.frames, again.frames) and np.array_equal(sample.masks, again.masks)


def test_frames_mode_takes_every_nth_labelled_frame(davis):
    assert len(ClipFrames(ClipSet(davis))) == 18
    frames = ClipFrames(ClipSet(davis), every=5)
    assert [frames.name(i) for i in range(len(frames))] == [
        "bear/00000.jpg", "bear/00005.jpg", "cow/00000.jpg", "cow/00005.jpg", "cow/00010.jpg",
    ]  # fmt: skip


def test_sparse_reads_one_annotation_per_clip_and_no_other(davis):
    """All other annotation files are made unreadable: nothing notices."""
    for clip, chosen in (("bear", 3), ("cow", 6)):
        for path in (davis / "Annotations" / "480p" / clip).iterdir():
            if path.stem != f"{chosen:05d}":
                path.write_bytes(b"not to be read")
    dataset = sparse_set(ClipSet(davis), max_gap=2)
    assert [dataset.pictures.name(i) for i in range(len(dataset))] == ["bear/00003.jpg", "cow/00006.jpg"]
    for seed in range(5):
        sample = dataset.make(1, 1, RNG(seed), (96, 128))
        assert sample.labelled.tolist() == [True, False, False]
        assert sample.presence.all(), "unlabelled frames count every object as present"
        assert np.array_equal(sample.masks[0] == 1, box_mask(96, 128, (32, 24, 40, 44)))
        assert not sample.masks[1:].any()
        # The rectangle's left edge tells the frame: others lie within the gap, and are not frame 0 again.
        edges = [int(np.abs(np.diff(sample.frames[t][40].astype(int), axis=0)).sum(1).argmax()) for t in range(3)]
        assert all(0 < abs(edge - edges[0]) <= 8 + 40 + 2 for edge in edges[1:])


def test_sparse_leaves_out_a_clip_whose_chosen_frame_is_empty(davis):
    set_mask(davis, "bear", 3, np.zeros((96, 128), dtype=np.uint8))
    dataset = sparse_set(ClipSet(davis))
    assert len(dataset) == 1 and dataset.groups == ["cow"]


def test_dense_frames_are_labelled_and_near_each_other(davis):
    dataset = dense_set(ClipSet(davis), max_gap=4)
    assert len(dataset) == 18
    orders = set()
    for seed in range(20):
        sample = dataset.make(10, 1, RNG(seed), (96, 128))  # frame 4 of cow
        assert sample.labelled.all() and sample.presence.all()
        times = [(int(np.argwhere(sample.masks[t]).min(0)[1]) - 8) // 4 for t in range(3)]
        assert times[0] == 4 and len(set(times)) == 3
        assert max(times) - min(times) <= 4
        orders.add((times[1] < times[0], times[2] < times[0]))
    assert len(orders) >= 3, "frames come from both sides, in any order"


def test_all_frames_of_a_clip_share_flip_and_crop_but_not_colour(davis):
    settings = dataclasses.replace(PLAIN, flip=0.5, crop_keep=(0.6, 0.8), brightness=(0.0, 0.2))
    dataset = dense_set(ClipSet(davis), settings, max_gap=2)
    flips, brightness = set(), []
    for seed in range(12):
        sample = dataset.make(2, 1, RNG(seed), (96, 128))
        scales = [np.ptp(np.argwhere(sample.masks[t])[:, 0]) for t in range(3)]
        assert max(scales) - min(scales) <= 1
        # The ground brightens to the right in red; mirrored, to the left.
        red = [sample.frames[t, :, :, 0].astype(int) for t in range(3)]
        directions = {bool(frame[:, -10:].mean() > frame[:, :10].mean()) for frame in red}
        assert len(directions) == 1
        flips |= directions
        brightness.append(np.ptp([frame.mean() for frame in red]))
    assert flips == {True, False} and max(brightness) > 3


def test_an_object_that_leaves_is_absent_and_one_too_small_is_no_reference(tmp_path):
    davis = tmp_path
    make_clips(davis, {"bear": 6}, value=1)
    both = box_mask(96, 128, (8, 24, 40, 44)).astype(np.uint8)
    both[80:84, 100:104] = 2
    set_mask(davis, "bear", 0, both)
    clips = ClipSet(davis)
    assert dense_set(clips).object_counts[0] == 1
    small = ObjectLimits(min_area=1, min_side=1)
    dataset = dense_set(clips, limits=small)
    assert dataset.object_counts[0] == 2
    sample = dataset.make(0, 2, RNG(0), (96, 128))
    assert sample.presence[0].tolist() == [True, True]
    assert sample.presence[1:].sum(1).tolist() == [1, 1]


def test_nonsense_is_refused(davis):
    clips = ClipSet(davis)
    with pytest.raises(UsageError, match="`mode` must be frames, sparse or dense, not 'thick'"):
        ClipOptions("thick")
    with pytest.raises(UsageError, match="gap"):
        ClipOptions("dense", max_gap=0)
    with pytest.raises(DataError, match="no labelled object of"):
        ClipFrames(clips, ObjectLimits(min_area=1e6))


def test_the_development_clips(data_dir):
    if not (data_dir / "davis_multi").is_dir():
        pytest.skip(f"no davis_multi in {data_dir}")
    dataset = dense_set(ClipSet(data_dir / "davis_multi"), MINI)
    sample = dataset.make(0, 4, RNG(0), (160, 288))
    assert sample.num_objects == 4 and sample.presence[0].all()
