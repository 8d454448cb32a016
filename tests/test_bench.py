"""The benchmark: its report has the promised form; never times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import hodor, refused

from hodor_cli.bench import measure, stages, training
from hodor_cli.bench.clip import make_clip, write_video
from hodor_cli.bench.settings import BenchSettings, append_record, parse_size
from hodor_cli.errors import UsageError
from hodor_cli.runtime.memory import peak_memory
from hodor_cli.training.config import PRESETS
from hodor_cli.video.source import open_source


def test_clip_has_the_objects_asked_for_and_moves() -> None:
    clip = make_clip(96, 64, 4, 3)
    assert [frame.shape for frame in clip.frames] == [(64, 96, 3)] * 4
    assert set(np.unique(clip.first_labels)) == {0, 1, 2, 3}
    assert (clip.frames[0] != clip.frames[1]).any()
    with pytest.raises(UsageError, match="leaves no room"):
        make_clip(40, 32, 4, 10)


def test_clip_becomes_a_video_of_as_many_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", make_clip(96, 64, 4, 1))
    with open_source(tmp_path / "clip.mp4") as source:
        assert [frame.image.shape for frame in source] == [(64, 96, 3)] * 4


def test_peak_memory_sees_what_the_work_used() -> None:
    cpu = torch.device("cpu")
    small = peak_memory(lambda: None, cpu).host_mib
    large = peak_memory(lambda: torch.ones(32 * 2**20), cpu).host_mib
    if small is None or large is None:
        pytest.skip("this system does not tell a process's largest memory")
    assert large - small > 100


def test_the_stages_of_a_step_take_what_each_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Network:
        def extract(self) -> None:
            spend(3)

        def encode(self) -> None:
            spend(5)

    class Steps:
        device, model = torch.device("cpu"), Network()

        def step(self, frame: object) -> None:
            spend(1)  # resize
            self.model.extract()
            spend(2)  # decode
            self.model.encode()
            spend(4)  # labels

    monkeypatch.setattr("hodor_cli.bench.stages.time.perf_counter", lambda: now)
    segmenter: Any = Steps()
    found = stages.stage_seconds(segmenter, [np.zeros((1, 1, 3), np.uint8)] * 2)
    assert found == 2 * [{"resize": 1.0, "extract": 3.0, "decode_masks": 6.0, "encode": 5.0}]
    segmenter.step(None)
    assert now == 45 and not vars(segmenter.model), "the network is as it was"


@pytest.mark.parametrize("text", ["854", "854x", "0.5x3", "axb"])
def test_size_is_width_x_height(text: str) -> None:
    assert parse_size("854x480") == (854, 480)
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes_and_counts_must_make_sense() -> None:
    for size in ((16, 480), (427, 240)):
        with pytest.raises(UsageError, match="`size`"):
            BenchSettings(size=size)
    with pytest.raises(UsageError, match="`rounds`"):
        BenchSettings(rounds=0)


TINY = ["bench", "--weights", "toy", "--size", "96x64", "--rounds", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_WHOLE_FRAMES", 4)


def test_json_has_the_promised_form(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    arguments = [*TINY, "--objects", "2", "--history", "2", "--frames", "2", "--json", "-", "--record", str(history)]
    run = hodor(*arguments)
    result = json.loads(run.stdout)
    for name in ("plain", "engine"):
        assert result[name]["frames_per_second"] > 0
        assert len(result[name]["ms_per_frame_rounds"]) == 2
    assert result["plain"]["precision"] == "fp32"
    assert result["speedup"] > 0 and len(result["speedup_rounds"]) == 2
    assert list(result["stages"]) == ["decode", "resize", "extract", "decode_masks", "encode", "write"]
    assert all(row["plain"] > 0 and row["engine"] > 0 for row in result["stages"].values())
    assert result["end_to_end"]["frames_per_second"] > 0
    assert result["contention"] is None
    assert result["label_pixels"]["different"] is None  # random weights
    assert result["machine"]["threads"] == 1
    assert result["settings"]["objects"] == 2 and result["settings"]["trained"] is False
    lines = history.read_text().splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert line["speedup"] == result["speedup"] and line["kind"] == "video" and "commit" in line
    history.write_text(history.read_text().rstrip("\n"))
    append_record(history, result)
    append_record(history, result)
    assert [json.loads(text)["kind"] for text in history.read_text().splitlines()] == ["video"] * 3


def test_a_loss_of_speed_is_seen_in_the_history(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    arguments = [*TINY, "--frames", "1", "--record", str(history)]
    hodor(*arguments)
    earlier = json.loads(history.read_text())
    faster = {**earlier, "speedup": 100 * earlier["speedup"], "commit": "abc1234"}
    another = {**faster, "settings": {**faster["settings"], "objects": 7}, "commit": "other"}
    history.write_text("".join(f"{text}\n" for text in (json.dumps(faster), json.dumps(another), "no record")))
    run = hodor(*arguments)
    assert "warning:" in run.output and "at abc1234" in run.output


def test_training_report_has_the_promised_form(tmp_path: Path) -> None:
    target = tmp_path / "training.json"
    run = hodor(*TINY, "--train", "--batch-size", "1", "--workers", "0", "--contend", "1", "--json", target)
    assert "samples/s alongside 1 busy process" in run.stdout
    assert "samples/s" in run.stdout
    result = json.loads(target.read_text())
    assert result["plain"]["samples_per_second"] > 0 and result["engine"]["samples_per_second"] > 0
    assert 0 <= result["loader"]["idle_share"] <= 1
    assert result["settings"]["batch_size"] == 1
    assert result["settings"]["schedule"] == PRESETS["toy"].schedule


def test_speed_beside_busy_processes_is_told() -> None:
    run = hodor(*TINY, "--contend", "2")
    assert "frames/s alongside 2 busy processes" in run.stdout


def test_busy_processes_end_with_a_benchmark_that_is_killed_and_with_one_that_cannot_start_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = (
        "import os\nfrom hodor_cli.bench.stages import contended\nalone = iter([1.0])\n"
        "contended(lambda: next(alone, None) or os.kill(os.getpid(), 9), 1)"
    )
    # Returns when the busy process, which inherits stdout, has ended as well.
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60).returncode == -9

    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        if started:
            raise BlockingIOError
        started.append(popen(*arguments, **options))
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(BlockingIOError):
        stages.contended(lambda: 1.0, 2)
    assert started[0].poll() is not None


def test_speed_of_training_leaves_out_the_iterations_in_which_threads_settle() -> None:
    seconds = iter([9.0, 9.0, 1.0, 2.0, 2.0, 3.0])
    config = PRESETS["toy"]
    speed = training._speed(lambda _: stages.Spent(next(seconds), 0, 0), config)
    assert speed == config.batch_size / 2


def test_flags_of_training_alone_are_refused() -> None:
    assert "--train" in refused(*TINY, "--workers", "1")


@pytest.mark.parametrize("option", ["--frames", "--history", "--min-dim", "--max-dim"])
def test_options_of_segmentation_are_refused_where_training_is_measured(option: str) -> None:
    assert f"training has no {option}; leave this out" in refused(*TINY, "--train", option, "64")
