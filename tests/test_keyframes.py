"""Masks that are all known beforehand: followed both ways, joined, and changed in one place."""

from __future__ import annotations

import copy
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from segmenter_fakes import IDS, THREE, frames_of, label_map, make_model, square

from hodor_cli.config import NUM_BACKGROUND
from hodor_cli.engine import GivenMasks, OfflineSegmenter, Plan, Segmenter, follow
from hodor_cli.engine.following import encode_masks, pass_backward
from hodor_cli.engine.soft_maps import MapFolder, SoftMap
from hodor_cli.errors import InputError, UsageError
from hodor_cli.model import Hodor

A, B, C = IDS


@pytest.fixture(scope="module", params=["toy", "mini"])
def network(request: pytest.FixtureRequest) -> Hodor:
    return make_model(request.param)


def offline(model: Hodor) -> OfflineSegmenter:
    return OfflineSegmenter(model, min_dim=64, device="cpu")


def labels_of(model: Hodor, given: object, count: int = 12, **how: object) -> dict[int, np.ndarray]:
    return {one.frame: one.labels for one in follow(offline(model), frames_of(count), given, **how)}  # type: ignore[arg-type]


@pytest.mark.usefixtures("one_thread")
def test_one_mask_in_the_first_frame_is_followed_as_ever(network: Hodor) -> None:
    plain = Segmenter(network, min_dim=64, device="cpu")
    found = labels_of(network, {0: label_map(THREE)})
    for index, frame in enumerate(frames_of(12)):
        np.testing.assert_array_equal(found[index], plain.step(frame, label_map(THREE) if index == 0 else None))


def test_given_masks_stay_as_they_are_and_every_frame_comes_once(network: Hodor) -> None:
    found = labels_of(network, {3: {A: square(2, 2)}, 8: {A: square(5, 9)}})
    assert list(found) == list(range(12))
    np.testing.assert_array_equal(found[3] == A, square(2, 2))
    np.testing.assert_array_equal(found[8] == A, square(5, 9))


def test_an_object_is_looked_for_before_its_first_mask_unless_it_appears_there(network: Hodor) -> None:
    given = {6: {A: square(2, 2, 30)}}
    assert any((labels == A).any() for index, labels in labels_of(network, given).items() if index < 6)
    found = labels_of(network, GivenMasks(given, appears={A: 6}))
    assert not any(labels.any() for index, labels in found.items() if index < 6)
    assert (found[6] == A).any()


def test_an_object_that_ended_is_in_no_frame_until_its_next_mask(network: Hodor) -> None:
    big = square(2, 2, 30)
    given = {0: {A: big}, 4: {A: np.zeros_like(big)}, 8: {A: big}}
    found = labels_of(network, given)
    assert [index for index, labels in found.items() if not (labels == A).any()] == [4, 5, 6, 7]


def test_an_object_that_a_mask_does_not_name_is_followed_on_and_one_with_an_empty_mask_is_not(network: Hodor) -> None:
    def followed(given: object) -> list[set[int]]:
        return [set(one.result.objects) for one in follow(offline(network), frames_of(6), given)]  # type: ignore[arg-type]

    first, nothing = {A: square(2, 2), B: square(4, 40)}, square(0, 0, 0)
    assert followed({0: label_map(first), 3: label_map({A: square(2, 2)})}) == [{A, B}] * 6
    assert followed({0: first, 3: {A: square(2, 2)}}) == [{A, B}] * 6
    for absent in ({0: first, 3: {A: square(2, 2), B: nothing}}, GivenMasks({0: first}, ended={3: [B]})):
        assert followed(absent) == [{A, B}] * 3 + [{A}] * 3


def test_a_mask_of_an_object_that_ends_there_is_refused(network: Hodor) -> None:
    given = GivenMasks({0: {A: square(2, 2)}, 3: {A: square(2, 2)}}, ended={3: [A]})
    with pytest.raises(UsageError, match=f"object {A} has a mask in frame 3 but is absent from there on"):
        labels_of(network, given)


def test_masks_of_frames_that_do_not_exist_are_refused(network: Hodor) -> None:
    refusals = {-1: "frame -1 is negative", 12: "a mask is given for frame 12, but the last frame is 11"}
    for frame, refusal in refusals.items():
        with pytest.raises(InputError, match=refusal):
            labels_of(network, {0: {A: square(2, 2)}, frame: {A: square(2, 2)}})


