"""Scoring masks that anyone made."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from evaluation_fakes import davis, moving_labels, predictions, write_labels, write_sequence
from PIL import Image

from hodor_cli.datasets.dataset import recognise
from hodor_cli.datasets.labels.mask_values import read_numbers
from hodor_cli.errors import DataError, InputError, UsageError
from hodor_cli.evaluation.predictions import score_masks, score_predictions
from hodor_cli.evaluation.runner import evaluate
from hodor_cli.evaluation.scoring import YOUTUBE_VOS, score_sequence
from hodor_cli.evaluation.settings import EvaluationSettings


def shifted(labels: list[np.ndarray], by: int) -> list[np.ndarray]:
    return [np.roll(frame, by, axis=1) for frame in labels]


@pytest.fixture
def benchmark(tmp_path: Path) -> tuple[Path, Path]:
    """Three sequences (2, 2 and 1 objects) and predictions that are right, a little off, and far off."""
    truth = {"bear": moving_labels(30), "camel": moving_labels(25), "dog": moving_labels(20, ids=(1,))}
    shifts = {"bear": 0, "camel": 3, "dog": 9}
    guesses = {name: shifted(labels, shifts[name]) for name, labels in truth.items()}
    return davis(tmp_path / "set", truth), predictions(tmp_path / "guess", guesses)


def test_means_are_over_objects_and_the_worst_comes_first(benchmark: tuple[Path, Path]) -> None:
    result = evaluate(benchmark[0], predictions=benchmark[1])
    assert result.sequences["bear"].jf == 1.0
    objects = [score.j for sequence in result.sequences.values() for score in sequence.objects.values()]
    assert len(objects) == 5
    assert result.j == pytest.approx(np.mean(objects))
    assert [sequence.name for sequence in result.worst_first()] == ["dog", "camel", "bear"]
    assert result.frames_per_second is None


def test_true_masks_given_as_predictions_are_named(benchmark: tuple[Path, Path]) -> None:
    itself = evaluate(benchmark[0], predictions=benchmark[0])
    assert itself.jf == 1.0 and "the predictions of bear are its ground truth itself" in itself.notes
    assert not any("themselves" in note for note in evaluate(benchmark[0], predictions=benchmark[1]).notes)


def test_how_colours_were_read_is_told_once_for_each_sequence(benchmark: tuple[Path, Path]) -> None:
    colours = np.array([(0, 0, 0), (9, 90, 200), (7, 7, 180)], np.uint8)
    for mask in benchmark[1].rglob("*.png"):
        Image.fromarray(colours[np.asarray(Image.open(mask))]).save(mask)
    result = evaluate(benchmark[0], predictions=benchmark[1])
    told = [note for note in result.notes if "each colour an object: #095ac8 is 1" in note]
    assert [note.split(":")[0] for note in told] == ["bear", "camel", "dog"]


def test_pictures_given_as_predictions_are_named(benchmark: tuple[Path, Path]) -> None:
    for mask in benchmark[1].rglob("*.png"):
        mask.rename(mask.with_suffix(".jpg"))
    with pytest.raises(InputError, match=r"bear holds no masks \(\.png.* files\); it holds 00000\.jpg"):
        evaluate(benchmark[0], predictions=benchmark[1])


def test_processes_give_what_one_gives(benchmark: tuple[Path, Path]) -> None:
    found = recognise(benchmark[0])
    seen: list[tuple[int, int]] = []
    one = score_predictions(found, benchmark[1], workers=1).scores
    several = score_predictions(found, benchmark[1], workers=3, progress=lambda *step: seen.append(step)).scores
    assert list(one) == list(several) == ["bear", "camel", "dog"]
    for name in one:
        for object_id, score in one[name].objects.items():
            np.testing.assert_array_equal(score.f_values, several[name].objects[object_id].f_values)
    assert seen[-1] == (75, 75)


def test_missing_frames_are_listed_and_the_other_sequences_count(benchmark: tuple[Path, Path]) -> None:
    for index in range(1, 28):
        (benchmark[1] / "bear" / f"{index:05d}.png").unlink()
    result = evaluate(benchmark[0], predictions=benchmark[1])
    assert set(result.sequences) == {"camel", "dog"}
    assert "has no prediction for frame 00001, 00002" in result.failed["bear"]
    assert "00020 and 7 more" in result.failed["bear"]
    assert "bear" in json.loads(result.to_json())["failed"]


def test_masks_of_the_first_and_last_frame_are_not_needed(benchmark: tuple[Path, Path]) -> None:
    for name in ("00000", "00029"):
        (benchmark[1] / "bear" / f"{name}.png").unlink()
    assert evaluate(benchmark[0], predictions=benchmark[1]).sequences["bear"].jf == 1.0
    (benchmark[1] / "bear" / "00001.png").unlink()
    with pytest.raises(
        InputError, match="has no prediction for frame 00001, 00029;"
    ):  # where the last frame counts, too
        score_masks(recognise(benchmark[0]).sequences["bear"], benchmark[1] / "bear", YOUTUBE_VOS)


def test_a_missing_sequence_and_a_wrong_size_fail_alone(benchmark: tuple[Path, Path], tmp_path: Path) -> None:
    for file in (benchmark[1] / "bear").iterdir():
        file.unlink()
    (benchmark[1] / "bear").rmdir()
    write_sequence(None, benchmark[1] / "dog", [frame[:-1] for frame in moving_labels(20)])
    result = evaluate(benchmark[0], predictions=benchmark[1])
    assert list(result.sequences) == ["camel"]
    assert "no predictions of bear" in result.failed["bear"]
    assert "80x47 but the truth is 80x48" in result.failed["dog"]


def test_predictions_that_count_otherwise_are_matched_and_the_match_is_told(tmp_path: Path) -> None:
    labels = moving_labels(6)
    root = davis(tmp_path / "set", {"bear": labels})
    for shift, name in ((0, "same"), (1, "img")):
        folder = predictions(tmp_path / name, {"bear": labels}) / "bear"
        for place in sorted(folder.iterdir(), reverse=True):
            place.rename(folder / (f"mask_{int(place.stem) + shift:03d}.png"))
        result = evaluate(root, predictions=tmp_path / name)
        assert result.jf == 1.0
        assert any("bear" in note for note in result.notes), result.notes
    write_labels(tmp_path / "same" / "bear" / "mask_077.png", labels[0])
    result = evaluate(root, predictions=tmp_path / "same")
    assert result.jf == 1.0 and any("1 not used" in note and "mask_077" in note for note in result.notes)


def test_a_zip_of_predictions_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.writestr("bear/00000.png", b"")
    with pytest.raises(InputError, match="zip archive; unpack it"):
        evaluate(davis(tmp_path / "set", {"bear": moving_labels(4)}), predictions=tmp_path / "masks.zip")


def test_nothing_that_can_be_scored_is_an_error(benchmark: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder named like a sequence"):
        evaluate(benchmark[0], predictions=predictions(tmp_path / "others", {"cat": moving_labels(3)}))
    with pytest.raises(InputError, match="bear holds no masks"):
        evaluate(benchmark[0], predictions=tmp_path / "set" / "JPEGImages")
    with pytest.raises(InputError, match="no folder of predictions"):
        evaluate(benchmark[0], predictions=tmp_path / "gone")
    predictions(tmp_path / "odd", {"dog": moving_labels(20, ids=(7,))})
    with pytest.raises(DataError, match=r"dog holds id 7"):
        evaluate(benchmark[0], predictions=tmp_path / "odd", settings=EvaluationSettings(sequences=("dog",)))
    with pytest.raises(UsageError, match="either `model` or `predictions`"):
        evaluate(benchmark[0])


def test_a_sequence_of_two_frames_is_named(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"short": moving_labels(2), "long": moving_labels(4)})
    guess = predictions(tmp_path / "guess", {"short": moving_labels(2), "long": moving_labels(4)})
    result = evaluate(root, predictions=guess)
    assert list(result.sequences) == ["long"]
    assert "2 labelled frames" in result.failed["short"]


@pytest.mark.parametrize("place", ["predictions", "Annotations", "480p", "Annotations/480p"])
def test_predictions_are_found_one_folder_deeper(tmp_path: Path, place: str) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(4)})
    predictions(tmp_path / "guess" / place, {"bear": moving_labels(4)})
    assert evaluate(root, predictions=tmp_path / "guess").jf == 1.0


def test_results_of_segment_many_are_predictions(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(4), "camel": moving_labels(4)})
    for name in ("bear", "camel"):
        write_sequence(None, tmp_path / "results" / name / "masks", moving_labels(4))
        (tmp_path / "results" / name / "report.json").write_text("{}")
    assert list(evaluate(root, predictions=tmp_path / "results").sequences) == ["bear", "camel"]


def test_one_method_is_not_taken_for_another(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(4), "camel": moving_labels(4)})
    for method in ("ours", "theirs"):
        predictions(tmp_path / "all" / method, {name: moving_labels(4) for name in ("bear", "camel")})
    predictions(tmp_path / "all" / "unfinished", {"bear": moving_labels(4)})
    with pytest.raises(InputError, match="all holds the predictions of several methods: ours, theirs; give the folder"):
        evaluate(root, predictions=tmp_path / "all")
    predictions(tmp_path / "all", {name: moving_labels(4) for name in ("bear", "camel")})
    assert evaluate(root, predictions=tmp_path / "all").jf == 1.0  # those that lie in the folder itself


def test_predictions_of_one_sequence_may_lie_flat(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(4)})
    write_sequence(None, tmp_path / "guess", moving_labels(4))
    assert evaluate(root, predictions=tmp_path / "guess").jf == 1.0


def test_the_score_equals_that_of_vos_benchmark(benchmark: tuple[Path, Path]) -> None:
    module = pytest.importorskip("vos_benchmark.benchmark", reason="vos-benchmark is not installed")
    jf, j, f, _ = module.benchmark(
        [str(benchmark[0] / "Annotations" / "480p")], [str(benchmark[1])], num_processes=1, verbose=False
    )
    result = evaluate(benchmark[0], predictions=benchmark[1])
    assert [100 * result.jf, 100 * result.j, 100 * result.f] == pytest.approx([jf[0], j[0], f[0]], abs=1e-9)


def test_the_official_package_agrees(benchmark: tuple[Path, Path]) -> None:
    pytest.importorskip("davis2017.evaluation", reason="davis2017-evaluation is not installed")
    result = evaluate(benchmark[0], predictions=benchmark[1], settings=EvaluationSettings(official=True))
    for name, value in result.settings["official"].items():
        assert value == pytest.approx(result.metric(name), abs=1e-9), name


class OfficialPackage:
    """Stands in for `davis2017.evaluation.DAVISEvaluation`: reads what that reads, and gives numbers that are known."""

    seen: ClassVar[dict[str, set[int]]] = {}

    def __init__(self, davis_root: str, task: str, gt_set: str) -> None:
        self.root = Path(davis_root)
        assert (task, gt_set) == ("semi-supervised", "val")

    def evaluate(self, results: str) -> dict[str, dict[str, list[float]]]:
        for name in (self.root / "ImageSets" / "2017" / "val.txt").read_text().split():
            images, masks = (self.root / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
            frames = sorted(file.stem for file in images.glob("*.jpg"))
            assert frames and frames == sorted(file.stem for file in masks.glob("*.png"))
            found = [np.asarray(Image.open(masks / f"{frame}.png")) for frame in frames]
            found += [np.asarray(Image.open(file)) for file in (Path(results) / name).glob("*.png")]
            assert len(found) == 2 * len(frames)
            self.seen[name] = {int(value) for labels in found for value in np.unique(labels)}
        return {metric: {"M": [0.25, 0.75], "R": [1.0], "D": [0.0]} for metric in "JF"}


@pytest.mark.parametrize("binary", [False, True])
def test_the_official_package_is_given_the_data_set_as_it_reads_it(
    benchmark: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binary: bool
) -> None:
    root, guesses = benchmark
    if binary:  # as in DAVIS 2016; the package would take 255 for void
        labels = {"dog": [255 * frame for frame in moving_labels(20, ids=(1,))]}
        root, guesses = davis(tmp_path / "one", labels), predictions(tmp_path / "guess_one", labels)
    package, evaluation = ModuleType("davis2017"), ModuleType("davis2017.evaluation")
    package.evaluation, evaluation.DAVISEvaluation = evaluation, OfficialPackage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "davis2017", package)
    monkeypatch.setitem(sys.modules, "davis2017.evaluation", evaluation)
    monkeypatch.setattr(OfficialPackage, "seen", {})
    result = evaluate(root, predictions=guesses, settings=EvaluationSettings(official=True))
    several = {"bear": {0, 1, 2}, "camel": {0, 1, 2}, "dog": {0, 1}}
    assert OfficialPackage.seen == ({"dog": {0, 1}} if binary else several)
    official = result.settings["official"]
    assert official["J&F"] == official["J"] == 0.5 and (official["F_recall"], official["F_decay"]) == (1.0, 0.0)
    for file in (guesses / "dog").iterdir():
        Image.open(file).convert("RGB").save(file)
    if binary:  # colours are no ids, but everything that is not black is the object
        assert evaluate(root, predictions=guesses, settings=EvaluationSettings(official=True)).jf == result.jf
        assert OfficialPackage.seen == {"dog": {0, 1}}
    else:
        with pytest.raises(InputError, match=r"0000\d\.png has colours, not ids; .* or omit it"):
            evaluate(root, predictions=guesses, settings=EvaluationSettings(official=True))


def test_official_says_how_to_get_it(benchmark: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "davis2017.evaluation", None)
    with pytest.raises(UsageError, match="pip install git"):
        evaluate(benchmark[0], predictions=benchmark[1], settings=EvaluationSettings(official=True))


def test_copying_the_first_mask_scores_as_known_on_davis_2016(data_dir: Path) -> None:
    root = data_dir / "davis2016_dev" / "Annotations" / "480p" / "car-shadow"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")

    files = sorted(root.glob("*.png"))
    first = read_numbers(files[0])
    assert first is not None
    truth = [numbers for file in files if (numbers := read_numbers(file)) is not None]
    score = score_sequence(truth, (first for _ in files))
    assert score.j == pytest.approx(0.4077014320194299, abs=1e-12)
    assert score.f == pytest.approx(0.25233386330176133, abs=1e-12)


def test_an_interrupt_while_processes_start_waits_for_their_end(
    benchmark: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ProcessPoolExecutor.submit

    def interrupted(pool: ProcessPoolExecutor, *task: object) -> None:
        submit(pool, *task)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(benchmark[0], predictions=benchmark[1], settings=EvaluationSettings(workers=2))
    assert not multiprocessing.active_children()


def test_processes_end_with_a_killed_evaluation(benchmark: tuple[Path, Path]) -> None:
    script = (
        "import os, sys\n"
        "from hodor_cli.evaluation.runner import evaluate\n"
        "from hodor_cli.evaluation.settings import EvaluationSettings\n"
        "kill = lambda *_: os.kill(os.getpid(), 9)\n"
        "evaluate(sys.argv[1], predictions=sys.argv[2], settings=EvaluationSettings(workers=2), progress=kill)\n"
    )
    # The processes hold the output open as long as they live.
    killed = subprocess.run([sys.executable, "-c", script, *benchmark], stdout=subprocess.PIPE, timeout=60)
    assert killed.returncode == -9
