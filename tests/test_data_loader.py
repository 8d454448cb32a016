"""Which samples make a batch, in what order, and that it is the same after a resume, with more workers or ranks."""

from __future__ import annotations

import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from data_fakes import make_coco, save_coco

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError, DeviceError, UsageError
from hodor_cli.samples.batches import Batches, bucket_size, group_shares
from hodor_cli.samples.loader import make_loader
from hodor_cli.samples.sample import TrainingSample, collate
from hodor_cli.samples.sets import PhotographSet, TrainingSet
from hodor_cli.samples.settings import MINI, BatchSettings

TINY = BatchSettings(batch_size=4, area=64 * 64, exact=False)
TENSORS = ("frames", "masks", "valid", "presence", "labelled")


class FakeSet(TrainingSet):
    """Items with given sizes, object counts and groups; a sample says which item it is in its name."""

    def __init__(self, sizes, object_counts, groups):
        self.sizes, self.object_counts, self.groups = sizes, object_counts, groups

    def make(self, index, num_objects, rng, out_size):
        frames = rng.integers(0, 255, (3, *out_size, 3), dtype=np.uint8)
        masks = np.ones(frames.shape[:3], dtype=np.uint8)
        presence = np.ones((3, num_objects), dtype=bool)
        return TrainingSample(frames, masks, masks > 0, presence, str(index), np.ones(3, dtype=bool))


@pytest.fixture
def stills(tmp_path):
    make_coco(tmp_path, 6)
    return PhotographSet(StillImages(tmp_path, limits=ObjectLimits(100, 5, at_area=None)), MINI)


def mixed_set(count=60):
    sizes = [(60, 80), (80, 60), (64, 64)] * (count // 3)
    return FakeSet(sizes, [1 + i % 6 for i in range(count)], ["a" if i % 10 else "b" for i in range(count)])


def test_what_a_batch_holds(stills):
    batch = next(make_loader(Batches([stills], TINY), 0, 1, workers=0))
    b, t, h, w = batch["masks"].shape
    assert (b, t) == (4, 3) and h % 32 == w % 32 == 0
    assert batch["frames"].shape == (b, t, h, w, 3) and batch["frames"].dtype == torch.uint8
    assert batch["masks"].dtype == torch.uint8 and batch["valid"].dtype == torch.bool
    assert batch["presence"].shape == (b, t, int(batch["masks"].max())) and batch["labelled"].all()
    assert len(batch["names"]) == b and batch["iteration"] == 0


def test_the_order_is_the_same_for_any_number_of_workers_and_after_a_resume(stills):
    reference = list(make_loader(Batches([stills], TINY, seed=3), 0, 5, workers=0))
    workers = list(make_loader(Batches([stills], TINY, seed=3), 0, 5, workers=2))
    resumed = list(make_loader(Batches([stills], TINY, seed=3), 2, 5, workers=0))
    other = list(make_loader(Batches([stills], TINY, seed=4), 0, 1, workers=0))
    assert [batch["iteration"] for batch in workers] == [0, 1, 2, 3, 4]
    for one, two in [*zip(reference, workers, strict=True), *zip(reference[2:], resumed, strict=True)]:
        assert one["names"] == two["names"]
        assert all(torch.equal(one[key], two[key]) for key in TENSORS)
    assert not torch.equal(reference[0]["frames"], other[0]["frames"])
    assert not torch.equal(reference[0]["frames"], reference[1]["frames"])


def test_full_shared_memory_is_one_sentence_and_no_waiting_for_ever(stills, monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(DeviceError, match=r"/dev/shm \(No space left on device \(28\)\); enlarge it"):
        next(make_loader(Batches([stills], TINY), 0, 1, workers=1))


def test_workers_start_although_opencv_has_threads_already(stills):
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1500, 1500))  # large enough to use them
        loader = make_loader(Batches([stills], TINY), 0, 2, workers=1)
        assert len(list(loader)) == 2 and cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_workers_can_start_without_fork(stills):
    """As on macOS and Windows, where what a worker gets is pickled."""
    batches = Batches([stills], TINY, seed=1)
    sent = pickle.loads(pickle.dumps(batches))
    assert all(torch.equal(batches[7][key], sent[7][key]) for key in TENSORS)


def test_ranks_share_one_global_batch(stills):
    whole = Batches([stills], TINY, seed=1)[7]
    parts = [Batches([stills], TINY, seed=1, rank=rank, world=2)[7] for rank in (0, 1)]
    for key in TENSORS:
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])


def test_samples_of_a_batch_share_objects_and_aspect_ratio():
    dataset = mixed_set()
    batches = Batches([dataset], BatchSettings(batch_size=5, max_objects=4, area=64 * 64))
    seen = set()
    for iteration in range(40):
        plan = batches.plan(iteration)
        assert all(dataset.object_counts[s.index] >= plan.num_objects for s in plan.samples)
        assert len({dataset.sizes[s.index] for s in plan.samples}) == 1
        assert plan.num_objects <= 4
        seen.add(plan.num_objects)
    assert seen == {1, 2, 3, 4}


def test_exact_sizes_keep_each_aspect_ratio_and_pad_to_multiples_of_32():
    dataset = FakeSet([(480, 640), (427, 640), (500, 650)], [1, 1, 1], ["", "", ""])
    batches = Batches([dataset], BatchSettings(batch_size=8, area=300_000, aspects=(4 / 3,)))
    plan = batches.plan(0)
    for sample in plan.samples:
        height, width = sample.out_size
        wanted = dataset.sizes[sample.index]
        assert abs(height * width - 300_000) < 1000 and abs(width / height - wanted[1] / wanted[0]) < 0.01
    assert plan.pad_size[0] % 32 == plan.pad_size[1] % 32 == 0
    assert plan.pad_size[0] >= max(sample.out_size[0] for sample in plan.samples)


