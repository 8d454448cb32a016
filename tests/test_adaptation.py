"""Adapting a network to the frames whose masks were given."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from conftest import MakeVideo, moving_square
from typer.testing import CliRunner

from hodor_cli.cli import app
from hodor_cli.cli.lazy import fill_lone_options
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import read_label_png, write_label_png
from hodor_cli.model import Hodor, build_model
from hodor_cli.training import adaptation
from hodor_cli.training.adapt_settings import AdaptProgress, AdaptSettings, Budget
from hodor_cli.training.adaptation import adapt
from hodor_cli.training.agreement import CycleTest, Example
from hodor_cli.training.launch import Process
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
    before = model_fingerprint(toy)
    seen: list[AdaptProgress] = []
    adapted = adapt(toy, [example], AdaptSettings(Budget(steps=40)), progress=seen.append)
    assert model_fingerprint(toy) == before != model_fingerprint(adapted)
    assert [state.steps for state in seen] == list(range(1, 41))
    assert seen[-1].share == 1.0
    assert np.mean([s.loss for s in seen[-10:]]) < np.mean([s.loss for s in seen[:10]])


def test_an_adapted_network_is_found_again(toy: Hodor, example: Example, tmp_path: Path) -> None:
    steps: list[AdaptProgress] = []
    first = adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    again = adapt(toy, [example], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 2
    assert model_fingerprint(first) == model_fingerprint(again)
    other = Example(example.frame, np.roll(example.labels, 3, axis=1))
    adapt(toy, [other], AdaptSettings(Budget(steps=2)), cache=tmp_path, progress=steps.append)
    assert len(steps) == 4


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


def test_the_cycle_goes_there_and_back(toy: Hodor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "_COLLAPSE", 2.0)  # an untrained network may seem to collapse at once
    frames, masks = moving_square(5)
    example = Example(frames[0], masks[0].astype(np.uint16) * 9)
    seen: list[AdaptProgress] = []
    settings = AdaptSettings(Budget(steps=4))
    adapted = adapt(toy, [example], settings, frames=frames[1:], progress=seen.append)
    assert list(dict.fromkeys(state.steps for state in seen)) == [0, 1, 2, 3, 4]  # the cycle's frames are told, too
    assert [state.share for state in seen] == sorted(state.share for state in seen)
    assert seen[-1].cycle is not None
    assert 0 <= seen[-1].cycle <= 1
    assert seen[-1].blend in (0.0, 0.5, 0.8, 1.0)
    assert all(parameter.requires_grad for parameter in adapted.parameters())


@pytest.mark.parametrize(
    ("ious", "blend", "steps"),
    [
        ([0.9, 0.3, 0.5, 0.4, 0.2], 0.0, 2),  # what was given is better, and learning stops half-way
        ([0.9, 0.85, 0.5, 0.4, 0.2], 0.0, 4),
        ([0.5, 0.6, 0.7, 0.7, 0.7], 0.8, 4),  # a tie: as usual
        ([0.5, 0.9, 0.6, 0.6, 0.6], 0.8, 4),  # half-way was best
        ([0.7, 0.7, 0.705, 0.7, 0.7], 0.8, 4),  # too little to tell
    ],
)
def test_adaptation_goes_as_far_as_the_cycle_says(
    toy: Hodor, example: Example, monkeypatch: pytest.MonkeyPatch, ious: list[float], blend: float, steps: int
) -> None:
    answers = iter(ious)
    monkeypatch.setattr(CycleTest, "iou", lambda self, model: next(answers))
    seen: list[AdaptProgress] = []
    adapted = adapt(toy, [example], AdaptSettings(Budget(steps=4)), frames=[example.frame], progress=seen.append)
    assert (seen[-1].blend, seen[-1].steps) == (blend, steps)
    assert (model_fingerprint(adapted) == model_fingerprint(toy)) == (blend == 0.0)


def test_the_cycle_compares_every_frame_of_both_ways(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the object stands still; on the way back it does too, or is lost after one frame."""
    cycle = CycleTest(example, [example.frame] * 3, (64, 128), Process())
    for kept, iou in ((4, 1.0), (2, 1 / 3), (1, 0.0)):
        ways = iter([[example.labels] * 4, [example.labels] * kept + [example.labels * 0] * (4 - kept)])
        monkeypatch.setattr(CycleTest, "follow", lambda self, model, frames, labels, ways=ways: next(ways))
        assert cycle.iou(build_model("toy")) == pytest.approx(iou)


def test_learning_continues_as_if_nothing_had_been_tried(
    toy: Hodor, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = AdaptSettings(Budget(steps=4))
    monkeypatch.setattr(CycleTest, "iou", lambda self, model: 0.5)
    tried = adapt(toy, [example], settings, frames=[example.frame])
    assert model_fingerprint(tried) == model_fingerprint(adapt(toy, [example], settings))


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_without_object_or_background_is_refused(toy: Hodor, example: Example, value: int) -> None:
    labels = np.full_like(example.labels, value)
    with pytest.raises(InputError, match="empty" if value == 0 else "covers the whole frame"):
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
    lone = {"--adapt": "60s"}
    assert fill_lone_options(["a.mp4", "--adapt"], lone) == ["a.mp4", "--adapt", "60s"]
    assert fill_lone_options(["--adapt", "a.mp4", "-o", "x"], lone) == ["--adapt", "60s", "a.mp4", "-o", "x"]
    assert fill_lone_options(["--adapt", "20s", "a.mp4"], lone) == ["--adapt", "20s", "a.mp4"]
    assert fill_lone_options(["--adapt", "-5"], lone) == ["--adapt", "-5"]


@pytest.mark.parametrize("source", ["2024_clip.mp4", "0", "60", "20steps.mp4", "1s.mp4", "7"])
def test_adapt_alone_never_takes_the_video_for_its_value(source: str) -> None:
    assert fill_lone_options(["--adapt", source], {"--adapt": "60s"}) == ["--adapt", "60s", source]


def test_segment_command_adapts_first(tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Hodor(msgspec.structs.replace(build_model("toy").config, adapted_min_dim=96))
    frames, masks = moving_square(4)
    video = make_video(tmp_path / "clip.mp4", frames)
    write_label_png(tmp_path / "mask.png", masks[0].astype(np.uint16))
    save_checkpoint(tmp_path / "toy.safetensors", toy)
    monkeypatch.setenv("HODOR_CACHE_DIR", str(tmp_path / "cache"))
    weights = str(tmp_path / "toy.safetensors")
    command = ["segment", str(video), "--mask", str(tmp_path / "mask.png"), "--weights", weights]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "out"), "--adapt", "2steps"])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    assert read_label_png(tmp_path / "out" / "masks" / "00003.png").shape == masks[0].shape
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["settings"]["min_dim"], report["settings"]["max_dim"]) == (96, 192)
    refused = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "other"), "--adapt=0"])
    assert refused.exit_code == 2
    assert not (tmp_path / "other").exists()
