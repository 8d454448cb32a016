"""The segmenter's state: stopping and resuming, starting from descriptors, with and without matching."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from segmenter_fakes import (
    IDS,
    THREE,
    assert_same_state,
    frames_of,
    history_of,
    segmenter_for,
    square,
)

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine import Segmenter
from hodor_cli.errors import InputError, UsageError
from hodor_cli.model import History, Hodor, Maps, build_model
from hodor_cli.presets import preset

# --- state


def run_on(segmenter: Segmenter, frames: list[np.ndarray], start: int) -> list[np.ndarray]:
    """A run in which an object joins at frame 2, one is corrected at 4 and one starts at 6."""
    given = {0: {7: THREE[7]}, 2: {300: THREE[300]}, 4: {7: square(20, 4)}, 6: {65535: THREE[65535]}}
    return [segmenter.step(frame, given.get(index)) for index, frame in enumerate(frames[start:], start)]


@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_a_resumed_run_is_bit_identical(model: Hodor, stop: int, tmp_path: Any) -> None:
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


def test_a_state_that_was_text_continues_as_one_that_was_not(model: Hodor) -> None:
    """JSON does not tell float32 from float64, or int16 from int64."""
    frames = frames_of(5)
    segmenter, other = segmenter_for(model), segmenter_for(model)
    run_on(segmenter, frames[:3], 0)
    text = json.dumps({name: value.tolist() for name, value in segmenter.state().items()})
    other.load_state({name: np.array(value) for name, value in json.loads(text).items()})
    assert_same_state(other.state(), segmenter.state())
    for expected, labels in zip(run_on(segmenter, frames, 3), run_on(other, frames, 3), strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_a_state_shares_no_memory_with_the_segmenter(model: Hodor) -> None:
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
    # A lost object has no motion, so the state may shrink.
    assert sizes[60] <= sizes[20] < 500_000


@pytest.mark.parametrize("history", [1, 3])
def test_the_history_holds_the_window_and_nothing_older(toy: Hodor, history: int) -> None:
    segmenter = segmenter_for(toy, history=history)
    for index, frame in enumerate(frames_of(8)):
        segmenter.step(frame, THREE if index == 0 else None)
        # The newest frame and `history` before it: the next frame is decoded from the last `history` of these.
        assert history_of(segmenter.state(), 7) == list(range(max(0, index - history), index + 1))


def test_only_the_window_is_decoded(toy: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, decode = [], toy.decode

    def recording(maps: Maps, history: History, *rest: Any) -> torch.Tensor:
        lengths.append(history.objects.shape[1])
        return decode(maps, history, *rest)

    monkeypatch.setattr(toy, "decode", recording)
    segmenter = segmenter_for(toy, history=3)
    for index, frame in enumerate(frames_of(7)):
        segmenter.step(frame, THREE if index == 0 else None)
    assert lengths == [1, 2, 3, 3, 3, 3]


def test_a_state_of_another_model_or_version_is_refused_and_changes_nothing(toy: Hodor, mini: Hodor) -> None:
    segmenter, frames = segmenter_for(mini), frames_of(3)
    segmenter.step(frames[0], THREE)
    good = segmenter.state()
    other = segmenter_for(toy)
    other.step(frames[0], THREE)
    narrow = {name: value[..., :5] if name.endswith("/objects") else value for name, value in good.items()}
    for state, said in (
        ({}, "not a segmenter state of version 7"),
        ({"version": np.array(3)}, "not a segmenter state"),
        ({**good, "version": np.array(1)}, "not a segmenter state of version 7"),
        (other.state(), "made with the model 'toy', not 'mini'"),
        ("state.npz", "this str is not a segmenter state.*that `np.load` opened"),
        ({key: value for key, value in good.items() if key != "motion/time"}, "is damaged .'motion/time'."),
        ({**good, "next_frame": np.array("x")}, "is damaged"),
        (narrow, r"objects of shape \(.*, 5\), which does not fit this model and resolution; use the `weights`"),
    ):
        with pytest.raises(InputError, match=said):
            segmenter.load_state(state)
        assert_same_state(segmenter.state(), good)
    coarser = segmenter_for(mini, min_dim=32)
    with pytest.raises(InputError, match="min_dim"):
        coarser.load_state(good)


def test_a_state_may_move_to_another_resolution_history_or_without_matching(toy: Hodor, mini: Hodor) -> None:
    """Only keys depend on the resolution; descriptors do not."""
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


def test_a_step_that_fails_midway_changes_nothing(model: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
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
    tensor = torch.tensor(saved.objects[7], requires_grad=True)
    segmenter.start_from({7: tensor, 300: np.stack([saved.objects[300]] * 2)}, saved.background)
    assert segmenter.object_ids == [7, 300]
    for frame in frames:
        assert set(np.unique(segmenter.step(frame))) <= {0, 7, 300}
    # The state contains them.
    twin = segmenter_for(model)
    twin.load_state(segmenter.state())
    np.testing.assert_array_equal(twin.step(frames[0]), segmenter.step(frames[0]))
    # They can be removed and corrected like others.
    segmenter.remove(7)
    np.testing.assert_array_equal(segmenter.step(frames[1], {300: THREE[300]}) == 300, THREE[300])


def test_descriptors_of_the_video_itself_decode_like_its_history_except_for_places() -> None:
    toy = build_model(msgspec.structs.replace(preset("toy"), places=False))
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

    def certain(maps: Maps, history: History, *rest: Any) -> torch.Tensor:
        logits = model_decode(maps, history, *rest)
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
    with pytest.raises(InputError, match="object 7 has 256 channels and the model needs 32"):
        segmenter.start_from({7: np.zeros(256)})
    with pytest.raises(InputError, match=r"background descriptors are \(32,\) and must be \(9, 32\)"):
        segmenter.start_from({7: row}, row)
    with pytest.raises(InputError, match="background descriptors"):
        segmenter.start_from({7: row}, np.full((9, 32), np.inf))
    for rows in (np.zeros((0, 32)), np.zeros((1, 2, 32)), np.full(32, np.nan), "x"):
        with pytest.raises(InputError, match=r"object 7 must be \(D,\) or \(K, D\) finite numbers"):
            segmenter.start_from({7: rows})
    for wrong in (0, 1.5, "cat"):
        with pytest.raises(InputError, match=f"object id {wrong!r} among the descriptors is not a whole number"):
            segmenter.start_from({wrong: row})
    with pytest.raises(UsageError, match="at least one object"):
        segmenter.start_from({})
    with pytest.raises(UsageError, match=r"as \{id: descriptors\}"):
        segmenter.start_from(row)
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
