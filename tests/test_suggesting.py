"""Which frame to mask next."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hodor_cli.cli import app
from hodor_cli.engine import ObjectResult
from hodor_cli.engine.suggesting import doubt_of, suggest_frames


def test_without_a_sign_of_doubt_the_middle_of_the_longest_gap_is_named() -> None:
    assert suggest_frames([0.1] * 41, [0, 10, 40])[0].frame == 25


def test_doubt_draws_the_suggestion_to_itself() -> None:
    doubts = [0.1] * 41
    doubts[30:34] = [3.0] * 4
    assert 29 <= suggest_frames(doubts, [0, 20, 40])[0].frame <= 34


def test_each_suggestion_counts_on_those_before_it() -> None:
    found = suggest_frames([0.1] * 61, [0], 3)
    assert len({one.frame for one in found}) == 3 and found[0].gain >= found[1].gain >= found[2].gain
    assert suggest_frames([0.1, 0.1], [0, 1], 5) == []


@pytest.mark.parametrize("worse", [{"confidence": 0.5}, {"disagreement": 0.4}, {"change": 0.8}])
def test_every_witness_adds_doubt(worse: dict[str, float]) -> None:
    good = {"area": 9, "confidence": 0.95, "lost": False}
    assert doubt_of([ObjectResult(**(good | worse))]) > doubt_of([ObjectResult(**good)])  # type: ignore[arg-type]


def test_a_folder_without_a_run_is_refused(tmp_path: object) -> None:
    result = CliRunner().invoke(app, ["suggest", str(tmp_path)])
    assert result.exit_code != 0 and "holds no finished run" in " ".join(result.output.split())
