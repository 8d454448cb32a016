"""Adapting a network to the frames whose masks were given."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from command import hodor
from conftest import moving_square, write_video

import hodor_cli
from hodor_cli import RunInputs, SegmentOptions, SegmentSettings, SegmentSummary, open_source, segment, segment_source
from hodor_cli.adaptation.adapt import adapt
from hodor_cli.adaptation.examples import Example, followed_after
from hodor_cli.adaptation.settings import AdaptProgress, AdaptSettings, Budget
from hodor_cli.cli.lazy import fill_optional_values
from hodor_cli.engine import Segmenter
from hodor_cli.engine.step_result import ObjectResult, StepResult
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import read_label_png, write_label_png
from hodor_cli.model import Hodor, build_model
from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.many.run import WorkOptions, segment_job
from hodor_cli.run.runner import UNADAPTED
from hodor_cli.weights.checkpoint import model_fingerprint, save_checkpoint


@pytest.fixture(scope="module")
def toy() -> Hodor:
    torch.manual_seed(3)
    return Hodor(build_model("toy").config).eval()


@pytest.fixture(scope="module")
def example() -> Example:
    frames, masks = moving_square(1)
    return Example(frames[0], masks[0].astype(np.uint16) * 9)


def test_adapting_lowers_the_loss_and_leaves_the_given_network_alone(toy: Hodor, example: Example) -> None:
    before, random_state = model_fingerprint(toy), torch.get_rng_state()
    seen: list[AdaptProgress] = []
    adapted = adapt(toy, [example], AdaptSettings(Budget(steps=40)), progress=seen.append)
    assert model_fingerprint(toy) == before != model_fingerprint(adapted)
    assert torch.equal(torch.get_rng_state(), random_state)  # the caller's, too
    assert [state.steps for state in seen] == list(range(1, 41))
    assert seen[-1].share == 1.0
    assert np.mean([s.loss for s in seen[-10:]]) < np.mean([s.loss for s in seen[:10]])


def test_an_adapted_network_is_found_again(toy: Hodor, example: Example, tmp_path: Path) -> None:
    steps: list[AdaptProgress] = []
    first = adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    again = adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 2
    assert model_fingerprint(first) == model_fingerprint(again)
    next(tmp_path.glob("*.safetensors")).write_bytes(b"damaged")
    for _ in range(2):  # made anew, and then found
        adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 4
    adapt(toy, [example], AdaptSettings(Budget(steps=1)), cache=next(tmp_path.glob("*")) / "not a folder")
    steps.clear()
    other = Example(example.frame, np.roll(example.labels, 3, axis=1))
    adapt(toy, [other], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 2


def test_a_network_that_other_code_adapted_is_not_found_again(
    toy: Hodor, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[AdaptProgress] = []
    package = tmp_path / "hodor_cli"
    package.mkdir()
    monkeypatch.setattr(hodor_cli, "__file__", str(package / "__init__.py"))
    for code in ("new", "new", "newer"):
        (package / "loss.py").write_text(code)
        adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 4  # the second time it was found
    monkeypatch.setattr(hodor_cli, "__version__", "9.9")
    adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 6


def test_a_network_adapted_in_bfloat16_learns_too_and_is_another_one(
    toy: Hodor, example: Example, tmp_path: Path
) -> None:
    fingerprints = set()
    for precision in ("fp32", "bf16"):
        seen: list[AdaptProgress] = []
        settings = AdaptSettings(Budget(steps=40), precision=precision)
        adapted = adapt(toy, [example], settings, cache=tmp_path, progress=seen.append)
        assert len(seen) == 40  # not the other one's, out of the cache
        assert all(parameter.dtype == torch.float32 for parameter in adapted.parameters())
        assert np.mean([s.loss for s in seen[-10:]]) < np.mean([s.loss for s in seen[:10]])
        fingerprints.add(model_fingerprint(adapted))
    assert len(fingerprints) == 2


@dataclass(frozen=True)
class _Told:
    """What the given network says of its objects: as sure as this of them, and this much changed."""

    confidence: float
    change: float

    def __call__(self, segmenter: Segmenter, frame: np.ndarray, masks: object = None, **_: object) -> None:
        change = self.change if masks is None else None
        one = ObjectResult(area=9, confidence=self.confidence, lost=False, change=change)
        segmenter.last = StepResult(np.zeros((64, 64), np.uint16), {1: one})


@pytest.mark.parametrize(
    ("told", "blend"),
    [
        (_Told(0.97, 0.1), 0.8),  # the objects stay as they are: as usual
        (_Told(0.97, 0.4), 0.4),  # they change: half as far
        (_Told(0.97, 0.6), 0.0),  # they become something else, and the given network knows it
        (_Told(0.83, 0.6), 0.8),  # it does not know them, so its view of the change counts nothing
    ],
)
def test_the_more_objects_change_the_less_their_first_look_is_learned(
    toy: Hodor, example: Example, monkeypatch: pytest.MonkeyPatch, told: _Told, blend: float
) -> None:
    monkeypatch.setattr(Segmenter, "step", lambda *parts, **more: told(*parts, **more))
    seen: list[AdaptProgress] = []
    followed = Example(example.frame, example.labels, [example.frame] * 3)
    adapted = adapt(toy, [followed], AdaptSettings(Budget(steps=2)), progress=seen.append)
    assert seen[-1].blend == pytest.approx(blend)
    assert (model_fingerprint(adapted) == model_fingerprint(toy)) == (blend == 0)
    assert seen[-1].steps == (2 if blend else 0)  # what would not be used is not learned


def test_the_frames_that_follow_are_looked_at_before_any_step(toy: Hodor) -> None:
    frames, masks = moving_square(5)
    example = Example(frames[0], masks[0].astype(np.uint16) * 9, frames[1:])
    seen: list[AdaptProgress] = []
    adapted = adapt(toy, [example], AdaptSettings(Budget(steps=4)), progress=seen.append)
    assert [state.steps for state in seen][:4] == [0, 0, 0, 0]
    assert [state.share for state in seen] == sorted(state.share for state in seen)
    assert all(parameter.requires_grad for parameter in adapted.parameters())


def test_frames_are_looked_at_after_each_mask_up_to_the_next() -> None:
    assert followed_after([0]) == {0: list(range(3, 93, 3))}
    assert followed_after([5], 12) == {5: [8, 11]}
    several = followed_after([0, 10, 100])
    assert several[0] == [3, 6, 9] and several[10][-1] < 100
    assert sum(map(len, followed_after(list(range(0, 2000, 100))).values())) == 40


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_without_object_or_background_is_refused(toy: Hodor, example: Example, value: int) -> None:
    labels = np.full_like(example.labels, value)
    with pytest.raises(InputError, match="empty" if value == 0 else "covers its frame"):
        adapt(toy, [Example(example.frame, labels)], AdaptSettings(Budget(steps=1)))


@pytest.mark.parametrize(
    ("text", "budget"), [("60", Budget(60.0)), ("1.5s", Budget(1.5)), ("30steps", Budget(None, 30))]
)
def test_budget_is_read(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["0", "-3s", "0steps", "soon"])
def test_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`adapt`"):
        Budget.parse(text)


def test_adapt_may_stand_alone_or_with_a_budget() -> None:
    assert fill_optional_values(["a.mp4", "--adapt"]) == ["a.mp4", "--adapt", "60s"]
    assert fill_optional_values(["--adapt", "a.mp4", "-o", "x"]) == ["--adapt", "60s", "a.mp4", "-o", "x"]
    assert fill_optional_values(["--adapt", "20s", "a.mp4"]) == ["--adapt", "20s", "a.mp4"]
    assert fill_optional_values(["a.mp4", "--adapt", "5step"]) == ["a.mp4", "--adapt", "5step"]
    assert Budget.parse("200 steps") == Budget(steps=200)
    assert fill_optional_values(["--adapt", "-5"]) == ["--adapt", "-5"]


@pytest.mark.parametrize("source", ["2024_clip.mp4", "0", "60", "20steps.mp4", "1s.mp4", "7"])
def test_adapt_alone_never_takes_the_video_for_its_value(source: str) -> None:
    assert fill_optional_values(["--adapt", source]) == ["--adapt", "60s", source]


@pytest.mark.parametrize(("lines", "used"), [(128, (96, 192)), (64, (64, 128))])
def test_segment_command_adapts_first_at_more_lines_if_the_video_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, used: tuple[int, int]
) -> None:
    toy = Hodor(msgspec.structs.replace(build_model("toy").config, adapted_min_dim=96))
    frames, masks = moving_square(4, height=lines, width=2 * lines)
    video = write_video(tmp_path / "clip.mp4", frames)
    write_label_png(tmp_path / "mask.png", masks[0].astype(np.uint16))
    save_checkpoint(tmp_path / "toy.safetensors", toy)
    monkeypatch.setenv("HODOR_CACHE_DIR", str(tmp_path / "cache"))
    weights = str(tmp_path / "toy.safetensors")
    command = ["segment", str(video), "--mask", str(tmp_path / "mask.png"), "--weights", weights]
    hodor(*command, "-o", tmp_path / "out", "--adapt", "2steps")
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    assert read_label_png(tmp_path / "out" / "masks" / "00003.png").shape == masks[0].shape
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["settings"]["min_dim"], report["settings"]["max_dim"]) == used
    assert report["settings"]["adapt"] == "2steps"
    again = SegmentOptions(weights=weights, adapt="2steps", resume=True)
    assert segment(video, mask=tmp_path / "mask.png", out=tmp_path / "out", options=again).already_finished
    hodor(*command, "-o", tmp_path / "other", "--adapt=0", code=2)
    assert not (tmp_path / "other").exists()


def test_every_run_whose_settings_say_so_adapts_and_warns_if_the_network_stays_as_it_is(
    tmp_path: Path, toy: Hodor, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, masks = moving_square(4)
    video, mask, weights = (
        write_video(tmp_path / "clip.mp4", frames),
        tmp_path / "mask.png",
        tmp_path / "toy.safetensors",
    )
    write_label_png(mask, masks[0].astype(np.uint16))
    save_checkpoint(weights, toy)
    monkeypatch.setenv("HODOR_CACHE_DIR", str(tmp_path / "cache"))
    settings = SegmentSettings(weights=str(weights), adapt="2steps")

    def run(out: Path) -> SegmentSummary:
        with open_source(video) as source:
            return segment_source(source, RunInputs({0: masks[0].astype(np.uint16)}), out, toy, settings=settings)

    assert not run(tmp_path / "library").warnings
    report = json.loads((tmp_path / "library" / "report.json").read_text())
    assert report["weights"]["fingerprint"] != model_fingerprint(toy)
    monkeypatch.setattr("hodor_cli.adaptation.adapt.trust_in", lambda *_: 0.0)
    settings = dataclasses.replace(settings, adapt="3steps")
    assert run(tmp_path / "same").warnings == (UNADAPTED,)
    job = segment_job(VideoJob("clip", video, mask), WorkOptions(tmp_path / "many", settings=settings))
    assert not job.error and job.warnings == (UNADAPTED,)  # also if the network comes from the cache
    alone = hodor("segment", video, "--mask", mask, "--weights", weights, "-o", tmp_path / "one", "--adapt", "3steps")
    assert alone.output.count("the network stays as it is") == 1
