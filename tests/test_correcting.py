"""A further mask for a finished run: only its part of the video is read again, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from conftest import write_video
from segment_fakes import read_video
from segmenter_fakes import frames_of, make_model, square
from video_fakes import count_decoded

from hodor_cli.clicks.shapes import PromptedMask
from hodor_cli.errors import InputError, OutputError
from hodor_cli.images.label_png import read_label_png
from hodor_cli.model import Hodor
from hodor_cli.records import Click
from hodor_cli.run import correction
from hodor_cli.run.earlier import together
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.review_page import write_review_page
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunHooks, RunOutput, SegmentSettings
from hodor_cli.video.frames import Frame
from hodor_cli.video.source import open_source

COUNT, GROUP = 48, 8
FURTHER = 32


def labels(object_id: int, mask: np.ndarray) -> np.ndarray:
    return np.where(mask, object_id, 0).astype(np.uint16)


FIRST = {frame: labels(1, square(2 + frame // 8, 2 + frame // 2, 16)) for frame in (0, 24, 40)}
MORE = {FURTHER: labels(1, square(20, 40, 18))}


@pytest.fixture(scope="module")
def network() -> Hodor:
    return make_model("toy")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"g": str(GROUP), "x264-params": "scenecut=0"}
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames_of(COUNT), options=options)


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("results", "correction", "loop"):
            patch.setattr(f"hodor_cli.run.{module}.PIECE_FRAMES", GROUP)
        yield


def run(network: Hodor, clip: Path, out: Path, *, stop: int | None = None, overlay: bool = True, **given: Any) -> Any:
    def progress(done: int, total: int | None) -> None:
        assert total is not None and done <= total
        if done == stop:
            raise KeyboardInterrupt

    settings = SegmentSettings(min_dim=64, device="cpu", overlay=overlay)
    output = RunOutput(resume=given.pop("resume", False), checkpoint_seconds=0.0)
    hooks = RunHooks(progress=progress, on_step=given.pop("on_step", None))
    with open_source(clip) as source:
        return segment_source(source, RunInputs(**given), out, network, settings=settings, output=output, hooks=hooks)


@pytest.fixture(scope="module")
def finished(
    network: Hodor, clip: Path, short_pieces: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run with the first masks, and one with all."""
    folder = tmp_path_factory.mktemp("finished")
    run(network, clip, folder / "first", masks=FIRST)
    run(network, clip, folder / "once", masks=FIRST | MORE)
    return folder / "first", folder / "once"


@pytest.fixture
def out(finished: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0], tmp_path / "out"))


def contents(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((out / "masks").iterdir())}


def assert_same_result(out: Path, once: Path) -> None:
    assert not (out / ".progress").exists()
    assert contents(out) == contents(once)
    reports = [json.loads((folder / "report.json").read_text()) for folder in (out, once)]
    for key in ("frames", "masks", "objects", "review", "suggest"):
        assert reports[0][key] == reports[1][key], key
    for one, other in zip(read_video(out / "overlay.mp4"), read_video(once / "overlay.mp4"), strict=True):
        np.testing.assert_array_equal(one, other)
    times = [[packet.pts for packet in av.open(str(folder / "overlay.mp4")).demux()] for folder in (out, once)]
    assert times[0] == times[1]


def test_a_hook_is_told_of_the_frames_that_a_mask_changes_with_their_descriptors(
    network: Hodor, clip: Path, out: Path
) -> None:
    told: dict[int, list[int]] = {}

    def on_step(frame: Frame, _: object, segmenter: Any) -> None:
        told[frame.index] = list(segmenter.descriptors().objects)

    run(network, clip, out, masks=MORE, resume=True, on_step=on_step)
    assert told == {index: [1] for index in range(25, 40)}