@pytest.mark.parametrize("name", ["cat", 0, 70000, 1.5, None])
def test_an_id_that_is_none_is_refused(network: Hodor, name: object) -> None:
    with pytest.raises(InputError, match="in frame 0 is not a whole number between 1 and 65535; renumber it"):
        list(follow(offline(network), frames_of(2), {0: {name: square(4, 4)}}))  # type: ignore[dict-item]


def test_a_segmenter_for_live_frames_is_refused(network: Hodor) -> None:
    with pytest.raises(UsageError, match="is a Segmenter; give an OfflineSegmenter"):
        next(follow(Segmenter(network, device="cpu"), frames_of(2), {0: label_map(THREE)}))  # type: ignore[arg-type]


def test_a_further_mask_changes_the_frames_between_its_neighbours_alone(network: Hodor) -> None:
    given = {frame: {A: square(2 + frame, 2, 20)} for frame in (0, 4, 8)}
    before = labels_of(network, given, 14)
    after = labels_of(network, given | {6: {A: square(25, 40, 20)}}, 14)
    for index in (*range(5), *range(8, 14)):
        np.testing.assert_array_equal(before[index], after[index], err_msg=str(index))
    assert any((before[index] != after[index]).any() for index in (5, 6, 7))


def test_a_mask_of_one_object_leaves_the_others_of_its_frame_as_they_were(network: Hodor) -> None:
    given = GivenMasks({0: THREE, 6: {A: square(20, 34)}})
    frames, segmenter = frames_of(8), offline(network)
    segmenter.plan(given.plan)
    encode_masks(segmenter, frames, given)
    for stretch in given.plan.stretches(0, 7):
        assert list(pass_backward(segmenter, frames, given, stretch))
    for index in range(6):
        segmenter.step(frames[index], given.at(index))
    same = copy.copy(segmenter)
    same._known = segmenter._known.copy()
    found, expected = segmenter.step(frames[6], given.at(6)), same.step(frames[6]).copy()
    expected[expected == A] = 0
    expected[square(20, 34)] = A
    np.testing.assert_array_equal(found, expected)


def test_joining_gives_each_direction_its_say_near_its_mask(network: Hodor) -> None:
    given = {0: {A: square(2, 2, 20)}, 10: {A: square(20, 30, 20)}}
    both = labels_of(network, given, 11)
    backward = {
        one.frame: one.labels for one in follow(offline(network), frames_of(11), given, preview=True) if not one.final
    }
    assert list(backward) == list(range(10, 0, -1))
    segmenter, masks = offline(network), GivenMasks(given)
    segmenter.plan(masks.plan)
    encode_masks(segmenter, frames_of(11), masks)  # and no pass backward
    forward = {index: segmenter.step(image, masks.at(index)) for index, image in enumerate(frames_of(11))}

    def apart(one: np.ndarray, other: np.ndarray) -> int:
        return int((one != other).sum())

    assert apart(both[1], forward[1]) <= apart(both[1], backward[1])
    assert apart(both[9], backward[9]) <= apart(both[9], forward[9])


def test_a_preview_shows_the_pass_backward_before_the_frames_are_final(network: Hodor) -> None:
    given = {0: {A: square(2, 2)}, 3: {A: square(2, 2)}}
    found = list(follow(offline(network), frames_of(4), given, preview=True))
    assert [(one.frame, one.final) for one in found] == [
        (3, False), (2, False), (1, False), (0, True), (1, True), (2, True), (3, True),
    ]  # fmt: skip


def test_soft_maps_lie_in_files_as_they_do_in_memory(network: Hodor, tmp_path: object) -> None:
    given = {0: {A: square(2, 2)}, 6: {A: square(2, 2), B: square(4, 40)}}
    maps = MapFolder(tmp_path / "maps")  # type: ignore[operator]
    found = labels_of(network, given, 7, maps=maps)
    for index, labels in labels_of(network, given, 7).items():
        np.testing.assert_array_equal(found[index], labels)
    assert [frame for frame in range(7) if frame in maps] == [0, 1, 2, 3, 4, 5]
    soft = SoftMap.unpack(maps[3], offline(network).device)
    assert set(soft.object_ids) == {A, B} and float(soft.objects.sum(dim=0).max()) <= 1.01


