"""Small objects are seen in a finer resolution, which the first masks decide, and which a user's own overrides."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from segmenter_fakes import HEIGHT, WIDTH, frames_of, some_model, square

from hodor_cli.engine import OfflineSegmenter, Segmenter, follow
from hodor_cli.model import Hodor


@pytest.fixture(scope="module")
def model() -> Hodor:
    network = some_model("toy")
    network.config = msgspec.structs.replace(network.config, small_min_dim=96, medium_min_dim=80)
    return network


def segmenter_of(model: Hodor, **settings: Any) -> Segmenter:
    return Segmenter(model, device="cpu", precision="fp32", **settings)


def large() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:-2, 2:-2] = True
    return mask


@pytest.mark.parametrize(
    ("small", "settings", "min_dim"),
    [(True, {}, 96), (False, {}, 80), (True, {"min_dim": 64}, 64), (True, {"matching": False}, 96)],
)
def test_the_first_masks_decide_unless_the_user_does(
    model: Hodor, small: bool, settings: dict[str, Any], min_dim: int
) -> None:
    segmenter = segmenter_of(model, **settings)
    first, second = frames_of(2)
    segmenter.step(first)  # without objects
    segmenter.step(first, {1: square(10, 10) if small else large()})
    warned = [text for text in segmenter.last.warnings if "the objects are small" in text]
    assert segmenter.min_dim == min_dim and len(warned) == (min_dim > 64)
    segmenter.step(second, {2: square(30, 30)})
    assert segmenter.min_dim == min_dim and not segmenter.last.warnings
    segmenter.reset()
    assert segmenter.min_dim == 64


def test_objects_of_several_sizes_are_judged_by_their_geometric_mean(model: Hodor) -> None:
    segmenter = segmenter_of(model)
    tiny = np.zeros((HEIGHT, WIDTH), bool)
    tiny[:4, :4] = True
    segmenter.step(frames_of(1)[0], {1: tiny, 2: large() & ~tiny})
    assert segmenter.min_dim == 96


def test_large_objects_are_seen_in_the_usual_resolution() -> None:
    network = some_model("toy")
    network.config = msgspec.structs.replace(network.config, min_dim=128, max_dim=256, medium_min_dim=160)
    segmenter = segmenter_of(network)
    segmenter.step(frames_of(1)[0], {1: large()})  # 256 cells of the network's input and more
    assert segmenter.min_dim == 128 and not segmenter.last.warnings


def test_a_saved_state_keeps_the_resolution(model: Hodor) -> None:
    frames = frames_of(4)
    whole, begun, resumed = (segmenter_of(model) for _ in range(3))
    for segmenter in (whole, begun):
        segmenter.step(frames[0], {1: square(10, 10)})
        segmenter.step(frames[1])
    resumed.load_state(begun.state())
    assert resumed.min_dim == 96
    for frame in frames[2:]:
        assert np.array_equal(whole.step(frame), resumed.step(frame))


def test_a_step_that_fails_decides_nothing(model: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = segmenter_of(model)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(segmenter, "_follow", lambda step: (_ for _ in ()).throw(MemoryError()))
        segmenter.step(frames_of(1)[0], {1: square(10, 10)})
    assert segmenter.min_dim == 64
    segmenter.step(frames_of(1)[0], {1: large()})
    assert segmenter.min_dim == 80


def test_both_directions_see_the_same_resolution(model: Hodor) -> None:
    segmenter = OfflineSegmenter(model, device="cpu", precision="fp32")
    found = list(follow(segmenter, frames_of(5), {0: {1: square(10, 10)}, 4: {1: large()}}))
    assert segmenter.min_dim == 96 and len(found) == 5
    assert any("the objects are small" in text for text in found[0].result.warnings)
