"""What further masks are worth: the frames that are given, and the scores of all others."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import hodor, refused
from evaluation_fakes import davis, moving_labels
from PIL import Image
from segmenter_fakes import make_model

from hodor_cli.adaptation.examples import Example
from hodor_cli.datasets.dataset import Dataset, recognise
from hodor_cli.engine import OfflineSegmenter, Segmenter, follow
from hodor_cli.engine.suggesting import doubt_of, suggest_frames
from hodor_cli.errors import DataError, UsageError
from hodor_cli.evaluation.given import GivenScore, GivenSettings, evaluate_given
from hodor_cli.evaluation.metrics import score_frame
from hodor_cli.images.picture import read_picture
from hodor_cli.model import Hodor
from hodor_cli.weights.checkpoint import save_checkpoint

COUNT = 8
TRUTH = moving_labels(COUNT)


@pytest.fixture(scope="module")
def network() -> Hodor:
    return make_model("toy")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return recognise(davis(tmp_path_factory.mktemp("davis"), {"squares": TRUTH, "more": moving_labels(COUNT, (5,))}))


def evaluated(network: Hodor, dataset: Dataset, *counts: int, choose: tuple[Any, ...]) -> dict[int, GivenScore]:
    segmenter = OfflineSegmenter(network, min_dim=64, device="cpu")
    return {score.given: score for score in evaluate_given(dataset, segmenter, GivenSettings(counts, choose))}


def frames(dataset: Dataset) -> list[np.ndarray]:
    return [read_picture(file) for file in dataset.sequences["squares"].images.values()]


def expected(found: dict[int, np.ndarray], marks: list[int]) -> dict[str, float]:
    """Mean J&F, J and F of the frames that were not given."""
    scores = [score_frame(TRUTH[index], found[index], [1, 2]) for index in range(COUNT) if index not in marks]
    mean = np.mean([list(score.values()) for score in scores], axis=(0, 1))
    return {"J&F": float(mean.mean()), "J": float(mean[0]), "F": float(mean[1])}


def followed(network: Hodor, dataset: Dataset, marks: list[int]) -> Any:
    given = {mark: TRUTH[mark] for mark in marks}
    return list(follow(OfflineSegmenter(network, min_dim=64, device="cpu"), frames(dataset), given))


def test_uniform_masks_begin_with_the_first_frame_and_are_not_scored(network: Hodor, dataset: Dataset) -> None:
    scores = evaluated(network, dataset, 1, 3, choose=("uniform",))
    assert scores[1].frames["squares"] == ["00000"] and scores[3].frames["squares"] == ["00000", "00002", "00005"]
    found = {one.frame: one.labels for one in followed(network, dataset, [0, 2, 5])}
    assert scores[3].means("squares") == pytest.approx(expected(found, [0, 2, 5]))
    rows = [list(scores[3].means(name).values()) for name in ("squares", "squares", "more")]  # over objects
    assert list(scores[3].means().values()) == pytest.approx(np.mean(rows, axis=0).tolist())


def test_objects_that_no_given_mask_shows_are_named(tmp_path: Path) -> None:
    truth = [labels.copy() for labels in moving_labels(COUNT)]
    for labels in truth[:4]:
        labels[labels == 2] = 0
    root = davis(tmp_path / "late", {"squares": truth})
    save_checkpoint(tmp_path / "toy.safetensors", make_model("toy"), {})
    result = hodor("evaluate", root, "--given", "1,2", "--weights", tmp_path / "toy.safetensors")
    told = [line for line in result.output.splitlines() if "counts as missed" in line]
    assert told == [
        "note: uniform, 1 mask: no given mask of squares shows object 2, which counts as missed",
    ]


@pytest.mark.usefixtures("one_thread")
def test_one_way_is_what_a_live_stream_gives(network: Hodor, dataset: Dataset) -> None:
    score = evaluated(network, dataset, 2, choose=("one-way",))[2]
    segmenter = Segmenter(network, min_dim=64, device="cpu")
    found = {index: segmenter.step(frame, TRUTH[4] if index == 4 else TRUTH[0] if index == 0 else None).copy()
             for index, frame in enumerate(frames(dataset))}  # fmt: skip
    assert score.means("squares") == pytest.approx(expected(found, [0, 4]))


def test_suggested_frames_are_those_of_the_doubt_so_far(network: Hodor, dataset: Dataset) -> None:
    scores, marks = evaluated(network, dataset, 1, 2, 4, choose=("suggest",)), [0]
    for _ in range(3):
        doubts = [doubt_of(one.result.objects.values()) for one in followed(network, dataset, marks)]
        marks = sorted((*marks, suggest_frames(doubts, marks)[0].frame))
    assert scores[4].frames["squares"] == [f"{mark:05d}" for mark in marks]
    # Between two counts only the frames between the neighbours of the new mask were followed again.
    found = {one.frame: one.labels for one in followed(network, dataset, marks)}
    assert scores[4].means("squares") == pytest.approx(expected(found, marks))


def test_chance_is_the_same_each_time_and_each_way_is_scored(network: Hodor, dataset: Dataset) -> None:
    segmenter = OfflineSegmenter(network, min_dim=64, device="cpu")
    seen: list[tuple[int, int | None]] = []
    ways = ("one-way", "random")
    scores = evaluate_given(dataset, segmenter, GivenSettings((1, 3), ways), progress=lambda *at: seen.append(at))
    assert [(score.choose, score.given) for score in scores] == [(way, count) for way in ways for count in (1, 3)]
    assert seen[-1] == (4 * 2 * COUNT, 4 * 2 * COUNT)
    chance = scores[3].frames
    assert evaluated(network, dataset, 3, choose=("random",))[3].frames == chance
    assert all(names[0] == "00000" and len(set(names)) == 3 for names in chance.values())


def test_each_number_of_masks_is_adapted_to_by_itself(network: Hodor, dataset: Dataset) -> None:
    segmenter, asked = OfflineSegmenter(network, min_dim=64, device="cpu"), []

    def adapt(examples: Sequence[Example]) -> OfflineSegmenter:
        asked.append([example.labels for example in examples])
        # Of the frames 3, 6, 9 and so on after each mask, those before the next.
        assert [len(example.following) for example in examples] == ([2] if len(examples) == 1 else [1, 1])
        return segmenter

    squares = dataset.select(["squares"])
    scores = evaluate_given(squares, segmenter, GivenSettings((1, 2)), adapt=adapt)
    np.testing.assert_array_equal(asked[1], [TRUTH[0], TRUTH[4]])
    assert len(asked) == 2 and scores == evaluate_given(squares, segmenter, GivenSettings((1, 2)))


def test_wrong_settings_are_refused(network: Hodor, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        GivenSettings((0, 1))
    with pytest.raises(UsageError, match="`choose` takes uniform, suggest, random, one-way, not 'best'"):
        GivenSettings((1,), ("best",))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"8 labelled frames \(8 with an object\), too few to give 8"):
        evaluated(network, dataset, 8, choose=("uniform",))
    assert "--choose selects frames for --given" in refused("evaluate", dataset.root, "--choose", "suggest", code=2)


@pytest.mark.parametrize("way", ["uniform", "suggest", "random"])
def test_no_more_masks_are_given_than_frames_show_an_object(network: Hodor, tmp_path: Path, way: str) -> None:
    truth = [labels if index < 2 else np.zeros_like(labels) for index, labels in enumerate(moving_labels(COUNT))]
    short = recognise(davis(tmp_path / "short", {"squares": truth}))
    with pytest.raises(DataError, match=r"8 labelled frames \(2 with an object\), too few to give 3"):
        evaluated(network, short, 3, choose=(way,))


def test_masks_without_images_are_no_labelled_frames(network: Hodor, tmp_path: Path) -> None:
    root = davis(tmp_path / "short", {"squares": TRUTH})
    for file in sorted((root / "JPEGImages").rglob("*.jpg"))[1:]:
        file.unlink()
    with pytest.raises(DataError, match=r"1 labelled frame .*too few to give 1"):
        evaluated(network, recognise(root), 1, choose=("uniform",))


def test_the_command_prints_a_table_and_writes_the_curve(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("--given", "1,2", "--choose", "uniform,suggest", "--min-dim", 64, "--sequences", "squares")
    said = hodor("evaluate", dataset.root, *options, "-o", tmp_path / "out", "--json", tmp_path / "given.json").output
    assert "masks" in said and said.count("uniform") == 2 and said.count("suggest") == 2
    record = json.loads((tmp_path / "out/given.json").read_text())
    assert record == json.loads((tmp_path / "given.json").read_text()) and record["min_dim"] == 64
    assert [(one["choose"], one["given"]) for one in record["scores"]] == [
        ("uniform", 1), ("uniform", 2), ("suggest", 1), ("suggest", 2),
    ]  # fmt: skip
    with Image.open(tmp_path / "out/given.png") as figure:
        pixels = np.asarray(figure.convert("RGB")).reshape(-1, 3)
    for colour in ((11, 98, 164), (209, 115, 14)):  # a line for each way
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 12).sum() > 50
    assert "holds results already" in refused("evaluate", dataset.root, *options, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--given", "two"), "takes numbers of masks"),
        (("--given", "1", "--choose", "best"), "--choose takes uniform"),
        (("--given", "1", "--workers", "2"), "--given excludes"),
        (("--given", "1", "--overwrite"), "--overwrite needs the folder of --out"),
        (("--given", "99"), "too few to give 99"),
    ],
)
def test_mistakes_are_one_sentence(dataset: Dataset, options: tuple[str, ...], words: str) -> None:
    assert words in refused("evaluate", dataset.root, *options)


def test_a_missing_package_is_told_before_the_work(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = refused("evaluate", dataset.root, "--given", "1", "-o", tmp_path / "out", code=2)
    assert "hodor-cli[figures]" in said and not (tmp_path / "out").exists()


def test_a_file_as_output_is_told_before_the_work(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hodor_cli.evaluation.given.evaluate_given", lambda *_, **__: pytest.fail("it ran"))
    (tmp_path / "out").touch()
    assert "is a file" in refused("evaluate", dataset.root, "--given", "1", "-o", tmp_path / "out")