def test_two_ways_say_how_far_they_disagree(network: Hodor) -> None:
    given = {0: {A: square(2, 2, 20)}, 6: {A: square(25, 40, 20)}}
    results = {one.frame: one.result.objects[A] for one in follow(offline(network), frames_of(8), given)}
    assert results[0].disagreement is None and results[6].disagreement is None and results[7].disagreement is None
    assert all(0 <= (results[index].disagreement or 0) <= 1 for index in range(1, 6))
    assert any((results[index].disagreement or 0) > 0 for index in range(1, 6))


def held(value: object, seen: dict[int, int]) -> None:
    """Note the storages of all tensors and arrays that something holds, networks apart, by their address."""
    if isinstance(value, torch.Tensor):
        seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    elif isinstance(value, np.ndarray):
        seen[id(value)] = value.nbytes
    elif isinstance(value, dict | list | tuple | deque):
        for one in value.values() if isinstance(value, dict) else value:
            held(one, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, torch.nn.Module | MapFolder | type):
        held(vars(value), seen)


def test_a_further_mask_costs_its_descriptors_and_its_reference_frame_whatever_the_length(tmp_path: Path) -> None:
    network, size = make_model("mini"), {}
    for count, frames in ((1, 8), (2, 8), (2, 16), (4, 16)):
        segmenter = OfflineSegmenter(network, min_dim=64, device="cpu", history=2)
        given = {frames * k // count: {A: square(2, 2, 20)} for k in range(count)}
        for _ in follow(segmenter, frames_of(frames), given, maps=MapFolder(tmp_path / f"{count} {frames}")):
            pass
        found: dict[int, int] = {}
        held(vars(segmenter), found)
        size[count, frames] = sum(found.values())
    _, stored = segmenter._references._stored[0]
    assert stored is not None
    descriptors = (1 + NUM_BACKGROUND) * network.config.descriptor_channels * 4
    one = stored.keys.numel() * 2 + stored.masks.numel() * 4 + descriptors
    assert size[2, 16] == size[2, 8]
    assert size[4, 16] - size[2, 16] == 2 * one
    assert size[2, 8] - size[1, 8] <= 2 * one


# --- the plan


def test_the_plan_says_from_which_masks_an_object_is_followed() -> None:
    plan = Plan({0: frozenset({1}), 10: frozenset({1, 2}), 20: frozenset({1})}, {14: frozenset({1})})
    assert (plan.followed(1, 5).before, plan.followed(1, 5).after) == (0, 10)
    assert (plan.followed(1, 12).before, plan.followed(1, 12).after) == (10, None)
    assert (plan.followed(1, 16).before, plan.followed(1, 16).after) == (None, None)
    assert plan.forward(20) == [1, 2] and plan.backward(3) == [1, 2]
    assert list(plan.stretches(0, 30)) == [(0, 10)]


def test_backward_stretches_are_cut_where_all_is_given() -> None:
    plan = Plan({5: frozenset({1}), 9: frozenset({1}), 12: frozenset({1})})
    assert list(plan.stretches(0, 30)) == [(10, 12), (6, 9), (0, 5)]


def test_a_mask_between_masks_is_no_reference() -> None:
    plan = Plan({frame: frozenset({1}) for frame in range(5)})
    assert [frame for frame in range(5) if plan.serves(frame)] == [0, 4]


def test_frames_that_a_list_does_not_have_are_refused_or_left_out(network: Hodor) -> None:
    given = {0: {A: square(2, 2, 20)}}
    assert list(labels_of(network, given, 4, frames=(0, 9))) == [0, 1, 2, 3]
    for masks, how in (
        ({-1: given[0]}, {}),
        (given, {"frames": (-2, 3)}),
        ({0: given[0], 9: given[0]}, {"frames": (0, 9)}),
    ):
        with pytest.raises(InputError, match="number frames from 0"):
            labels_of(network, masks, 4, **how)


def test_objects_whose_newest_masks_are_too_small_are_followed_on(network: Hodor) -> None:
    small = square(10, 10, 1)
    given = {0: {A: square(2, 2, 20), B: square(25, 40, 20)}, 2: {A: small}, 3: {B: square(30, 30, 1)}}
    assert len(labels_of(network, given, 7)) == 7


def test_a_range_is_followed_from_the_masks_beyond_it(network: Hodor) -> None:
    given = {0: {A: square(2, 2, 20)}, 10: {A: square(20, 30, 20)}}
    whole, part = labels_of(network, given), labels_of(network, given, frames=(0, 6))
    assert list(part) == list(range(7))
    for index, labels in part.items():
        np.testing.assert_array_equal(labels, whole[index])
