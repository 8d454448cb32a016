"""Looking ahead: a second thread extracts the next frame's maps, and the result is the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from operator import itemgetter

import numpy as np
import pytest
import torch
from conftest import moving_square
from segmenter_fakes import segmenter_for, some_model

from hodor_cli.descriptors.export.encode import FeatureTap
from hodor_cli.engine import Segmenter
from hodor_cli.engine.ahead import LookAhead
from hodor_cli.errors import InputError
from hodor_cli.model import Maps


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def numbered(count: int) -> list[tuple[int, np.ndarray]]:
    return list(enumerate(moving_square(count)[0]))


def labels_of(segmenter: Segmenter, frames: list[tuple[int, np.ndarray]], *, ahead: bool) -> list[np.ndarray]:
    """The label maps of a clip whose object starts in its first frame, and another one in its fourth."""
    first = moving_square(1)[1][0].astype(np.uint16)
    given = {0: first, 3: np.roll(first, 20, axis=1) * 2}
    segmenter.reset()
    with LookAhead(frames, segmenter if ahead else None, itemgetter(1)) as items:
        return [segmenter.step(frame, given.get(index)) for index, frame in items]


@pytest.mark.parametrize("name", ["toy", "mini"])
def test_the_label_maps_are_those_without_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = segmenter_for(some_model(name), precision="fp32")
    frames = numbered(14)  # the recent frame is exchanged on the way
    wanted = labels_of(segmenter, frames, ahead=False)
    in_main: list[bool] = []
    plain = segmenter.model.extract

    def recording(frame: torch.Tensor) -> Maps:
        in_main.append(threading.current_thread() is threading.main_thread())
        return plain(frame)

    monkeypatch.setattr(segmenter.model, "extract", recording)
    found = labels_of(segmenter, frames, ahead=True)
    different = sum(np.count_nonzero(a != b) for a, b in zip(wanted, found, strict=True))
    assert different <= 1e-3 * wanted[0].size and any(labels.any() for labels in wanted[1:])
    # Nothing is known of the size before the first step, and each frame is extracted once.
    assert in_main.count(True) == 2 and len(in_main) == len(frames)


def test_the_features_of_a_run_are_those_of_its_newest_frame() -> None:
    segmenter, frames, found = segmenter_for(some_model("mini"), precision="fp32"), numbered(5), []
    for ahead in (False, True):
        segmenter.reset()
        tap = FeatureTap(segmenter)
        first = moving_square(1)[1][0]
        with LookAhead(frames, segmenter if ahead else None, itemgetter(1)) as items:
            rows = []
            for index, frame in items:
                segmenter.step(frame, first.astype(np.uint16) if index == 0 else None)
                rows.append(tap.means({1: first > 0})[1])
        tap.close()
        found.append(np.stack(rows))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert np.abs(np.diff(found[0], axis=0)).max() > 1e-2


def test_threads_are_shared_within_the_block_and_given_back() -> None:
    segmenter = segmenter_for(some_model("toy"))
    with LookAhead(numbered(2), segmenter, itemgetter(1)) as items:
        assert items.threads == 2 and torch.get_num_threads() == 1
        list(items)
    assert torch.get_num_threads() == 2 and segmenter.network.second is None


def test_with_one_thread_nothing_is_done_ahead() -> None:
    torch.set_num_threads(1)
    segmenter = segmenter_for(some_model("toy"))
    with LookAhead(numbered(2), segmenter, itemgetter(1)) as items:
        assert items.threads == 1 and segmenter.network.second is None


def test_an_error_of_the_frames_comes_after_the_frame_before_it() -> None:
    def broken() -> Iterator[tuple[int, np.ndarray]]:
        yield from numbered(3)
        raise InputError("frame 3 cannot be read")

    seen = []
    with (
        pytest.raises(InputError, match="frame 3"),
        LookAhead(broken(), segmenter_for(some_model("toy")), itemgetter(1)) as items,
    ):
        for index, _ in items:
            seen.append(index)
    assert seen == [0, 1, 2]


def test_frames_that_are_left_out_do_not_confuse_it() -> None:
    segmenter, frames = segmenter_for(some_model("mini"), precision="fp32"), numbered(8)
    kept = [0, 1, 3, 4, 7]
    first = moving_square(1)[1][0].astype(np.uint16)
    segmenter.reset()
    wanted = [segmenter.step(frames[index][1], first if index == 0 else None) for index in kept]
    segmenter.reset()
    with LookAhead(frames, segmenter, itemgetter(1)) as items:
        found = [segmenter.step(frame, first if index == 0 else None) for index, frame in items if index in kept]
    assert sum(np.count_nonzero(a != b) for a, b in zip(wanted, found, strict=True)) <= 1e-3 * first.size
