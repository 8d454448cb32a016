"""The benchmark: what it measures against is the same network, and its report has the promised form; never times."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square
from typer.testing import CliRunner

from hodor_cli.bench.clip import make_clip, write_video
from hodor_cli.bench.counting import count_work
from hodor_cli.bench.memory import peak_memory
from hodor_cli.bench.plain import PlainSegmenter
from hodor_cli.bench.plain_network import PlainHodor
from hodor_cli.bench.record import append_record
from hodor_cli.bench.settings import BenchSettings, parse_size
from hodor_cli.cli import app
from hodor_cli.engine import Segmenter
from hodor_cli.errors import UsageError
from hodor_cli.model import Hodor, build_model
from hodor_cli.training.config import PRESETS
from hodor_cli.training.cycles import schedule
from hodor_cli.training.step import Objective
from hodor_cli.weights import load_model

SMALL = {"toy": 64, "mini": 96, "swin-tiny": 64}


def some_model(name: str) -> Hodor:
    """The bundled `mini`, or a network with random parameters, none of which hides what it does."""
    if name == "mini":
        return load_model("mini")
    torch.manual_seed(1)
    model = build_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def recorded_logits(network: Hodor | PlainHodor) -> list[torch.Tensor]:
    """The list that fills with the logits of every `decode` from here on."""
    logits: list[torch.Tensor] = []
    decode = network.decode

    def recording(*args: object) -> torch.Tensor:
        logits.append(decode(*args))  # type: ignore[arg-type]
        return logits[-1]

    network.decode = recording  # type: ignore[assignment, method-assign]
    return logits


@pytest.mark.parametrize("name", list(SMALL))
def test_engine_gives_the_logits_of_the_plain_network(name: str) -> None:
    model = some_model(name)
    plain = PlainSegmenter(model, history=2, min_dim=SMALL[name])
    engine = Segmenter(model, history=2, min_dim=SMALL[name], device="cpu", precision="fp32")
    wanted, found = recorded_logits(plain.model), recorded_logits(engine.model)
    frames, masks = moving_square(5, height=64, width=90)
    second = np.zeros_like(masks[0], dtype=np.uint16)
    second[5:25, 60:80] = 9
    different = 0
    for index, frame in enumerate(frames):
        given = masks[0].astype(np.uint16) * 4 if index == 0 else second if index == 2 else None
        different += np.count_nonzero(plain.step(frame, given) != engine.step(frame, given))
    assert len(wanted) == len(found) == 4
    assert max(logits.std().item() for logits in wanted) > 0.01
    for expected, logits in zip(wanted, found, strict=True):
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)
    assert different <= 0.001 * len(frames) * masks[0].size


def test_plain_network_trains_to_the_same_gradients() -> None:
    model = some_model("mini").train()
    frames, masks = moving_square(3, height=64, width=96)
    batch = (
        torch.from_numpy(np.stack(frames))[None],
        torch.from_numpy(np.stack(masks))[None],
        torch.ones(1, 3, 64, 96, dtype=torch.bool),
        torch.ones(1, 3, 1, dtype=torch.bool),
    )
    steps = schedule("chain", 0, 3)
    gradients = []
    for network in (model, PlainHodor(model)):
        model.zero_grad(set_to_none=True)
        losses, _ = Objective(network, supervise="all")(*batch, steps)  # type: ignore[arg-type]
        losses.total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=1e-3 * gradients[1].abs().max().item())


def test_clip_has_the_objects_asked_for_and_moves() -> None:
    clip = make_clip(96, 64, 4, 3)
    assert [frame.shape for frame in clip.frames] == [(64, 96, 3)] * 4
    assert set(np.unique(clip.first_labels)) == {0, 1, 2, 3}
    assert (clip.frames[0] != clip.frames[1]).any()
    with pytest.raises(UsageError, match="leaves no room"):
        make_clip(40, 32, 4, 10)


def test_clip_becomes_a_video_of_as_many_frames(tmp_path: Path) -> None:
    from hodor_cli.video.source import open_source

    write_video(tmp_path / "clip.mp4", make_clip(96, 64, 4, 1))
    with open_source(tmp_path / "clip.mp4") as source:
        assert [frame.image.shape for frame in source] == [(64, 96, 3)] * 4


def test_operations_are_those_of_the_layers() -> None:
    linear, conv = torch.nn.Linear(32, 8), torch.nn.Conv2d(3, 4, 3, padding=1)
    with torch.inference_mode():
        work = count_work(lambda: linear(torch.ones(10, 32)))
        assert work.operations == 2 * 10 * 32 * 8
        assert 4 * (10 * 32 + 32 * 8 + 10 * 8) <= work.bytes <= 8 * (10 * 32 + 32 * 8 + 10 * 8)
        assert count_work(lambda: conv(torch.ones(1, 3, 5, 7))).operations == 2 * 5 * 7 * 3 * 4 * 9
        q = torch.ones(1, 2, 10, 16)
        attend = torch.nn.functional.scaled_dot_product_attention
        assert count_work(lambda: attend(q, q, q)).operations == 2 * 2 * 10 * 10 * 32


def test_operations_are_counted_in_mixed_precision() -> None:
    casting = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    linear, kernel = torch.nn.Linear(32, 8), torch.ones(4, 8, 16)

    def run() -> torch.Tensor:
        with casting():
            return torch.einsum("bnhd,hdc->bnhc", linear(torch.ones(2, 3, 4, 32)), kernel)

    with torch.inference_mode():
        assert count_work(run, casting).operations == 2 * (24 * 32 * 8 + 24 * 8 * 16)
        assert run().dtype == torch.bfloat16


def test_peak_memory_sees_what_the_work_used() -> None:
    cpu = torch.device("cpu")
    small = peak_memory(lambda: None, cpu).host_mib
    large = peak_memory(lambda: torch.ones(32 * 2**20), cpu).host_mib
    if small is None or large is None:
        pytest.skip("this system does not tell a process's largest memory")
    assert large - small > 100


@pytest.mark.parametrize("text", ["854", "854x", "0.5x3", "axb"])
def test_size_is_width_x_height(text: str) -> None:
    assert parse_size("854x480") == (854, 480)
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes_and_counts_must_make_sense() -> None:
    with pytest.raises(UsageError, match="--size"):
        BenchSettings(size=(16, 480))
    with pytest.raises(UsageError, match="--rounds"):
        BenchSettings(rounds=0)


TINY = ["bench", "--weights", "toy", "--size", "96x64", "--rounds", "2", "--threads", "1"]


def test_json_has_the_promised_form(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    arguments = [*TINY, "--objects", "2", "--history", "2", "--frames", "2", "--json", "-", "--record", str(history)]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    for name in ("plain", "engine"):
        assert result[name]["frames_per_second"] > 0
        assert result[name]["share_of_matrix_peak"] > 0
        assert result[name]["gigaoperations_per_frame"] > 0
    assert result["plain"]["precision"] == "fp32"
    assert result["speedup"] > 0 and len(result["speedup_rounds"]) == 2
    assert list(result["stages"]) == ["decode", "resize", "extract", "decode_masks", "encode", "write"]
    assert all(row["plain"] >= 0 and row["engine"] >= 0 for row in result["stages"].values())
    assert result["end_to_end"]["frames_per_second"] > 0
    assert result["label_pixels"]["different"] is None  # random weights
    assert result["machine"]["matrix_gflops"]["fp32"] > 0
    assert result["settings"]["objects"] == 2 and result["settings"]["trained"] is False
    lines = history.read_text().splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert line["speedup"] == result["speedup"] and line["kind"] == "video" and "commit" in line
    append_record(history, result)
    assert len(history.read_text().splitlines()) == 2


def test_a_loss_of_speed_is_seen_in_the_history(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    arguments = [*TINY, "--frames", "1", "--record", str(history)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    earlier = json.loads(history.read_text())
    faster = {**earlier, "speedup": 100 * earlier["speedup"], "commit": "abc1234"}
    another = {**faster, "settings": {**faster["settings"], "objects": 7}, "commit": "other"}
    history.write_text("".join(f"{text}\n" for text in (json.dumps(faster), json.dumps(another), "no record")))
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0 and "warning:" in run.output and "at abc1234" in run.output


def test_training_report_has_the_promised_form(tmp_path: Path) -> None:
    target = tmp_path / "training.json"
    run = CliRunner().invoke(app, [*TINY, "--train", "--batch-size", "1", "--workers", "0", "--json", str(target)])
    assert run.exit_code == 0, run.output
    assert "samples/s" in run.stdout
    result = json.loads(target.read_text())
    assert result["plain"]["samples_per_second"] > 0 and result["engine"]["samples_per_second"] > 0
    assert 0 <= result["loader"]["idle_share"] <= 1
    assert result["settings"]["batch_size"] == 1
    assert result["settings"]["schedule"] == PRESETS["toy"].schedule


def test_flags_of_training_alone_are_refused() -> None:
    run = CliRunner().invoke(app, [*TINY, "--workers", "1"])
    assert run.exit_code != 0
    assert isinstance(run.exception, UsageError) or "--train" in run.output