def test_only_the_part_that_a_mask_changes_is_decoded_and_the_rest_stays_byte_for_byte(
    network: Hodor, clip: Path, out: Path, finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoded(monkeypatch)

    def paged(*arguments: Any) -> None:
        before_page = len(decoded)
        write_review_page(*arguments)
        del decoded[before_page:]  # which frames the page shows depends on the masks found

    monkeypatch.setattr("hodor_cli.run.finish.write_review_page", paged)
    before = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    summary = run(network, clip, out, masks=MORE, resume=True)
    # Forward the two pieces of the overlay with 25..39, backward 40..25, four masks, each from the keyframe before it,
    # and the first frame when the file is opened.
    assert 0 < len(decoded) <= 2 * GROUP + 1 + (16 + GROUP) + 4 * (GROUP + 1) + 1 < COUNT * 2
    assert summary.frames == COUNT and summary.resumed_from == COUNT - 2 * GROUP
    kept = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert {f"{frame:05d}.png" for frame in (*range(25), *range(40, COUNT))} <= {path.name for path in kept}
    assert_same_result(out, finished[1])


def test_without_an_overlay_too(network: Hodor, clip: Path, tmp_path: Path, finished: tuple[Path, Path]) -> None:
    run(network, clip, tmp_path / "out", masks=FIRST, overlay=False)
    assert run(network, clip, tmp_path / "out", masks=MORE, resume=True, overlay=False).resumed_from == COUNT - 16
    assert contents(tmp_path / "out") == contents(finished[1])


@pytest.mark.parametrize("stop", [5, 16 + 3, 16 + 11])
def test_until_a_correction_is_finished_the_earlier_result_stays(
    network: Hodor, clip: Path, out: Path, finished: tuple[Path, Path], stop: int
) -> None:
    before, report = contents(out), (out / "report.json").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(network, clip, out, masks=MORE, resume=True, stop=stop)
    assert contents(out) == before and (out / "report.json").read_bytes() == report
    run(network, clip, out, masks=MORE, resume=True)
    assert_same_result(out, finished[1])


def test_an_unfinished_correction_gives_way_to_another_one(
    network: Hodor, clip: Path, out: Path, finished: tuple[Path, Path]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(network, clip, out, masks={30: labels(1, square(1, 1, 20))}, resume=True, stop=20)
    run(network, clip, out, masks=MORE, resume=True)
    assert_same_result(out, finished[1])
    assert run(network, clip, out, masks=FIRST, resume=True).already_finished


@pytest.mark.parametrize("at", ["move_masks", "finish_run"])
def test_a_kill_while_masks_move_is_mended_by_resuming(
    network: Hodor, clip: Path, out: Path, finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    work, moved = getattr(correction, at), 0

    def killed(*arguments: Any, **options: Any) -> Any:
        nonlocal moved
        if at == "move_masks":  # in the middle of it
            replace = os.replace
            with pytest.MonkeyPatch.context() as context:

                def counting(*paths: Any) -> None:
                    nonlocal moved
                    moved += 1
                    if moved == 4:
                        raise KeyboardInterrupt
                    replace(*paths)

                context.setattr(os, "replace", counting)
                return work(*arguments, **options)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as context:
        context.setattr(correction, at, killed)
        with pytest.raises(KeyboardInterrupt):
            run(network, clip, out, masks=MORE, resume=True)
    assert not (out / "report.json").exists()
    with pytest.raises(OutputError, match="unfinished run"):
        run(network, clip, out, masks=MORE)
    assert run(network, clip, out, masks=MORE, resume=True).already_finished
    assert_same_result(out, finished[1])


def test_a_correction_that_cannot_be_made_leaves_the_result(network: Hodor, clip: Path, out: Path) -> None:
    before = contents(out)
    with pytest.raises(InputError, match="no frame 99"):
        run(network, clip, out, masks={99: labels(1, square(1, 1, 20))}, resume=True)
    assert contents(out) == before and (out / "report.json").exists() and not (out / ".progress").exists()


def test_what_differs_is_named_before_the_earlier_inputs_are_missed(network: Hodor, clip: Path, tmp_path: Path) -> None:
    settings, given = SegmentSettings(min_dim=64, device="cpu", overlay=False), RunInputs(FIRST, removals={44: [1]})
    for end, resume in ((None, False), (10, True)):
        with open_source(clip, end=end) as source:
            if not resume:
                segment_source(source, given, tmp_path / "out", network, settings=settings)
                continue
            with pytest.raises(OutputError, match=r"the source's end \(default then, 10 now\);"):
                output = RunOutput(resume=True)
                segment_source(source, RunInputs(), tmp_path / "out", network, settings=settings, output=output)


def test_a_correction_works_in_the_resolution_of_the_run(clip: Path, tmp_path: Path) -> None:
    network = make_model("toy")
    network.config = msgspec.structs.replace(network.config, small_min_dim=96)
    settings, large = SegmentSettings(device="cpu", overlay=False), labels(1, np.ones((48, 64), bool))
    large[:4] = 0

    def result(name: str, *runs: dict[int, np.ndarray]) -> dict[str, bytes]:
        for position, masks in enumerate(runs):
            with open_source(clip, end=12) as source:
                output = RunOutput(resume=position > 0)
                segment_source(source, RunInputs(masks), tmp_path / name, network, settings=settings, output=output)
        return contents(tmp_path / name)

    given = {
        0: labels(1, square(2, 2, 4)),
        3: large,
        9: large,
    }  # the masks beside the further one alone would ask for the coarse resolution
    assert result("once", given | {6: large[::-1]}) == result("twice", given, {6: large[::-1]})


def test_a_result_that_lacks_frames_is_not_corrected(network: Hodor, clip: Path, out: Path) -> None:
    report = json.loads((out / "report.json").read_text())
    del report["frames"][30]
    (out / "report.json").write_text(json.dumps(report))
    with pytest.raises(OutputError, match=f"has masks of {COUNT - 1} frames"):
        run(network, clip, out, masks=MORE, resume=True)
    assert (out / "report.json").exists() and not (out / ".progress").exists()


# --- what is given now and what was given then


def test_what_is_given_now_counts_object_by_object() -> None:
    a, b = square(2, 2), square(4, 40)
    then = RunInputs(
        masks={0: labels(1, a) + labels(2, b), 5: labels(1, a)},
        boxes={5: {3: (1, 1, 5, 5)}},
        clicks={7: {4: [Click(3, 3)]}},
        removals={9: [1, 2]},
        appears={3: 5},
    )
    now = RunInputs(
        masks={0: labels(1, square(20, 20)), 9: labels(2, b), 3: labels(3, a)},
        boxes={7: {4: (2, 2, 9, 9)}},
        removals={5: [1]},
    )
    both = together(then, now)
    np.testing.assert_array_equal(both.labels(0), labels(1, square(20, 20)) + labels(2, b))
    assert sorted(both.masks) == [0, 3, 9]  # object 1 is not there in frame 5 any more
    assert both.removals == {5: (1,), 9: (1,)} and both.boxes == {5: {3: (1, 1, 5, 5)}, 7: {4: (2, 2, 9, 9)}}
    assert both.clicks == {} and both.appears == {}


def test_clicks_given_now_correct_the_box_that_was_given_then() -> None:
    both = together(RunInputs(boxes={5: {3: (1, 1, 5, 5)}}), RunInputs(clicks={5: {3: [Click(3, 3)]}}))
    assert both.boxes == {5: {3: (1, 1, 5, 5)}} and both.clicks == {5: {3: (Click(3, 3),)}}


def test_a_box_leaves_the_objects_that_its_mask_covers(
    network: Hodor, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(network, clip, out, overlay=False, masks={0: labels(1, square(2, 2, 16)) + labels(2, square(24, 40, 12))})
    before = read_label_png(out / "masks" / f"{FURTHER:05d}.png")
    assert (before == 2).any()
    body = (before == 2) | square(2, 2, 30)
    monkeypatch.setattr(
        "hodor_cli.run.inputs.masks_from_prompts", lambda *_: {1: PromptedMask(body, np.zeros(body.shape))}
    )
    run(network, clip, out, overlay=False, boxes={FURTHER: {1: (2, 2, 50, 40)}}, resume=True)
    after = read_label_png(out / "masks" / f"{FURTHER:05d}.png")
    assert np.array_equal(after == 2, before == 2)
    assert np.array_equal(after == 1, body & (before != 2))
