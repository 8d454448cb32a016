"""Small objects are processed at a finer resolution, which the first masks choose unless the user sets one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from segmenter_fakes import HEIGHT, WIDTH, frames_of, some_model, square

from hodor_cli.config import MatchingConfig
from hodor_cli.engine import GivenMasks, OfflineSegmenter, Segmenter, follow
from hodor_cli.engine.following import encode_masks
from hodor_cli.engine.resolution import WorkingResolution
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
def test_the_first_masks_choose_the_resolution_unless_the_user_does(
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


def test_the_smallest_of_several_objects_chooses_the_resolution() -> None:
    network = some_model("toy")
    finer = {"tiny_min_dim": 112, "small_min_dim": 96, "medium_min_dim": 80}
    network.config = msgspec.structs.replace(network.config, **finer)
    segmenter = segmenter_of(network)
    tiny = np.zeros((HEIGHT, WIDTH), bool)
    tiny[:4, :4] = True
    segmenter.step(frames_of(1)[0], {1: tiny, 2: large() & ~tiny})
    assert segmenter.min_dim == 112 and "the objects are small" in segmenter.last.warnings[0]


def test_large_objects_are_processed_at_the_usual_resolution() -> None:
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


class Growing(Segmenter):
    """Finds one object that has a side of `size` pixels in every frame, whatever the network says."""

    size = 0

    def step(self, *arguments: Any, **options: Any) -> np.ndarray:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hodor_cli.engine.step.without_absent", self._square)
            return super().step(*arguments, **options)

    def _square(self, logits: torch.Tensor, *_: object) -> torch.Tensor:
        side = round(self.size * self.min_dim / HEIGHT / 4)
        logits = torch.full_like(logits, -20.0)
        logits[:, 1:10] = 0.0
        logits[:, 10:, 1 : 1 + side, 1 : 1 + side] = 20.0
        return logits


@pytest.fixture(scope="module")
def matching() -> Hodor:
    config = msgspec.structs.replace(
        some_model("toy").config,
        matching=MatchingConfig(key_channels=8, colours=True),
        min_dim=128, max_dim=256, medium_min_dim=144, small_min_dim=160,
    )  # fmt: skip
    return Hodor(config).eval()


def growing(model: Hodor, **settings: Any) -> Growing:
    return Growing(model, device="cpu", precision="fp32", **settings)


def lines_of(segmenter: Growing, sizes: list[int]) -> list[int]:
    """The lines at which frames are processed while the object has these sizes."""
    found, frame = [], frames_of(1)[0]
    for segmenter.size in sizes:
        segmenter.step(frame)
        found.append(segmenter.min_dim)
    return found


def resolution_after(areas: list[float], frames: int, chosen: int) -> int:
    """The resolution (0 for large objects, 3 for tiny ones) after frames in which objects have these areas."""
    found = WorkingResolution(((288, 555), (360, 694), (432, 832), (576, 1110)), chosen)
    for _ in range(frames):
        geometry = found.geometry((480, 854))
        found = found.following([area * (found.min_dim / 288) ** 2 for area in areas], geometry)
    assert found.chosen is not None
    return found.chosen


@pytest.mark.parametrize(
    ("areas", "chosen", "after"),
    [
        ([500.0], 2, 0), ([500.0], 1, 0), ([300.0], 1, 1), ([300.0], 2, 1), ([90.0], 2, 2), ([20.0], 0, 2),
        ([100.0], 0, 1), ([130.0], 0, 0), ([35.0], 1, 1), ([1000.0, 28.0], 0, 2), ([500.0, 0.0], 2, 0), ([], 1, 1),
        ([1000.0, 10.0], 0, 3), ([10.0], 2, 3), ([40.0], 3, 3), ([60.0], 3, 2),
    ],
)  # fmt: skip
def test_objects_beyond_a_limit_for_some_frames_change_the_resolution(
    areas: list[float], chosen: int, after: int
) -> None:
    assert resolution_after(areas, 7, chosen) == chosen
    assert resolution_after(areas, 20, chosen) == after


def test_the_resolution_follows_an_object_that_grows_and_shrinks(matching: Hodor) -> None:
    segmenter = growing(matching)
    segmenter.step(frames_of(1)[0], {1: square(10, 10)})
    assert segmenter.min_dim == 160
    lines = lines_of(segmenter, [40] * 12)
    assert lines[0] == 160 and lines[-1] == 144 and sorted(lines, reverse=True) == lines
    assert lines_of(segmenter, [8] * 12)[-1] == 160


def test_an_object_that_is_hidden_for_a_moment_or_lost_keeps_the_resolution(matching: Hodor) -> None:
    segmenter = growing(matching)
    segmenter.step(frames_of(1)[0], {1: square(4, 4, 40)})
    assert set(lines_of(segmenter, [40, 40, *[8] * 5, 40, *[8] * 5, *[0] * 12])) == {128}


def test_a_resumed_run_changes_the_resolution_in_the_same_frame(matching: Hodor) -> None:
    whole, begun, resumed = (growing(matching) for _ in range(3))
    for segmenter in (whole, begun):
        segmenter.step(frames_of(1)[0], {1: square(10, 10)})
    expected = lines_of(whole, [40] * 12)
    before = lines_of(begun, [40] * 5)
    resumed.load_state(begun.state())
    assert before + lines_of(resumed, [40] * 7) == expected


def test_a_user_s_own_resolution_is_kept(matching: Hodor) -> None:
    segmenter = growing(matching, min_dim=64)
    segmenter.step(frames_of(1)[0], {1: square(10, 10)})
    assert set(lines_of(segmenter, [*[40] * 12, *[4] * 12])) == {64}


class GrowingOffline(Growing, OfflineSegmenter):
    """The same for videos whose masks are all known beforehand."""


@pytest.mark.parametrize(("marked", "last"), [((0,), 144), ((0, 11), 160)])
def test_a_plan_follows_the_size_unless_it_goes_in_both_directions(
    matching: Hodor, marked: tuple[int, ...], last: int
) -> None:
    segmenter = GrowingOffline(matching, device="cpu", precision="fp32")
    segmenter.size = 40
    found = list(follow(segmenter, frames_of(1) * 14, {frame: {1: square(10, 10)} for frame in marked}))
    assert segmenter.min_dim == last and len(found) == 14


def test_a_step_that_fails_does_not_choose_the_resolution(model: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = segmenter_of(model)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(segmenter.model, "encode", lambda *_: (_ for _ in ()).throw(MemoryError()))
        segmenter.step(frames_of(1)[0], {1: square(10, 10)})
    assert segmenter.min_dim == 64
    segmenter.step(frames_of(1)[0], {1: large()})
    assert segmenter.min_dim == 80


def test_both_directions_use_the_same_resolution(model: Hodor) -> None:
    segmenter = OfflineSegmenter(model, device="cpu", precision="fp32")
    found = list(follow(segmenter, frames_of(5), {0: {1: square(10, 10)}, 4: {1: large()}}))
    assert segmenter.min_dim == 96 and len(found) == 5
    assert any("the objects are small" in text for text in found[0].result.warnings)
    assert not any(one.result.warnings for one in found[1:])


def test_a_resumed_run_does_not_repeat_the_notice(model: Hodor) -> None:
    frames, given = frames_of(5), GivenMasks({0: {1: square(10, 10)}, 4: {1: large()}})
    segmenters = [OfflineSegmenter(model, device="cpu", precision="fp32") for _ in range(2)]
    for segmenter in segmenters:
        segmenter.plan(given.plan)
        encode_masks(segmenter, frames, given)
    segmenters[0].step(frames[0], given.at(0))
    assert segmenters[0].last.warnings
    segmenters[1].load_state(segmenters[0].state())
    segmenters[1].step(frames[1])
    assert not segmenters[1].last.warnings