def test_bucket_sizes_have_about_the_area():
    for aspect in TINY.aspects:
        height, width = bucket_size(aspect, 256 * 256)
        assert height % 32 == width % 32 == 0 and 0.8 < height * width / 65536 < 1.25


def test_sets_mix_by_weight_and_sources_by_balance():
    left, right = mixed_set(), mixed_set()
    batches = Batches([left, right], BatchSettings(batch_size=1, area=64 * 64), weights=[3, 1])
    drawn = [batches.plan(i).samples[0].dataset for i in range(400)]
    assert 0.18 < np.mean(drawn) < 0.32
    assert group_shares(left.groups, BatchSettings()) == pytest.approx({"a": 0.9, "b": 0.1})
    assert group_shares(left.groups, BatchSettings(balance=0.0)) == pytest.approx({"a": 0.5, "b": 0.5})
    assert group_shares(left.groups, BatchSettings(source_weights={"a": 0.0})) == {"a": 0.0, "b": 1.0}


def test_coverages_share_their_source_and_can_be_weighted_alone():
    groups = ["coco/full"] * 10 + ["coco/person_only"] * 30 + ["cats/some"] * 40
    assert group_shares(groups, BatchSettings(balance=0.0)) == pytest.approx(
        {"coco/full": 0.125, "coco/person_only": 0.375, "cats/some": 0.5}
    )
    fewer = group_shares(groups, BatchSettings(source_weights={"coco/person_only": 0.0, "cats": 0.25}))
    assert fewer == pytest.approx({"coco/full": 0.5, "coco/person_only": 0.0, "cats/some": 0.5})


def test_source_weights_reach_the_batches(tmp_path):
    content = make_coco(tmp_path, 6)
    images = StillImages(tmp_path, limits=ObjectLimits(100, 5, at_area=None))
    batches = Batches(
        [PhotographSet(images, MINI)], BatchSettings(batch_size=2, area=64 * 64, source_weights={"odd": 0.0})
    )
    drawn = {images.groups[sample.index] for i in range(20) for sample in batches.plan(i).samples}
    assert drawn == {"even"}
    for image in content["images"]:
        del image["source"]
    save_coco(tmp_path, content)
    assert set(StillImages(tmp_path, limits=ObjectLimits(100, 5, at_area=None)).groups) == {""}


def test_padding_is_invalid_and_holds_no_object():
    dataset = mixed_set(3)
    samples = [dataset.make(i, 1, np.random.default_rng(0), size) for i, size in enumerate([(50, 60), (40, 64)])]
    batch = collate(samples, (64, 96))
    assert batch["frames"].shape == (2, 3, 64, 96, 3)
    for i, (height, width) in enumerate([(50, 60), (40, 64)]):
        assert batch["valid"][i].sum() == 3 * height * width and batch["valid"][i, :, :height, :width].all()
        assert (batch["masks"][i] > 0).sum() == 3 * height * width


def test_nonsense_is_refused():
    with pytest.raises(DataError, match="leave no sample"):
        Batches([mixed_set()], BatchSettings(source_weights={"a": 0, "b": 0}))
    with pytest.raises(UsageError, match="`batch_size` must be at least 1"):
        BatchSettings(batch_size=0)
    with pytest.raises(UsageError, match="area"):
        BatchSettings(area=10)


@pytest.mark.parametrize("workers", [0, 1])
def test_another_sample_stands_in_for_one_that_cannot_be_read(stills, workers, tmp_path):
    sound = list(make_loader(Batches([stills], TINY), 0, 8, workers=workers))
    (tmp_path / "images" / "004.png").write_bytes(b"damaged")
    made = [list(make_loader(Batches([stills], TINY), 0, 8, workers=workers)) for _ in range(2)]
    unreadable = {sentence for batch in made[0] for sentence in batch["unreadable"]}
    assert len(unreadable) == 1 and "004.png is not an image that can be read" in unreadable.pop()
    assert any("004.png" in batch["names"] for batch in sound)
    assert not any("004.png" in batch["names"] for batch in made[0])
    for before, first, second in zip(sound, *made, strict=True):
        assert first["names"] == second["names"] and len(first["names"]) == TINY.batch_size
        assert all(torch.equal(first[name], second[name]) for name in TENSORS)
        same = not first["unreadable"] and not before["unreadable"]
        assert not same or torch.equal(first["frames"], before["frames"])


@pytest.mark.parametrize("workers", [0, 1])
def test_many_damaged_images_stop_with_a_name_in_one_sentence(stills, workers, tmp_path):
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"^\S+00\d\.png is not an image that can be read; [^\n]+$"):
        for _ in make_loader(Batches([stills], TINY), 0, 20, workers=workers):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="samples are sent in another way")
def test_a_training_that_is_interrupted_while_it_receives_a_batch_has_no_traceback_of_a_worker():
    code = """
from multiprocessing import connection, resource_sharer
from hodor_cli.samples.loader import quiet_worker
quiet_worker(0)
sent = resource_sharer.DupFd(0)
stream = connection.SocketClient(sent._id[0])
stream.recv_bytes()
stream.close()  # as an interrupt does in the middle of the exchange
sent.detach()  # is served after it
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
