"""Result files, the report, the history curve and comparisons."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from evaluation_fakes import FollowingSegmenter, davis, moving_labels, predictions
from PIL import Image

from hodor_cli.datasets.dataset import recognise
from hodor_cli.errors import InputError, UsageError
from hodor_cli.evaluation.comparison import bootstrap_interval, compare
from hodor_cli.evaluation.failures import find_failures, frames_around_drops
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.runner import evaluate, sweep_history
from hodor_cli.evaluation.settings import EvaluationOutput


def scored(tmp_path: Path, shift: int, out: str) -> EvaluationResult:
    truth = {name: moving_labels(8) for name in ("bear", "camel", "dog", "<i>eel")}
    root = tmp_path / "set"
    if not root.exists():
        davis(root, truth)
    guess = {name: [np.roll(f, shift + i, 1) for f in labels] for i, (name, labels) in enumerate(truth.items())}
    return evaluate(
        root, predictions=predictions(tmp_path / f"guess{shift}", guess), output=EvaluationOutput(tmp_path / out)
    )


def test_pictures_of_failures_show_colours_as_they_were_scored(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [10, 200, 30], [250, 1, 7]], np.uint8)
    for frame in range(6):
        labels = np.zeros((60, 80), np.uint8)
        labels[30:55, 40:75] = 2
        labels[5:25, 5:25] = frame < 3  # later masks have only the second colour
        for folder in ("truth", "guess"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(colours[labels]).save(tmp_path / folder / f"{frame}.png")
            labels[0 if frame == 1 else 45 :] = 0
    dataset, guess = recognise(tmp_path / "truth"), tmp_path / "guess"
    failures = find_failures(evaluate(dataset, predictions=guess), dataset, {"truth": guess})
    later = [frame.pictures for failure in failures for frame in failure.frames if frame.name in "345"]
    assert later and all((picture[..., 0] <= picture[..., 1]).all() for shown in later for picture in shown)  # no red
    assert all(abs(picture.shape[0] / picture.shape[1] - 60 / 80) < 0.02 for shown in later for picture in shown)


def test_json_and_csv(tmp_path: Path) -> None:
    result = scored(tmp_path, 1, "out")
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["J&F"] == pytest.approx((content["J"] + content["F"]) / 2)
    assert {"J_recall", "J_decay", "F_recall", "F_decay", "frames_per_second", "settings"} <= set(content)
    assert content["frames_per_second"] is None
    one = content["sequences"]["camel"]
    assert one["objects"]["2"]["J"] == result.sequences["camel"].objects[2].j
    assert 0 <= one["J"] <= 1
    rows = list(csv.DictReader((tmp_path / "out" / "sequences.csv").open()))
    assert [row["sequence"] for row in rows] == ["<i>eel", "dog", "camel", "bear"]
    assert float(rows[0]["J"]) == pytest.approx(result.sequences["<i>eel"].j, abs=1e-6)
    frames = list(csv.DictReader((tmp_path / "out" / "frames.csv").open()))
    assert len(frames) == 4 * 2 * 6
    assert set(frames[0]) == {"sequence", "frame", "object", "J", "F"}
    objects = list(csv.DictReader((tmp_path / "out" / "objects.csv").open()))
    assert len(objects) == 8


class Page(HTMLParser):
    """Collects what a page refers to and checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_needs_nothing_else(tmp_path: Path) -> None:
    result = scored(tmp_path, 1, "out")
    page, page_text = Page(), (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page.feed(page_text)
    page.close()
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert f"{100 * result.jf:.1f}" in page.text
    assert "<i>eel" in page.text
    assert "name='viewport'" in page_text
    drawn = re.findall(r"polyline points='([^']+)'[^>]*><title>J<", page_text)
    heights = [np.mean([float(point.split(",")[1]) for point in points.split()]) for points in drawn[:4]]
    assert np.corrcoef(heights, [score.j for score in result.worst_first()])[0, 1] == pytest.approx(-1, abs=1e-3)
    sheet = Image.open(tmp_path / "out" / "failures.png")
    assert sheet.width > 500


def test_numbers_can_be_read_beside_a_long_name_in_a_narrow_window(tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile", 400, 800)
    root, truth = tmp_path / "set", {"a" * 120: moving_labels(4)}
    davis(root, truth)
    evaluate(root, predictions=predictions(tmp_path / "guess", truth), output=EvaluationOutput(tmp_path / "#1 %41 ?"))
    browser.open((tmp_path / "#1 %41 ?" / "report.html").as_uri())
    assert browser.run("document.querySelector('td').offsetWidth < document.querySelector('.scroll').clientWidth / 2")
    assert browser.errors == []
    browser.close()


def test_shown_frames_are_around_the_largest_drops() -> None:
    j = np.array([0.9, 0.9, 0.9, 0.2, 0.3, 0.3, 0.8, 0.8, 0.4, 0.1, 0.1])
    frames = frames_around_drops(j)
    assert {2, 3} <= set(frames)
    assert {7, 8} <= set(frames)
    assert 9 in frames
    assert frames_around_drops(np.zeros(9)) == [0, 4]
    assert frames_around_drops(np.ones(1)) == [0]
    assert len(frames_around_drops(np.linspace(1, 0, 300))) <= 5


def test_history_sweep(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(5)})
    results = sweep_history(root, [1, 2, 4], model=FollowingSegmenter(), output=EvaluationOutput(tmp_path / "out"))
    assert len(results) == 3
    content = json.loads((tmp_path / "out" / "history.json").read_text())
    assert [run["J&F"] for run in content["runs"]] == [1.0, 1.0, 1.0]
    assert Image.open(tmp_path / "out" / "history.png").width > 400
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert not re.search(r"<(script|link|img)", page)
    assert (tmp_path / "out" / "history-2" / "results.json").is_file()


def test_compare_tells_progress_from_luck(tmp_path: Path) -> None:
    scored(tmp_path, 1, "good")
    scored(tmp_path, 4, "bad")
    good, bad = tmp_path / "good" / "results.json", tmp_path / "bad" / "results.json"
    (one,) = compare([bad, good])
    assert one.verdict == "better"
    assert one.interval[0] <= one.difference <= one.interval[1]
    assert one.difference == pytest.approx(one.value_b - one.value_a)
    assert set(one.sequences) == {"bear", "camel", "dog", "<i>eel"}
    (same,) = compare([good, good])
    assert (same.difference, same.verdict) == (0.0, "no clear difference")
    assert compare([bad, good])[0].interval == one.interval


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        differences = rng.normal(0.02, 0.05, 40)
        low, high = bootstrap_interval(differences, np.ones(40))
        covered += low <= 0.02 <= high
        # Of a mean of 40 values that vary by 0.05: 2 x 1.96 standard errors wide.
        assert high - low == pytest.approx(2 * 1.96 * differences.std() / np.sqrt(40), rel=0.15)
    assert 50 <= covered <= 60


def test_too_few_sequences_claim_no_interval(tmp_path: Path) -> None:
    scored(tmp_path, 1, "good")
    content = json.loads((tmp_path / "good" / "results.json").read_text())
    for name in ("bear", "camel"):
        del content["sequences"][name]
    (tmp_path / "two.json").write_text(json.dumps(content))
    (one,) = compare([tmp_path / "two.json", tmp_path / "good" / "results.json"])
    assert (one.interval, one.verdict) == (None, "too few sequences to tell")
    assert one.to_dict()["interval"] is None


def test_compare_names_what_it_cannot_use(tmp_path: Path) -> None:
    scored(tmp_path, 1, "good")
    good = tmp_path / "good" / "results.json"
    content = json.loads(good.read_text())
    del content["sequences"]["bear"]
    (tmp_path / "less.json").write_text(json.dumps(content))
    assert compare([good, tmp_path / "less.json"])[0].only_in_one == ("bear",)
    content["sequences"]["camel"]["objects"]["1"]["frames"] += 1
    (tmp_path / "longer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="different scored frames in camel"):
        compare([good, tmp_path / "longer.json"])
    content["sequences"]["camel"]["objects"] = {"9": content["sequences"]["camel"]["objects"]["1"]}
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="different objects in camel"):
        compare([good, tmp_path / "other.json"])
    (tmp_path / "no.json").write_text("[]")
    with pytest.raises(InputError, match=r"is not the results\.json of one evaluation"):
        compare([good, tmp_path / "no.json"])
    with pytest.raises(InputError, match=r"no results\.json of an evaluation .*did you mean .*good\?"):
        compare([good, tmp_path / "goood" / "results.json"])
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(InputError, match=r"missing required field 'sequences'; give the file that `evaluate` writes"):
        compare([good, tmp_path / "empty.json"])
    with pytest.raises(UsageError, match="two or more"):
        compare([good])
