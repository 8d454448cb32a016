"""The segmenter frame by frame: its inputs and outputs, with networks of random weights."""

from __future__ import annotations

import itertools
import re

import msgspec
import numpy as np
import pytest
import torch
from conftest import moving_square
from segmenter_fakes import (
    HEIGHT,
    IDS,
    THREE,
    WIDTH,
    Scripted,
    frames_of,
    history_of,
    label_map,
    segmenter_for,
    square,
)

from hodor_cli.engine import Segmenter
from hodor_cli.errors import UsageError
from hodor_cli.model import Hodor, build_model
from hodor_cli.presets import preset


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> tuple[Segmenter, Scripted]:
    """A segmenter that holds lost objects, and the script that sets what its decoder finds."""
    network = build_model(msgspec.structs.replace(preset("toy"), hold_lost_objects=True))
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
        assert segmenter.last.labels is labels


def test_a_step_reports_how_long_the_network_took(toy: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, ticks = segmenter_for(toy), itertools.count(0.0, 0.25)
    monkeypatch.setattr("hodor_cli.engine.segmenter.clock.perf_counter", lambda: next(ticks))
    segmenter.step(frames_of(1)[0], THREE)
    assert segmenter.last.network_seconds == 0.25


def test_a_label_map_and_a_dictionary_mean_the_same(toy: Hodor) -> None:
    by_map, by_dictionary = segmenter_for(toy), segmenter_for(toy)
    for index, frame in enumerate(frames_of(3)):
        first = by_map.step(frame, label_map(THREE) if index == 0 else None)
        second = by_dictionary.step(frame, THREE if index == 0 else None)
        np.testing.assert_array_equal(first, second)


def test_given_masks_are_returned_exactly(model: Hodor) -> None:
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


def test_a_new_mask_takes_its_pixels_from_existing_objects_and_leaves_the_rest(
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


def test_forty_objects_and_forty_more(toy: Hodor) -> None:
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


def test_a_correction_replaces_the_history_of_its_object(model: Hodor) -> None:
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


def test_a_correction_leaves_the_other_objects_of_its_frame_as_they_were(model: Hodor) -> None:
    given = 300
    with_mask, without, frames = segmenter_for(model), segmenter_for(model), frames_of(4)
    for one in (with_mask, without):
        for index, frame in enumerate(frames[:3]):
            one.step(frame, THREE if index == 0 else None)
    mask = square(20, 34)
    found, expected = with_mask.step(frames[3], {given: mask}), without.step(frames[3])
    assert set(np.unique(expected)) - {0, given}
    expected[expected == given] = 0
    expected[mask] = given
    np.testing.assert_array_equal(found, expected)


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
    for wrong in (300, [7]):
        with pytest.raises(
            UsageError, match=rf"object {re.escape(str(wrong))} is not followed; the ids are \[7, 65535\]"
        ):
            segmenter.remove(wrong)  # type: ignore[arg-type]
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


def test_a_lost_object_is_reported_and_keeps_its_descriptor_and_can_be_given_again(
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
    # Its last place is no longer encoded.
    expected = segmenter.model.without_place(torch.from_numpy(kept[7])).numpy()
    np.testing.assert_allclose(now[7], expected, atol=0.01)  # bfloat16 on CPUs that compute in it
    assert not np.array_equal(now[300], kept[300])
    labels = segmenter.step(frames[3], {7: square(30, 2)})
    np.testing.assert_array_equal(labels == 7, square(30, 2))
    assert not segmenter.last.objects[7].lost
    assert history_of(segmenter.state(), 7) == [3]
