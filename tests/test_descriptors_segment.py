"""`hodor segment` with descriptors: saving them in the same pass, starting from saved ones, and what drift reports."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from command import hodor, refused
from conftest import write_video
from descriptor_helpers import clip, clustered_store, toy_model

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.search.projection_training import ObjectViews, fit_projection
from hodor_cli.descriptors.session.recognition import Recognition
from hodor_cli.descriptors.session.session import DescriptorSession
from hodor_cli.descriptors.session.watches import DriftMonitor, background_step
from hodor_cli.engine import FrameDescriptors, ObjectResult, Segmenter, StepResult
from hodor_cli.errors import UsageError
from hodor_cli.images.label_png import write_label_png
from hodor_cli.weights.checkpoint import save_checkpoint


def test_segment_saves_descriptors_and_starts_from_them(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "toy.safetensors", toy_model(), {})
    frames, labels = clip()
    write_video(tmp_path / "clip.mp4", frames)
    write_label_png(tmp_path / "mask.png", labels[0])

    def run(*arguments: str) -> str:
        return hodor("segment", *arguments, "--weights", "toy.safetensors").output

    def wrong(*arguments: str) -> str:
        return refused("segment", *arguments, "--weights", "toy.safetensors", "-o", "x")

    output = run("clip.mp4", "--mask", "mask.png", "--descriptors", "objects.h5")
    assert "descriptors added" in output, output
    with DescriptorStore("objects.h5") as store:
        rows = store.rows("clip")
        assert rows.frame[0] == 0 and rows.object_id[:2].tolist() == [1, 2]
        assert len(store.background("clip")[1]) == 6
    output = run("clip.mp4", "--from", "objects.h5#clip/2", "-o", "again", "--descriptors", "more.h5")
    assert "Object 2: clip/2 of the descriptor file" in output
    assert "clip/2 of the descriptor file objects.h5\n" in output
    twice = wrong("clip.mp4", "--from", "objects.h5#clip", "--from", "objects.h5#clip/2")
    assert "clip/2 of the descriptor file objects.h5 is named twice" in twice
    assert "leave out one" in wrong("clip.mp4", "--from", "objects.h5#clip/2", "--adapt", "1steps")
    report = json.loads((tmp_path / "again" / "report.json").read_text())
    assert list(report["objects"]) == ["2"] and "objects.h5#clip/2 sha256:" in report["settings"]["start_from"]
    unlike = sum(
        1 + item["last_frame"] - item["first_frame"] for item in report["review"] if "unlike" in item["reason"]
    )
    present = report["objects"]["2"]["frames_present"]
    assert ("Object 2 is probably not in this video" in output) == (2 * unlike > present or not present), output
    (tmp_path / "objects.h5").rename("kept.h5")  # the same objects
    finished = run("clip.mp4", "--from", f"{tmp_path}/kept.h5#clip/2", "-o", "again", "--resume")
    (tmp_path / "kept.h5").rename("objects.h5")
    assert "is finished already" in finished and "probably not" not in finished
    again = ("segment", "clip.mp4", "-o", "again", "--resume", "--weights", "toy.safetensors")
    said = refused(*again, "--click", "0:2=9,9")
    assert "started from saved objects (--from)" in said and "hodor annotate again, or start again with --over" in said
    said = refused(*again, "--name", "2=cup")
    assert "--from (objects.h5#clip/2 sha256:" in said and " then, none now)" in said
    for given in (("--mask", "mask.png"), ("--box", "5,5,20,20"), ("--click", "9,9")):
        said = wrong("clip.mp4", *given, "--from", "objects.h5#clip/2")
        assert "--from gives the objects to follow; leave out --mask, --box and --click, or --from" in said
    assert "no object 9" in wrong("clip.mp4", "--from", "objects.h5#clip/9")
    clustered_store(tmp_path / "other.h5")
    assert "saved with other weights; give those as --weights" in wrong("clip.mp4", "--from", "other.h5#v0/1")
    assert not (tmp_path / "x").exists()
    # The result folder can be exported afterwards: it knows where its video is.
    result = hodor("export-descriptors", "clip.hodor", "-o", "later.h5", "--weights", "toy.safetensors")
    assert "clip:" in result.output, result.output


def test_a_renamed_video_takes_the_place_of_its_earlier_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "toy.safetensors", toy_model(), {})
    frames, labels = clip(2)
    write_video(tmp_path / "old.mp4", frames)
    write_label_png(tmp_path / "mask.png", labels[0])

    def run(video: str) -> str:
        options = ("--mask", "mask.png", "--weights", "toy.safetensors", "--descriptors", "objects.h5")
        return hodor("segment", video, *options).output

    run("old.mp4")
    (tmp_path / "old.mp4").rename("new.mp4")
    assert "descriptors added, in place of old, which was renamed" in run("new.mp4")
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "new.mp4").read_bytes())
    assert "in place of" not in run("copy.mp4")
    with DescriptorStore("objects.h5") as store:
        assert store.videos == ["copy", "new"]


def scene(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(9, 16))


def kinds(monitor: DriftMonitor, frames: list[tuple[dict[int, np.ndarray], np.ndarray]]) -> list[tuple[str, int]]:
    return [
        (e.kind, e.frame) for k, (objects, background) in enumerate(frames) for e in monitor.add(k, objects, background)
    ]


class FakeSegmenter:
    """Gives one descriptor for object 1."""

    def __init__(self, descriptor: np.ndarray) -> None:
        self.descriptor = descriptor

    def descriptors(self) -> FrameDescriptors:
        return FrameDescriptors({1: self.descriptor}, None)


def test_it_is_said_when_a_saved_object_is_not_there(looks: tuple[np.ndarray, np.ndarray]) -> None:
    result = StepResult(np.zeros((2, 2), np.uint16), {1: ObjectResult(4, 0.9, False)})
    lost = StepResult(np.zeros((2, 2), np.uint16), {1: ObjectResult(0, 0.0, True)})
    there, other = FakeSegmenter(looks[0] + 0.05), FakeSegmenter(looks[1])

    def watch(*steps: tuple[StepResult, FakeSegmenter]) -> Recognition:
        recognition = Recognition({1: looks[0][None]}, scene(0))
        for step, segmenter in steps:
            recognition.review(None, step, segmenter)  # type: ignore[arg-type]
        return recognition

    assert watch((result, there), (result, there), (result, other)).unrecognised() == {}
    assert watch((result, there), (result, other), (result, other)).unrecognised() == {1: (1, 3)}
    assert watch((lost, there)).unrecognised() == {1: (0, 0)}
    said = Recognition({1: looks[0][None]}, scene(0)).review(None, result, other)  # type: ignore[arg-type]
    assert said[0][1] == "unlike the saved object"
    again = Recognition({1: looks[0][None]}, scene(0))
    again.load_state(watch((result, other), (result, there)).state())
    again.review(None, result, other)  # type: ignore[arg-type]
    assert again.unrecognised() == {1: (1, 3)}
    again.limit *= 2
    with pytest.raises(UsageError, match="the run began with another `projection`; give that one"):
        again.load_state(watch((result, other)).state())


def test_a_session_removes_only_its_own_watches() -> None:
    segmenter = Segmenter(toy_model(), device="cpu")
    segmenter.watches["mine"] = DriftMonitor()
    with DescriptorSession(segmenter):
        assert list(segmenter.watches) == ["mine", "drift"]
    assert list(segmenter.watches) == ["mine"]


def test_the_projection_tells_objects_apart_that_descriptors_do_not(looks: tuple[np.ndarray, np.ndarray]) -> None:
    class FakeTap:
        def __init__(self, features: np.ndarray) -> None:
            self.features = features

        def means(self, masks: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
            return dict.fromkeys(masks, self.features)

    rng = np.random.default_rng(0)
    same = rng.normal(size=4)
    other = -same
    instance = np.repeat(np.arange(20), 4)
    baseline = rng.normal(size=(20, 4))[instance] + 0.05 * rng.normal(size=(80, 4))
    views = ObjectViews(rng.normal(size=(80, 16)).astype(np.float32), baseline.astype(np.float32), instance)
    result = StepResult(np.ones((2, 2), np.uint16), {1: ObjectResult(4, 0.9, False)})
    for features, alike in ((same, True), (other, False)):
        recognition = Recognition(
            {1: looks[0][None]},
            scene(0),
            baseline={1: same[None]},
            projection=fit_projection(views, "f" * 64),
            tap=FakeTap(features),  # type: ignore[arg-type]
        )
        said = recognition.review(None, result, FakeSegmenter(looks[0]))  # type: ignore[arg-type]
        assert (bool(said), bool(recognition.unrecognised())) == (not alike, not alike)


@pytest.fixture
def looks() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=16), rng.normal(size=16)


def steady(seed: int, count: int, objects: dict[int, np.ndarray]) -> list[tuple[dict[int, np.ndarray], np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        (
            {key: value + 0.05 * rng.normal(size=16) for key, value in objects.items()},
            scene(0) + 0.05 * rng.normal(size=(9, 16)),
        )
        for _ in range(count)
    ]


def test_a_quiet_video_gives_no_events(looks: tuple[np.ndarray, np.ndarray]) -> None:
    assert kinds(DriftMonitor(), steady(0, 40, {1: looks[0], 2: looks[1]})) == []


def test_swapped_ids_are_seen_while_they_last(looks: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = {1: looks[0], 2: looks[1]}, {1: looks[1], 2: looks[0]}
    found = kinds(DriftMonitor(), steady(0, 10, first) + steady(1, 6, second) + steady(2, 6, first))
    assert {frame for kind, frame in found if kind == "swapped"} == {12, 13, 14, 15}


def test_two_ids_of_one_object_are_seen(looks: tuple[np.ndarray, np.ndarray]) -> None:
    found = kinds(DriftMonitor(), steady(0, 10, {1: looks[0], 2: looks[1]}) + steady(1, 5, {1: looks[0], 2: looks[0]}))
    assert ("same", 14) in found and ("same", 9) not in found


def test_a_saved_state_goes_on_as_if_nothing_happened(looks: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = {1: looks[0], 2: looks[1]}, {1: looks[1], 2: looks[0]}
    frames = steady(0, 10, first) + steady(1, 6, second) + [(second, scene(9))] + steady(2, 3, second)
    whole = kinds(DriftMonitor(), frames)
    for cut in (0, 3, 11, 13, 17):
        before, after = DriftMonitor(), DriftMonitor()
        found = kinds(before, frames[:cut])
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **before.state())
        buffer.seek(0)
        after.load_state(dict(np.load(buffer, allow_pickle=False)))
        rest = [
            (event.kind, event.frame)
            for number, (objects, background) in enumerate(frames[cut:], start=cut)
            for event in after.add(number, objects, background)
        ]
        assert found + rest == whole


def test_a_cut_is_seen_once(looks: tuple[np.ndarray, np.ndarray]) -> None:
    quiet = steady(0, 20, {1: looks[0]})
    after = [(objects, background - scene(0) + scene(9)) for objects, background in steady(1, 20, {1: looks[0]})]
    assert kinds(DriftMonitor(), quiet + after) == [("cut", 20)]
    assert background_step(scene(0), scene(0)) == 0
