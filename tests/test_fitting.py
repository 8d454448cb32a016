"""Descriptors of given masks are fitted to their own frame, where masks are decoded from them alone."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from segmenter_fakes import HEIGHT, WIDTH, frames_of, segmenter_for, square

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine import OfflineSegmenter, Segmenter, follow
from hodor_cli.engine.fitting import fitted_to_frame
from hodor_cli.model import Descriptors, History, Hodor, Maps, build_model
from hodor_cli.model.background import reference_masks
from hodor_cli.model.place import places_of
from hodor_cli.presets import preset


@pytest.fixture
def fitting() -> Hodor:
    torch.manual_seed(3)
    return build_model(msgspec.structs.replace(preset("toy"), fitted_steps=20))


def _one_frame(network: Hodor) -> tuple[Maps, torch.Tensor, Descriptors]:
    """Maps, masks (2, 64, 64) and their descriptors."""
    frame = torch.randn(1, 3, 64, 64)
    masks = torch.zeros(2, 64, 64)
    masks[0, 8:24, 8:24], masks[1, 32:56, 24:48] = 1, 1
    with torch.inference_mode():
        maps = network.extract(frame)
        return maps, masks, network.encode(maps, *reference_masks(masks[None]))


def _likely_inside(network: Hodor, maps: Maps, made: Descriptors, masks: torch.Tensor) -> float:
    """The mean probability of the right object inside its mask, decoded from descriptors alone."""
    there = torch.ones(1, 1, 2, dtype=torch.bool)
    with torch.inference_mode():
        history = History(made.objects[:, None], made.background[:, None], there, there[..., 0], complete=True)
        found = network.decode(maps, history).softmax(dim=1)[0, NUM_NON_OBJECT:]
    inside = masks[:, ::4, ::4]
    return float((found * inside).sum() / inside.sum())


def test_a_frame_is_decoded_better_from_fitted_descriptors_and_the_network_stays_as_it_is(fitting: Hodor) -> None:
    before = {name: value.clone() for name, value in fitting.state_dict().items()}
    maps, masks, made = _one_frame(fitting)
    with torch.inference_mode():  # as in a step of the segmenter
        fitted = fitted_to_frame(fitting, maps, made, masks)
    assert fitted.objects.shape == made.objects.shape and fitted.background.shape == made.background.shape
    assert not fitted.objects.requires_grad
    assert _likely_inside(fitting, maps, fitted, masks) > 2 * _likely_inside(fitting, maps, made, masks)
    for name, value in fitting.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in fitting.parameters())


def test_fitted_descriptors_say_where_the_objects_are(fitting: Hodor) -> None:
    maps, masks, made = _one_frame(fitting)
    place = fitting.encoder.place
    assert place is not None
    said = fitted_to_frame(fitting, maps, made, masks).objects @ place.directions.T - place.offset
    torch.testing.assert_close(said, places_of(reference_masks(masks[None])[0]), atol=1e-4, rtol=0)


def _first_descriptor(segmenter: Segmenter) -> np.ndarray:
    segmenter.reset()
    segmenter.step(frames_of(1)[0], {7: square(4, 4)})
    return segmenter.descriptors().objects[7]


def test_only_descriptors_that_are_decoded_alone_are_fitted(mini: Hodor) -> None:
    assert mini.config.fitted_steps > 0
    plain = build_model(msgspec.structs.replace(mini.config, fitted_steps=0)).eval()
    plain.load_state_dict(mini.state_dict())
    as_made = _first_descriptor(segmenter_for(plain, matching=False))
    np.testing.assert_array_equal(_first_descriptor(segmenter_for(mini)), as_made)
    assert np.abs(_first_descriptor(segmenter_for(mini, matching=False)) - as_made).max() > 0.1


def test_the_papers_network_fits_nothing() -> None:
    assert preset("swin-tiny").fitted_steps == 0


def test_fitted_descriptors_stay_in_the_history_until_the_object_gets_another_mask(fitting: Hodor) -> None:
    segmenter = segmenter_for(fitting, history=2)
    given = {0: {7: square(4, 4)}, 1: {9: square(20, 40)}, 6: {7: square(20, 4)}}
    lasting = []
    for index, frame in enumerate(frames_of(10)):
        segmenter.step(frame, given.get(index))
        entries = segmenter._known.ring.entries
        lasting.append({(entry.frame, *entry.object_ids) for entry in entries if entry.lasting})
        assert len(entries) <= 3 + len(lasting[-1])
    assert lasting[5] == {(0, 7), (1, 9)}
    assert lasting[9] == {(1, 9), (6, 7)}
    segmenter.remove(9)
    segmenter.step(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert {entry.frame for entry in segmenter._known.ring.entries if entry.lasting} == {6}


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_stopped_run_with_fitted_descriptors_resumes_bit_for_bit(fitting: Hodor, stop: int) -> None:
    def labels(segmenter: Segmenter, start: int, end: int) -> list[np.ndarray]:
        given = {0: {7: square(4, 4)}, 2: {9: square(20, 40)}, 5: {7: square(20, 4)}}
        return [segmenter.step(frame, given.get(i)) for i, frame in enumerate(frames_of(10)[start:end], start)]

    whole = labels(segmenter_for(fitting, history=2), 0, 10)
    first, second = segmenter_for(fitting, history=2), segmenter_for(fitting, history=2)
    labels(first, 0, stop)
    second.load_state(first.state())
    np.testing.assert_array_equal(labels(second, stop, 10), whole[stop:])


def test_a_mask_that_serves_both_directions_is_fitted_once(fitting: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {0: {7: square(4, 4), 9: square(20, 40)}, 5: {7: square(10, 4), 9: square(20, 30)}}
    segmenter = OfflineSegmenter(fitting, min_dim=64, device="cpu")
    made: list[Descriptors] = []

    def counted(*arguments: Any) -> Descriptors:
        made.append(fitted_to_frame(*arguments))
        return made[-1]

    monkeypatch.setattr("hodor_cli.engine.network.fitted_to_frame", counted)
    found = {one.frame: one.result for one in follow(segmenter, frames_of(8), given)}
    assert len(made) == len(given) and sorted(found) == list(range(8))
