"""What a segmenter accepts and refuses: masks, frames, devices, settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from segmenter_fakes import (
    HEIGHT,
    THREE,
    WIDTH,
    assert_same_state,
    frames_of,
    history_of,
    label_map,
    segmenter_for,
    square,
)

from hodor_cli.engine import GivenMasks, Segmenter
from hodor_cli.errors import DeviceError, InputError, UsageError
from hodor_cli.model import Hodor
from hodor_cli.run.inputs import RunInputs

# --- masks that cannot be used


def test_pixels_that_a_masked_array_hides_are_background(toy: Hodor) -> None:
    shown, hidden = square(2, 2), square(20, 20)
    for given in (
        np.ma.masked_array((shown | hidden).astype(int), hidden),
        {1: np.ma.masked_array(shown | hidden, hidden)},
    ):
        np.testing.assert_array_equal(segmenter_for(toy).step(frames_of(1)[0], given), shown)
    labels = np.ma.masked_array((shown | hidden).astype(int), hidden)
    np.testing.assert_array_equal(RunInputs(masks={0: labels}).labels(0), shown)
    np.testing.assert_array_equal(GivenMasks({0: labels}).at(0), shown)


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (np.ones((WIDTH, HEIGHT), np.uint8), "48x64 pixels and the frame is 64x48"),
        ({7: np.ones((HEIGHT, WIDTH - 1), bool)}, "object 7 in frame 2 is 63x48 pixels and the frame is 64x48"),
        (np.ones((HEIGHT, WIDTH, 3), np.uint8), r"shape \(48, 64, 3\) and the frame is 64x48"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "mask of frame 2 is empty"),
        ({7: THREE[7], 8: np.zeros((HEIGHT, WIDTH), bool)}, "object 8 in frame 2 is empty"),
        ({}, "empty"),
        ({7: square(2, 2), 8: square(10, 10)}, "objects 7 and 8 share 36 pixels in frame 2"),
        ({0: THREE[7]}, r"object id 0 in frame 2 is not a whole number between 1 and 65535"),
        ({65536: THREE[7]}, "object id 65536"),
        ({"cat": THREE[7]}, "object id 'cat' in frame 2 is not a whole number"),
        ({1.7: THREE[7]}, "object id 1.7 in frame 2 is not a whole number"),
        (np.full((HEIGHT, WIDTH), -1), "object id -1"),
        (np.full((HEIGHT, WIDTH), 0.5), "float64; give integers"),
        ({7: np.full((HEIGHT, WIDTH), 0.5)}, "float64; give true or false"),
        (torch.ones((HEIGHT, WIDTH), dtype=torch.uint8), "frame 2 is a Tensor; give a NumPy array of ids"),
    ],
)
def test_a_bad_mask_is_named_and_changes_nothing(toy: Hodor, masks: Any, said: str) -> None:
    segmenter, undisturbed = segmenter_for(toy), segmenter_for(toy)
    frames = frames_of(4)
    for each in (segmenter, undisturbed):
        each.step(frames[0], {300: THREE[300]})
        each.step(frames[1])
    with pytest.raises(InputError, match=said) as caught:
        segmenter.step(frames[2], masks)
    assert "\n" not in str(caught.value)
    assert_same_state(segmenter.state(), undisturbed.state())
    for frame in frames[2:]:
        np.testing.assert_array_equal(segmenter.step(frame), undisturbed.step(frame))


@pytest.mark.parametrize("time", [float("inf"), float("nan"), "soon"])
def test_a_time_that_is_no_number_is_refused(toy: Hodor, time: float) -> None:
    segmenter = segmenter_for(toy)
    frames = frames_of(2)
    segmenter.step(frames[0], THREE, time=0.0)
    before = segmenter.state()
    with pytest.raises(InputError, match=f"the time of frame 1 is {time!r}; give seconds"):
        segmenter.step(frames[1], time=time)
    assert_same_state(segmenter.state(), before)


def test_a_bad_first_mask_leaves_a_segmenter_that_can_start(toy: Hodor) -> None:
    segmenter = segmenter_for(toy)
    with pytest.raises(InputError):
        segmenter.step(frames_of(1)[0], np.ones((5, 5), np.uint8))
    other = np.zeros((32, 32, 3), np.uint8)  # no frame was accepted, so the size is still open
    assert segmenter.step(other, np.eye(32, dtype=np.uint8)).shape == (32, 32)


@pytest.mark.parametrize("alone", [True, False])
def test_an_object_too_small_is_warned_about_and_the_others_continue(toy: Hodor, alone: bool) -> None:
    segmenter, frames = segmenter_for(toy), frames_of(3)
    dot = square(45, 60, 1)
    given = {9: dot} if alone else {9: dot, 7: THREE[7]}
    np.testing.assert_array_equal(segmenter.step(frames[0], given), label_map(given))
    assert len(segmenter.last.warnings) == 1
    assert "a mask of object 9 is too small to be encoded at 85x64" in segmenter.last.warnings[0]
    assert segmenter.last.objects[9].area == 1
    assert [key for key, one in segmenter.last.objects.items() if one.too_small] == [9]
    assert segmenter.object_ids == ([] if alone else [7])
    labels = segmenter.step(frames[1])
    assert 9 not in labels and segmenter.last.warnings == []
    # With a larger mask it can join.
    segmenter.step(frames[2], {9: square(30, 40)})
    assert segmenter.object_ids == ([9] if alone else [7, 9])


def test_a_correction_too_small_is_warned_about_and_the_object_continues(toy: Hodor) -> None:
    segmenter, frames = segmenter_for(toy), frames_of(3)
    segmenter.step(frames[0], {7: THREE[7]})
    labels = segmenter.step(frames[1], {7: square(45, 60, 1)})
    np.testing.assert_array_equal(labels == 7, square(45, 60, 1))
    assert "too small" in segmenter.last.warnings[0]
    assert segmenter.last.objects[7].confidence == 1 and segmenter.last.objects[7].change is None
    assert history_of(segmenter.state(), 7) == [0, 1]
    segmenter.step(frames[2])
    assert segmenter.object_ids == [7]


# --- frames


def test_frames_of_another_size_or_kind_are_refused_and_change_nothing(toy: Hodor) -> None:
    segmenter, frames = segmenter_for(toy), frames_of(2)
    segmenter.step(frames[0], THREE)
    before = segmenter.state()
    for frame, said in (
        (np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8), "frame 1 is 65x48 and those before it are 64x48"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), r"must be \(H, W, 3\) uint8"),
        (np.zeros((HEIGHT, WIDTH, 4), np.uint8), "uint8 RGB"),
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "float32"),
        (np.zeros((0, WIDTH, 3), np.uint8), r"\(0, 64, 3\)"),
        (np.zeros((3, HEIGHT, WIDTH), np.uint8), r"it looks like \(3, H, W\), so move the channels to the end"),
        (torch.zeros((3, HEIGHT, WIDTH), dtype=torch.uint8), r"not Tensor \(3, 48, 64\) torch.uint8; it looks like"),
        (
            torch.zeros((HEIGHT, WIDTH, 3), dtype=torch.uint8),
            r"in a NumPy array, not Tensor \(48, 64, 3\) torch.uint8$",
        ),
        ([[0]], "in a NumPy array, not list$"),
    ):
        with pytest.raises(InputError, match=said):
            segmenter.step(frame)  # type: ignore[arg-type]
    assert_same_state(segmenter.state(), before)
    segmenter.step(frames[1])


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (3, 200), (33, 31), (7, 5)])
def test_frames_of_any_size(model: Hodor, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    segmenter = segmenter_for(model)
    mask = np.zeros(size, np.uint16)
    mask[:, size[1] // 3 :] = 7
    for index in range(3):
        labels = segmenter.step(rng.integers(0, 255, (*size, 3), dtype=np.uint8), mask if index == 0 else None)
        assert labels.shape == size and set(np.unique(labels)) <= {0, 7}
    assert all(0 <= found.confidence <= 1 for found in segmenter.last.objects.values())


def test_frames_that_are_views_or_read_only_are_accepted_silently(toy: Hodor, recwarn: pytest.WarningsRecorder) -> None:
    plain, odd = segmenter_for(toy), segmenter_for(toy)
    for index, frame in enumerate(frames_of(2)):
        view = np.ascontiguousarray(frame[:, ::-1, ::-1])[:, ::-1, ::-1]  # like OpenCV's BGR reversed to RGB
        view.flags.writeable = False
        mask = label_map(THREE) if index == 0 else None
        if mask is not None:
            mask.flags.writeable = False
        np.testing.assert_array_equal(odd.step(view, mask), plain.step(frame, mask))
    assert [str(warning.message) for warning in recwarn.list] == []


# --- devices, precision, settings


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_the_cpu_gives_nearly_the_same(
    model: Hodor, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With random weights all masks are uncertain, and rounding would decide which objects are dropped.
    monkeypatch.setattr("hodor_cli.engine.step.without_absent", lambda logits, cue, given: logits)
    exact, rounded = segmenter_for(model, precision="fp32"), segmenter_for(model, precision=precision)
    for index, frame in enumerate(frames_of(4)):
        given = {0: {7: THREE[7], 300: THREE[300]}, 2: {65535: THREE[65535]}}.get(index)
        expected, found = exact.step(frame, given), rounded.step(frame, given)
        assert np.mean(expected == found) > 0.8
        descriptors = rounded.descriptors().objects
        assert all(descriptor.dtype == np.float32 for descriptor in descriptors.values())
        for object_id in given or {}:  # random weights decode too chaotically to compare those of decoded masks
            np.testing.assert_allclose(descriptors[object_id], exact.descriptors().objects[object_id], atol=0.2)


@pytest.mark.parametrize("mask", [torch.ones(8, 8, device="meta"), [[True], [True, False]]], ids=["gpu", "ragged"])
def test_a_mask_that_numpy_cannot_read_is_refused(toy: Hodor, mask: object) -> None:
    segmenter = segmenter_for(toy)
    with pytest.raises(InputError, match=r"the mask of object 1 in frame 0 cannot be read \(.*\); give a NumPy array"):
        segmenter.step(np.zeros((64, 64, 3), np.uint8), masks={1: mask})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="the label map of frame 0 cannot be read"):
        RunInputs(masks={0: mask}).labels(0)  # type: ignore[dict-item]
    with pytest.raises(InputError, match="the label map of frame 3 cannot be read"):
        GivenMasks({3: mask}).at(3)  # type: ignore[dict-item]


def test_a_segmenter_shows_what_it_is(toy: Hodor) -> None:
    assert repr(segmenter_for(toy, history=3)) == "Segmenter(toy, history=3, device='cpu', object_ids=[])"


def test_invalid_settings_are_refused(toy: Hodor) -> None:
    for settings, kind, said in (
        ({"history": 0}, UsageError, "`history` must be at least 1"),
        ({"history": 2.5}, UsageError, "`history` must be a whole number, not 2.5"),
        ({"precision": torch.bfloat16}, UsageError, "`precision` must be text, not torch.bfloat16"),
        ({"min_dim": 16}, UsageError, "min.dim.*16"),
        ({"min_dim": 128, "max_dim": 64}, UsageError, "max.dim.*64"),
        ({"device": "tpu"}, UsageError, "no `device` 'tpu'; choose auto, cpu, cuda or mps"),
        ({"precision": "int8"}, UsageError, "no `precision` 'int8'; choose auto, fp32, bf16, fp16"),
    ):
        with pytest.raises(kind, match=said):
            segmenter_for(toy, **settings)
    assert segmenter_for(toy, history=np.int64(3)).history == 3
    with pytest.raises(UsageError, match="`model` is 'mini'; give a network"):
        Segmenter("mini")
    for other in (toy.state_dict(), torch.nn.DataParallel(toy)):
        with pytest.raises(UsageError, match=f"`model` is a {type(other).__name__}; give a network"):
            Segmenter(other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_is_refused_on_a_machine_without_it(toy: Hodor) -> None:
    with pytest.raises(DeviceError, match=r"no CUDA device.*`device`"):
        segmenter_for(toy, device="cuda")


def test_the_working_resolution_is_the_models_own_and_keeps_its_proportion(mini: Hodor) -> None:
    own = Segmenter(mini, device="cpu")
    assert (own.min_dim, own.max_dim) == (288, 555)
    halved = Segmenter(mini, device="cpu", min_dim=144)
    assert (halved.min_dim, halved.max_dim) == (144, 278)
    assert Segmenter(mini, device="cpu", max_dim=400).max_dim == 400
