"""The segmenter, frame by frame: what a user gives and gets, with networks of random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from conftest import moving_square

from hodor_cli.config import NUM_NON_OBJECT, preset
from hodor_cli.errors import DeviceError, InputError, UsageError
from hodor_cli.inference import Segmenter
from hodor_cli.model import History, Hodor, Maps, build_model
from hodor_cli.model.mobilenet import Conv

HEIGHT, WIDTH = 48, 64
IDS = (7, 300, 65535)


def make_model(name: str) -> Hodor:
    """Random weights, in `mini` such that features differ from place to place and matching decides what is found."""
    torch.manual_seed(5)
    model = build_model(name)
    if model.matcher is not None and model.decoder.cue is not None:
        for module in model.backbone.modules():
            if isinstance(module, Conv):
                torch.nn.init.kaiming_normal_(module.weight)
        torch.nn.init.constant_(model.decoder.cue.gain, 8.0)
    return model


@pytest.fixture(scope="module")
def toy() -> Hodor:
    return make_model("toy")


@pytest.fixture(scope="module")
def mini() -> Hodor:
    """The architecture that matches frames besides decoding descriptors."""
    return make_model("mini")


@pytest.fixture(params=["toy", "mini"])
def model(request: pytest.FixtureRequest) -> Hodor:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Hodor)
    return found


def segmenter_for(model: Hodor, **settings: Any) -> Segmenter:
    return Segmenter(model, **{"min_dim": 64, "device": "cpu", **settings})


def frames_of(count: int) -> list[np.ndarray]:
    return moving_square(count, HEIGHT, WIDTH)[0]


def square(top: int, left: int, size: int = 14) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + size, left : left + size] = True
    return mask


THREE = dict(zip(IDS, (square(2, 2), square(4, 40), square(30, 20)), strict=True))


def label_map(masks: Mapping[int, np.ndarray]) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    for object_id, mask in masks.items():
        labels[mask] = object_id
    return labels


def assert_same_state(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def history_of(state: Mapping[str, np.ndarray], object_id: int) -> list[int]:
    """The frames whose entry in the history knows the object."""
    entries = [name.removesuffix("/frame") for name in state if name.startswith("history/") and name.endswith("/frame")]
    return [int(state[f"{entry}/frame"]) for entry in entries if object_id in state[f"{entry}/object_ids"]]


class Scripted:
    """Takes the place of `model.decode`: objects lie where `masks` says, at stride 4, and nowhere else."""

    def __init__(self) -> None:
        self.masks: list[torch.Tensor] = []

    def __call__(self, maps: Maps, history: History, cue: Any = None) -> torch.Tensor:
        height, width = maps.stride4.shape[-2:]
        count = history.objects.shape[2]
        logits = torch.full((1, NUM_NON_OBJECT + count, height, width), -4.0)
        logits[:, 1] = 4.0
        for row, mask in enumerate(self.masks):
            logits[0, NUM_NON_OBJECT + row] = torch.where(mask, 12.0, -4.0)
        return logits


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> tuple[Segmenter, Scripted]:
    """A segmenter, keeping what is lost, whose decoder finds what the test says."""
    network = build_model(dataclasses.replace(preset("toy"), hold_lost_objects=True))
    script = Scripted()
    monkeypatch.setattr(network, "decode", script)
    return segmenter_for(network), script


# --- starting objects


def test_before_any_object_everything_is_background(toy: Hodor) -> None:
    segmenter = segmenter_for(toy)
    for frame in frames_of(3):
        labels = segmenter.step(frame)
        assert labels.shape == (HEIGHT, WIDTH) and labels.dtype == np.uint16 and not labels.any()
        assert segmenter.last.objects == {} and segmenter.object_ids == []
        assert segmenter.descriptors().objects == {}


def test_objects_start_at_any_frame_and_keep_their_numbers(model: Hodor) -> None:
    segmenter = segmenter_for(model)
    starts = dict(zip((2, 4, 5), IDS, strict=True))
    for index, frame in enumerate(frames_of(8)):
        given = {starts[index]: THREE[starts[index]]} if index in starts else None
        labels = segmenter.step(frame, given)
        known = [object_id for start, object_id in starts.items() if start <= index]
        assert segmenter.object_ids == known
        assert set(np.unique(labels)) <= {0, *known}
        assert sorted(segmenter.last.objects) == known
        assert sorted(segmenter.descriptors().objects) == known
        for object_id, result in segmenter.last.objects.items():
            assert result.area == np.count_nonzero(labels == object_id)
            assert result.lost == (result.area == 0)
            assert 0 <= result.confidence <= 1
        assert segmenter.last.labels is labels and segmenter.last.network_seconds >= 0


def test_a_label_map_and_a_dictionary_mean_the_same(toy: Hodor) -> None:
    by_map, by_dictionary = segmenter_for(toy), segmenter_for(toy)
    for index, frame in enumerate(frames_of(3)):
        first = by_map.step(frame, label_map(THREE) if index == 0 else None)
        second = by_dictionary.step(frame, THREE if index == 0 else None)
        np.testing.assert_array_equal(first, second)


def test_where_masks_are_given_the_output_is_exactly_these(model: Hodor) -> None:
    segmenter, frames = segmenter_for(model), frames_of(3)
    ragged = square(3, 3)
    ragged[5, 3:17:2] = False
    first = {7: ragged, 300: THREE[300]}
    np.testing.assert_array_equal(segmenter.step(frames[0], first), label_map(first))
    assert segmenter.last.objects[7].confidence == 1.0
    segmenter.step(frames[1])
    later = square(30, 20, 15) & (np.indices((HEIGHT, WIDTH)).sum(axis=0) % 3 > 0)
    labels = segmenter.step(frames[2], {65535: later})
    np.testing.assert_array_equal(labels == 65535, later)


def test_masks_given_beside_existing_objects_take_their_pixels_and_leave_the_rest(
    scripted: tuple[Segmenter, Scripted],
) -> None:
    segmenter, script = scripted
    frames = frames_of(3)
    segmenter.step(frames[0], {7: square(0, 0, 40)})
    found = torch.zeros(16, 24, dtype=torch.bool)
    found[4:12, 4:12] = True
    script.masks = [found]
    before = segmenter.step(frames[1]) == 7
    assert before.any()
    half = before & (np.arange(WIDTH) < np.nonzero(before)[1].mean())
    labels = segmenter.step(frames[2], {300: half})
    np.testing.assert_array_equal(labels == 300, half)
    np.testing.assert_array_equal(labels == 7, before & ~half)


def test_two_times_forty_objects(toy: Hodor) -> None:
    segmenter, frames = segmenter_for(toy, min_dim=128), frames_of(4)
    grid = [(row, column) for row in range(0, HEIGHT, 10) for column in range(0, WIDTH - 4, 8)][:40]
    objects = {1000 + k: square(row, column, 7) for k, (row, column) in enumerate(grid)}
    assert len(objects) == 40
    np.testing.assert_array_equal(segmenter.step(frames[0], objects), label_map(objects))
    assert segmenter.last.warnings == []
    segmenter.step(frames[1])
    more = {2000 + k: mask for k, mask in enumerate(objects.values())}
    labels = segmenter.step(frames[2], more)
    assert all((labels[mask] == object_id).all() for object_id, mask in more.items())
    segmenter.step(frames[3])
    assert len(segmenter.last.objects) == 80


# --- corrections, removal


def test_a_correction_replaces_all_that_was_believed(model: Hodor) -> None:
    segmenter, frames = segmenter_for(model), frames_of(6)
    segmenter.step(frames[0], {7: THREE[7], 300: THREE[300]})
    for frame in frames[1:3]:
        segmenter.step(frame)
    corrected = square(20, 40)
    labels = segmenter.step(frames[3], {7: corrected})
    np.testing.assert_array_equal(labels == 7, corrected)
    state = segmenter.state()
    assert history_of(state, 7) == [3] and history_of(state, 300) == [0, 1, 2, 3]
    assert segmenter.object_ids == [7, 300]
    segmenter.step(frames[4])
    assert history_of(segmenter.state(), 7) == [3, 4]


@pytest.mark.parametrize("history", [1, 7])
def test_the_only_object_can_be_corrected(model: Hodor, history: int) -> None:
    segmenter, frames = segmenter_for(model, history=history), frames_of(5)
    segmenter.step(frames[0], {7: THREE[7]})
    segmenter.step(frames[1])
    corrected = square(25, 25)
    np.testing.assert_array_equal(segmenter.step(frames[2], {7: corrected}), label_map({7: corrected}))
    for frame in frames[3:]:
        assert set(np.unique(segmenter.step(frame))) <= {0, 7}
        assert 0 <= segmenter.last.objects[7].confidence <= 1


def test_the_same_object_given_in_every_frame(model: Hodor) -> None:
    segmenter, truth = segmenter_for(model), moving_square(6, HEIGHT, WIDTH)[1]
    for frame, mask in zip(frames_of(6), truth, strict=True):
        np.testing.assert_array_equal(segmenter.step(frame, mask), mask)


def test_a_removed_object_is_gone_and_the_others_stay(model: Hodor) -> None:
    segmenter, frames = segmenter_for(model), frames_of(5)
    segmenter.step(frames[0], THREE)
    segmenter.step(frames[1])
    segmenter.remove(300)
    assert segmenter.object_ids == [7, 65535]
    assert history_of(segmenter.state(), 300) == []
    assert 300 not in np.unique(segmenter.step(frames[2]))
    assert sorted(segmenter.last.objects) == [7, 65535]
    with pytest.raises(UsageError, match=r"object 300 is not followed; the ids are \[7, 65535\]"):
        segmenter.remove(300)
    again = square(10, 10)
    labels = segmenter.step(frames[3], {300: again})
    np.testing.assert_array_equal(labels == 300, again)
    assert segmenter.object_ids == [7, 65535, 300]


def test_all_objects_can_be_removed_and_others_started(model: Hodor) -> None:
    segmenter, frames = segmenter_for(model), frames_of(8)
    segmenter.step(frames[0], THREE)
    segmenter.step(frames[1])
    for object_id in segmenter.object_ids:
        segmenter.remove(object_id)
    assert segmenter.object_ids == []
    for frame in frames[2:4]:
        assert not segmenter.step(frame).any()
        found = segmenter.descriptors()
        assert found.objects == {} and found.background is None
    np.testing.assert_array_equal(segmenter.step(frames[4], {9: square(9, 9)}), label_map({9: square(9, 9)}))
    for frame in frames[5:]:
        assert set(np.unique(segmenter.step(frame))) <= {0, 9}


# --- lost and found


def test_a_lost_object_is_reported_keeps_its_descriptor_and_can_be_given_again(
    scripted: tuple[Segmenter, Scripted],
) -> None:
    segmenter, script = scripted
    frames = frames_of(6)
    there = torch.zeros(16, 24, dtype=torch.bool)
    there[3:9, 3:9] = True
    segmenter.step(frames[0], {7: THREE[7], 300: THREE[300]})
    script.masks = [there, there.roll(10, dims=1)]
    segmenter.step(frames[1])
    assert not segmenter.last.objects[7].lost and segmenter.last.objects[7].confidence > 0.9
    kept = segmenter.descriptors().objects
    script.masks = [torch.zeros_like(there), there.roll(10, dims=1)]
    assert 7 not in segmenter.step(frames[2])
    assert (segmenter.last.objects[7].area, segmenter.last.objects[7].lost) == (0, True)
    assert segmenter.last.objects[7].confidence == 0
    assert not segmenter.last.objects[300].lost
    now = segmenter.descriptors().objects
    np.testing.assert_array_equal(now[7], kept[7])
    assert not np.array_equal(now[300], kept[300])
    labels = segmenter.step(frames[3], {7: square(30, 2)})
    np.testing.assert_array_equal(labels == 7, square(30, 2))
    assert not segmenter.last.objects[7].lost
    assert history_of(segmenter.state(), 7) == [3]


# --- masks that cannot be used


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (np.ones((WIDTH, HEIGHT), np.uint8), "48x64 pixels and the frame is 64x48"),
        ({7: np.ones((HEIGHT, WIDTH - 1), bool)}, "object 7 in frame 2 is 63x48 pixels and the frame is 64x48"),
        (np.ones((HEIGHT, WIDTH, 3), np.uint8), "3x64x48"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "mask of frame 2 is empty"),
        ({7: THREE[7], 8: np.zeros((HEIGHT, WIDTH), bool)}, "object 8 in frame 2 is empty"),
        ({}, "empty"),
        ({7: square(2, 2), 8: square(10, 10)}, "objects 7 and 8 share 36 pixels in frame 2"),
        ({0: THREE[7]}, r"object id 0 in frame 2 is outside 1\.\.65535"),
        ({65536: THREE[7]}, "object id 65536"),
        (np.full((HEIGHT, WIDTH), -1), "object id -1"),
        (np.full((HEIGHT, WIDTH), 0.5), "float64; give integers"),
        ({7: np.full((HEIGHT, WIDTH), 0.5)}, "float64; give true or false"),
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


def test_a_bad_first_mask_leaves_a_segmenter_that_can_start(toy: Hodor) -> None:
    segmenter = segmenter_for(toy)
    with pytest.raises(InputError):
        segmenter.step(frames_of(1)[0], np.ones((5, 5), np.uint8))
    other = np.zeros((32, 32, 3), np.uint8)  # no frame was taken, so the size is still free
    assert segmenter.step(other, np.eye(32, dtype=np.uint8)).shape == (32, 32)


@pytest.mark.parametrize("alone", [True, False])
def test_an_object_too_small_is_warned_of_and_the_others_go_on(toy: Hodor, alone: bool) -> None:
    segmenter, frames = segmenter_for(toy), frames_of(3)
    dot = square(45, 60, 1)
    given = {9: dot} if alone else {9: dot, 7: THREE[7]}
    np.testing.assert_array_equal(segmenter.step(frames[0], given), label_map(given))
    assert len(segmenter.last.warnings) == 1
    assert "object 9 in frame 0 is too small to be encoded at 85x64" in segmenter.last.warnings[0]
    assert segmenter.last.objects[9].area == 1
    assert segmenter.object_ids == ([] if alone else [7])
    labels = segmenter.step(frames[1])
    assert 9 not in labels and segmenter.last.warnings == []
    # Larger, it can join.
    segmenter.step(frames[2], {9: square(30, 40)})
    assert segmenter.object_ids == ([9] if alone else [7, 9])


def test_a_correction_too_small_is_warned_of_and_the_object_goes_on(toy: Hodor) -> None:
    segmenter, frames = segmenter_for(toy), frames_of(3)
    segmenter.step(frames[0], {7: THREE[7]})
    labels = segmenter.step(frames[1], {7: square(45, 60, 1)})
    np.testing.assert_array_equal(labels == 7, square(45, 60, 1))
    assert "too small" in segmenter.last.warnings[0]
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
    ):
        with pytest.raises(InputError, match=said):
            segmenter.step(frame)
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


def test_frames_that_are_views_or_read_only_are_taken_silently(toy: Hodor, recwarn: pytest.WarningsRecorder) -> None:
    plain, odd = segmenter_for(toy), segmenter_for(toy)
    for index, frame in enumerate(frames_of(2)):
        view = np.ascontiguousarray(frame[:, ::-1, ::-1])[:, ::-1, ::-1]  # as OpenCV's BGR turned around
        view.flags.writeable = False
        mask = label_map(THREE) if index == 0 else None
        if mask is not None:
            mask.flags.writeable = False
        np.testing.assert_array_equal(odd.step(view, mask), plain.step(frame, mask))
    assert [str(warning.message) for warning in recwarn.list] == []


# --- state


def run_on(segmenter: Segmenter, frames: list[np.ndarray], start: int) -> list[np.ndarray]:
    """A run in which an object joins at frame 2, one is corrected at 4 and one starts at 6."""
    given = {0: {7: THREE[7]}, 2: {300: THREE[300]}, 4: {7: square(20, 4)}, 6: {65535: THREE[65535]}}
    return [segmenter.step(frame, given.get(index)) for index, frame in enumerate(frames[start:], start)]


@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_a_stopped_run_goes_on_bit_for_bit(model: Hodor, stop: int, tmp_path: Any) -> None:
    frames = frames_of(10)
    whole = segmenter_for(model, history=3)
    expected = run_on(whole, frames, 0)
    first = segmenter_for(model, history=3)
    run_on(first, frames[:stop], 0)
    np.savez(tmp_path / "state.npz", **first.state())
    second = segmenter_for(model, history=3)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        second.load_state(state)
    assert second.object_ids == first.object_ids
    for index, labels in enumerate(run_on(second, frames, stop), stop):
        np.testing.assert_array_equal(labels, expected[index])
    assert_same_state(second.state(), whole.state())
    assert second.last.objects == whole.last.objects


def test_a_state_is_the_callers_own(model: Hodor) -> None:
    segmenter, twin = segmenter_for(model), segmenter_for(model)
    frames = frames_of(4)
    for each in (segmenter, twin):
        each.step(frames[0], THREE)
        each.step(frames[1])
    state = segmenter.state()
    copies = {name: value.copy() for name, value in state.items()}
    for values in (*segmenter.descriptors().objects.values(), segmenter.descriptors().background):
        values[...] = np.nan
    assert_same_state(segmenter.state(), copies)
    restored = segmenter_for(model)
    restored.load_state(state)
    for value in state.values():
        if value.dtype.kind == "f":
            value[...] = np.nan
    for frame in frames[2:]:
        expected = twin.step(frame)
        np.testing.assert_array_equal(segmenter.step(frame), expected)
        np.testing.assert_array_equal(restored.step(frame), expected)


def test_the_state_is_small_and_does_not_grow(model: Hodor) -> None:
    segmenter, sizes = segmenter_for(model), {}
    frames = frames_of(10)
    for index in range(60):
        segmenter.step(frames[index % 10], THREE if index == 0 else None)
        if index + 1 in (20, 60):
            sizes[index + 1] = sum(value.nbytes for value in segmenter.state().values())
    assert sizes[20] == sizes[60] < 500_000


@pytest.mark.parametrize("history", [1, 3])
def test_the_history_holds_the_window_and_nothing_older(toy: Hodor, history: int) -> None:
    segmenter = segmenter_for(toy, history=history)
    for index, frame in enumerate(frames_of(8)):
        segmenter.step(frame, THREE if index == 0 else None)
        # The newest frame and `history` before it: the next frame is decoded from the last `history` of these.
        assert history_of(segmenter.state(), 7) == list(range(max(0, index - history), index + 1))


def test_only_the_window_is_decoded(toy: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, decode = [], toy.decode

    def recording(maps: Maps, history: History, cue: Any = None) -> torch.Tensor:
        lengths.append(history.objects.shape[1])
        return decode(maps, history, cue)

    monkeypatch.setattr(toy, "decode", recording)
    segmenter = segmenter_for(toy, history=3)
    for index, frame in enumerate(frames_of(7)):
        segmenter.step(frame, THREE if index == 0 else None)
    assert lengths == [1, 2, 3, 3, 3, 3]


def test_a_state_that_does_not_belong_here_is_refused_and_changes_nothing(toy: Hodor, mini: Hodor) -> None:
    segmenter, frames = segmenter_for(mini), frames_of(3)
    segmenter.step(frames[0], THREE)
    good = segmenter.state()
    other = segmenter_for(toy)
    other.step(frames[0], THREE)
    narrow = {name: value[..., :5] if name.endswith("/objects") else value for name, value in good.items()}
    for state, said in (
        ({}, "no segmenter state of version 2"),
        ({"version": np.array(2)}, "no segmenter state"),
        ({**good, "version": np.array(1)}, "no segmenter state of version 2"),
        (other.state(), "made with the model 'toy' and this one is 'mini'"),
        (narrow, "descriptors of 5 channels and the model makes 256"),
    ):
        with pytest.raises(InputError, match=said):
            segmenter.load_state(state)
        assert_same_state(segmenter.state(), good)
    coarser = segmenter_for(mini, min_dim=32)
    with pytest.raises(InputError, match="min-dim"):
        coarser.load_state(good)


def test_a_state_may_move_to_another_resolution_history_or_without_matching(toy: Hodor, mini: Hodor) -> None:
    """Descriptors belong to no resolution; only keys do."""
    frames = frames_of(6)
    for model, settings in (
        (toy, {"min_dim": 96}),
        (toy, {"history": 2}),
        (mini, {"min_dim": 96, "matching": False}),
    ):
        segmenter = segmenter_for(model)
        for index, frame in enumerate(frames[:5]):
            segmenter.step(frame, THREE if index == 0 else None)
        moved = segmenter_for(model, **settings)
        moved.load_state(segmenter.state())
        assert set(np.unique(moved.step(frames[5]))) <= {0, *IDS}
        assert not any(name.startswith("matching/") for name in moved.state())


def test_a_step_that_fails_midway_is_as_if_it_had_not_been(model: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, twin = segmenter_for(model), segmenter_for(model)
    frames, given = frames_of(4), {7: square(20, 4), 9: square(4, 20, 10)}
    for each in (segmenter, twin):
        each.step(frames[0], THREE)
        each.step(frames[1])
    for error in (MemoryError, KeyboardInterrupt):
        with monkeypatch.context() as patch:

            def fail(*arguments: Any, error: type[BaseException] = error) -> Any:
                raise error

            patch.setattr(model, "decode", fail)
            with pytest.raises(error):
                segmenter.step(frames[2], given)
        assert_same_state(segmenter.state(), twin.state())
    np.testing.assert_array_equal(segmenter.step(frames[2], given), twin.step(frames[2], given))
    np.testing.assert_array_equal(segmenter.step(frames[3]), twin.step(frames[3]))


def test_reset_forgets_everything(model: Hodor) -> None:
    segmenter, fresh, frames = segmenter_for(model), segmenter_for(model), frames_of(3)
    segmenter.step(np.zeros((30, 20, 3), np.uint8), np.eye(30, 20, dtype=np.uint8))
    segmenter.reset()
    assert segmenter.object_ids == [] and segmenter.last.objects == {}
    assert_same_state(segmenter.state(), fresh.state())
    for index, frame in enumerate(frames):
        given = THREE if index == 0 else None
        np.testing.assert_array_equal(segmenter.step(frame, given), fresh.step(frame, given))


# --- starting from descriptors


def test_objects_can_start_from_saved_descriptors(model: Hodor) -> None:
    frames = frames_of(4)
    source = segmenter_for(model)
    source.step(frames[0], THREE)
    saved = source.descriptors()
    segmenter = segmenter_for(model)
    segmenter.start_from({7: saved.objects[7], 300: np.stack([saved.objects[300]] * 2)}, saved.background)
    assert segmenter.object_ids == [7, 300]
    for frame in frames:
        assert set(np.unique(segmenter.step(frame))) <= {0, 7, 300}
    # The state carries them on.
    twin = segmenter_for(model)
    twin.load_state(segmenter.state())
    np.testing.assert_array_equal(twin.step(frames[0]), segmenter.step(frames[0]))
    # They can be removed and corrected like others.
    segmenter.remove(7)
    np.testing.assert_array_equal(segmenter.step(frames[1], {300: THREE[300]}) == 300, THREE[300])


def test_descriptors_of_the_video_itself_decode_like_its_history(toy: Hodor) -> None:
    frames = frames_of(2)
    source = segmenter_for(toy)
    source.step(frames[0], THREE)
    saved = source.descriptors()
    segmenter = segmenter_for(toy)
    segmenter.start_from(saved.objects, saved.background)
    np.testing.assert_array_equal(segmenter.step(frames[1]), source.step(frames[1]))


def test_without_a_background_the_frame_edge_is_decided_like_the_rest(toy: Hodor) -> None:
    frame, source = frames_of(1)[0], segmenter_for(toy)
    source.step(frame, THREE)
    segmenter = segmenter_for(toy)
    segmenter.start_from({7: source.descriptors().objects[7]})
    model_decode = segmenter.model.decode

    def certain(maps: Maps, history: History, cue: Any = None) -> torch.Tensor:
        logits = model_decode(maps, history, cue)
        logits[:, NUM_NON_OBJECT:] += 50
        return logits

    segmenter.model.decode = certain  # type: ignore[method-assign]
    try:
        labels = segmenter.step(frame)
    finally:
        del segmenter.model.decode
    assert (labels == 7).all()
    assert segmenter.last.objects[7].confidence > 0.9


def test_descriptors_that_do_not_fit_are_refused(toy: Hodor) -> None:
    segmenter, row = segmenter_for(toy), np.zeros(32, np.float32)
    with pytest.raises(InputError, match="object 7 has 256 channels and the model makes 32"):
        segmenter.start_from({7: np.zeros(256)})
    with pytest.raises(InputError, match=r"background descriptors are \(32,\) and must be \(9, 32\)"):
        segmenter.start_from({7: row}, row)
    with pytest.raises(InputError, match="object id 0"):
        segmenter.start_from({0: row})
    with pytest.raises(UsageError, match="at least one object"):
        segmenter.start_from({})
    assert segmenter.object_ids == []
    segmenter.start_from({7: row})
    with pytest.raises(UsageError, match="before any object"):
        segmenter.start_from({8: row})


# --- matching


def test_without_matching_the_state_has_no_frames_and_results_differ(mini: Hodor) -> None:
    frames = frames_of(3)
    outcomes = []
    for matching in (True, False):
        segmenter = segmenter_for(mini, matching=matching)
        for index, frame in enumerate(frames):
            segmenter.step(frame, THREE if index == 0 else None)
        outcomes.append(segmenter.descriptors().objects[7])
        assert any(name.startswith("matching/") for name in segmenter.state()) == matching
    assert not np.array_equal(*outcomes)


# --- devices, precision, settings


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_the_cpu_gives_nearly_the_same(model: Hodor, precision: str) -> None:
    exact, rounded = segmenter_for(model, precision="fp32"), segmenter_for(model, precision=precision)
    for index, frame in enumerate(frames_of(4)):
        given = {0: {7: THREE[7], 300: THREE[300]}, 2: {65535: THREE[65535]}}.get(index)
        expected, found = exact.step(frame, given), rounded.step(frame, given)
        assert np.mean(expected == found) > 0.8
        for object_id, descriptor in rounded.descriptors().objects.items():
            assert descriptor.dtype == np.float32
            np.testing.assert_allclose(descriptor, exact.descriptors().objects[object_id], atol=0.3)


def test_settings_that_cannot_be_are_refused(toy: Hodor) -> None:
    for settings, kind, said in (
        ({"history": 0}, UsageError, "history must be at least 1"),
        ({"min_dim": 16}, UsageError, "min-dim 16"),
        ({"min_dim": 128, "max_dim": 64}, UsageError, "max-dim 64"),
        ({"device": "tpu"}, UsageError, "no device 'tpu'; choose auto, cpu, cuda or mps"),
        ({"precision": "int8"}, UsageError, "no precision 'int8'; choose auto, fp32, bf16, fp16"),
    ):
        with pytest.raises(kind, match=said):
            segmenter_for(toy, **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_is_refused_where_there_is_none(toy: Hodor) -> None:
    with pytest.raises(DeviceError, match=r"no CUDA device.*--device cpu"):
        segmenter_for(toy, device="cuda")


def test_the_working_resolution_is_the_models_own_and_keeps_its_proportion(mini: Hodor) -> None:
    own = Segmenter(mini, device="cpu")
    assert (own.min_dim, own.max_dim) == (288, 555)
    halved = Segmenter(mini, device="cpu", min_dim=144)
    assert (halved.min_dim, halved.max_dim) == (144, 278)
    assert Segmenter(mini, device="cpu", max_dim=400).max_dim == 400
