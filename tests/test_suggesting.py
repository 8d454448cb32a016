"""Which frame to mask next."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from command import hodor
from conftest import write_video
from PIL import Image
from segmenter_fakes import HEIGHT, WIDTH, frames_of, label_map, square
from typer.testing import CliRunner

from hodor_cli.cli import app
from hodor_cli.engine import ObjectResult
from hodor_cli.engine.suggesting import doubt_of, suggest_frames
from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.images.label_png import write_label_png


def test_without_a_sign_of_doubt_the_middle_of_the_longest_gap_is_named() -> None:
    assert suggest_frames([0.1] * 41, [0, 10, 40])[0].frame == 25


def test_doubt_draws_the_suggestion_to_itself() -> None:
    doubts = [0.1] * 41
    doubts[30:34] = [3.0] * 4
    assert 29 <= suggest_frames(doubts, [0, 20, 40])[0].frame <= 34


def test_each_suggestion_counts_on_those_before_it() -> None:
    found = suggest_frames([0.1] * 61, [0], 3)
    assert len({one.frame for one in found}) == 3 and found[0].gain >= found[1].gain >= found[2].gain
    assert sum(one.gain for one in suggest_frames([0.1] * 61, [0], 60)) == pytest.approx(60 / 61)
    assert suggest_frames([0.1, 0.1], [0, 1], 5) == []


def test_suggestions_for_a_long_video_take_little_memory() -> None:
    doubts = [0.1] * 20_000
    tracemalloc.start()
    assert suggest_frames(doubts, [0])[0].frame > 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 8 * len(doubts)  # a few numbers for each frame, and not one for each pair of frames tried


@pytest.mark.parametrize("worse", [{"confidence": 0.5}, {"disagreement": 0.4}, {"change": 0.8}])
def test_every_witness_adds_doubt(worse: dict[str, float]) -> None:
    good = {"area": 9, "confidence": 0.95, "lost": False}
    assert doubt_of([ObjectResult(**(good | worse))]) > doubt_of([ObjectResult(**good)])  # type: ignore[arg-type]


def words(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["suggest", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def test_a_folder_or_video_without_a_run_is_refused(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", frames_of(4))
    for place in (tmp_path, clip):
        code, said = words(place)
        assert code == InputError.exit_code and "not the result of a finished run" in said
        assert "also give its first --mask" in said
    code, said = words(tmp_path / "nothing")
    assert code == InputError.exit_code and f"{tmp_path} holds clip.mp4" in said


def test_a_video_with_its_masks_so_far_is_followed_and_nothing_is_left_but_the_page(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", frames_of(9))
    write_label_png(tmp_path / "a.png", label_map({1: square(2, 2)}))
    code, said = words(
        clip, "--mask", tmp_path / "a.png", "--count", 2, "--min-dim", 64, "--out", tmp_path / "next.png"
    )
    assert code == 0 and said.count("removes") == 2 and "frame 0 (" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "clip.mp4", "next.png"]
    with Image.open(tmp_path / "next.png") as page:
        assert page.width >= 2 * WIDTH and HEIGHT < page.height < 2 * HEIGHT
    page = (tmp_path / "next.png").read_bytes()
    call = ["suggest", clip, "--mask", tmp_path / "a.png", "--count", 2, "--min-dim", 64, "--json"]
    found = json.loads(hodor(*call).stdout)
    assert [f"frame {one['frame']} ({one['name']}): removes {one['gain']:.0%}" in said for one in found] == [True] * 2
    code, said = words(clip, "--mask", tmp_path / "a.png", "--count", 20, "--min-dim", 64)
    assert 2 <= said.count("removes") <= 8 and "removes 0%" not in said
    assert said.endswith("No other mask would remove 1% of the uncertainty.")
    code, said = words(clip, "--mask", tmp_path / "a.png", "--out", tmp_path / "next.png")
    assert code == OutputError.exit_code and "exists already" in said and (tmp_path / "next.png").read_bytes() == page
    code, said = words(clip, "--mask", tmp_path / "a.png", "--out", tmp_path / "a.png", "--overwrite")
    assert code == OutputError.exit_code and "a.png is an input" in said
    assert words(clip, "--mask", f"99={tmp_path}/a.png")[0] == InputError.exit_code
    run = ["segment", str(clip), "--mask", str(tmp_path / "a.png"), "--min-dim", "64", "-o", str(tmp_path / "out")]
    hodor(*run)
    code, said = words(tmp_path / "out", "--mask", tmp_path / "a.png")
    assert code == UsageError.exit_code and "is a finished run" in said
    code, said = words(tmp_path / "out", "--start", 2)
    assert code == UsageError.exit_code and "is a finished run" in said
