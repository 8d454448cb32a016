"""`hodor evaluate` as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_fakes import davis, moving_labels, predictions

from hodor_cli.cli.evaluate import _print_results
from hodor_cli.cli.evaluate import evaluate as command
from hodor_cli.cli.evaluate_parts import print_scores
from hodor_cli.cli.terminal import new_console
from hodor_cli.errors import DataError, OutputError, UsageError
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.runner import evaluate as score
from hodor_cli.evaluation.settings import EvaluationSettings
from hodor_cli.formats.opening import open_benchmark
from hodor_cli.formats.recognise import read_annotations, writer_of
from hodor_cli.formats.writing import new_folder


def evaluate(
    dataset: list[Path], *, weights: str | None = None, settings: EvaluationSettings | None = None, **options: Any
) -> None:
    """The command's function, with its defaults."""
    command(dataset, settings=settings or EvaluationSettings(weights=weights), **options)


@pytest.fixture
def benchmark(tmp_path: Path) -> tuple[Path, Path]:
    truth = {"bear": moving_labels(6), "camel": moving_labels(6)}
    guess = {"bear": truth["bear"], "camel": [np.roll(frame, 4, 1) for frame in truth["camel"]]}
    return davis(tmp_path / "set", truth), predictions(tmp_path / "guess", guess)


def test_the_table_has_the_worst_first(benchmark: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    evaluate([benchmark[0]], predictions=benchmark[1])
    out = capsys.readouterr().out
    assert "DAVIS 2017 (object ids) at 480p, 2 sequences, 12 frames" in out
    assert out.index("camel") < out.index("bear") < out.index("all objects")
    assert "100.0" in out


def test_the_mean_of_groups_is_called_so(benchmark: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    scored = score(benchmark[0], predictions=benchmark[1])
    grouped = replace(scored, groups={("bear", 1): "seen", ("camel", 1): "unseen"})
    print_scores(grouped, new_console())
    out = capsys.readouterr().out
    assert "mean of seen and unseen" in out and "all objects" not in out


def test_only_a_report_that_was_written_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [EvaluationResult("a set without truth", {}, {"history": history}) for history in (1, 2)]
    _print_results(runs, new_console(), tmp_path)
    out = capsys.readouterr().out
    assert "Results in" in out and "report.html" not in out


def test_json_alone_on_stdout(benchmark: tuple[Path, Path]) -> None:
    arguments = [sys.executable, "-m", "hodor_cli", "evaluate", str(benchmark[0])]
    arguments += ["--predictions", str(benchmark[1]), "--json", "-"]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=root, env={**os.environ}, check=True)
    content = json.loads(done.stdout)
    assert content["sequences"]["bear"]["J&F"] == 1.0
    assert "camel" in done.stderr


def test_failed_sequences_end_with_an_error_after_the_results(
    benchmark: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (benchmark[1] / "camel" / "00002.png").unlink()
    target = tmp_path / "results.json"
    with pytest.raises(DataError, match=r"1 of 2 sequences failed.*camel"):
        evaluate([benchmark[0]], predictions=benchmark[1], json_file=str(target))
    assert json.loads(target.read_text())["J&F"] == 1.0
    captured = capsys.readouterr()
    assert "has no prediction for frame 00002" in captured.err
    assert "bear" in captured.out
    with pytest.raises(OutputError, match="exists already"):
        evaluate([benchmark[0]], predictions=benchmark[1], json_file=str(target))


def test_masks_of_another_tool_are_scored_under_their_own_name(
    benchmark: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, tracks = benchmark[0], tmp_path / "cvat"
    with new_folder(tracks) as out:
        writer_of("cvat").write(read_annotations(truth / "Annotations" / "480p" / "bear"), out)
    xml = tracks / "annotations.xml"
    xml.write_text(xml.read_text().replace("</track>", '<polyline frame="0" points="1,1;9,9"/></track>', 1))
    left_out = f"{xml}: 1 polyline left out, which have no area"
    evaluate([truth], predictions=tracks, sequences="bear", out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"cvat holds the masks of one video; choose its sequence"):
        evaluate([truth], predictions=tracks, out=tmp_path / "out", overwrite=True)
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["J&F"] == 1.0 and content["settings"]["predictions"] == str(tracks)
    matched = "the predictions of bear: names are matched by their number: frame_000000 is 00000"
    assert content["notes"] == [left_out, matched]
    (tracks / "images").mkdir()
    for number, picture in enumerate(sorted((truth / "JPEGImages" / "480p" / "bear").iterdir())):
        picture.rename(tracks / "images" / f"frame_{number:06d}.jpg")
    with open_benchmark(tracks) as found:
        assert found.notes == (left_out,)


def test_comparing(benchmark: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate([benchmark[0]], predictions=benchmark[1], out=tmp_path / "a")
    evaluate([benchmark[0]], predictions=benchmark[0] / "Annotations" / "480p", out=tmp_path / "b")
    capsys.readouterr()
    evaluate([tmp_path / "a" / "results.json", tmp_path / "b" / "results.json"], compare=True)
    evaluate([tmp_path / "a", tmp_path / "b"], compare=True)  # the folders of the results
    out = capsys.readouterr().out
    assert "over 2 sequences: too few sequences to tell" in out and "interval" not in out
    for name in "ab":
        shutil.copytree(tmp_path / name, tmp_path / f"{'x' * 40}{name}")
    evaluate([tmp_path / f"{'x' * 40}{name}" for name in "ab"], compare=True)
    assert "…" not in capsys.readouterr().out  # names that differ only at their ends stay different


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"weights": "mini", "predictions": Path("x")}, "scores masks; leave out `weights`"),
        ({"history": "0"}, "--history takes a number"),
        ({"history": "1,x"}, "--history takes a number"),
        ({"history": "1,2", "predictions": Path("x")}, "leave out .* `history`"),
        ({"settings": EvaluationSettings(min_dim=96), "predictions": Path("x")}, "other network options"),
        ({"settings": EvaluationSettings(workers=2)}, "`workers` score the masks of `predictions`"),
        ({"compare": True, "out": Path("x")}, "leave out all other options except `json`"),
        ({"compare": True, "settings": EvaluationSettings(official=True)}, "leave out all other options"),
        ({"resume": True, "overwrite": True, "out": Path("x")}, "give one of them"),
        ({"resume": True}, "`out`; give that as well"),
        ({"resume": True, "predictions": Path("x"), "out": Path("x")}, "leave out .* other"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        evaluate([tmp_path], **options)


def test_one_data_set_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add --compare"):
        evaluate([tmp_path, tmp_path])
