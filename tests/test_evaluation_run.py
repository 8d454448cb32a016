"""Running a model through a data set."""

from __future__ import annotations

import math
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import FollowingSegmenter, davis, moving_labels, write_labels, write_meta, write_sequence

from hodor_cli.datasets.labels.mask_values import read_numbers
from hodor_cli.errors import DataError, OutputError, UsageError
from hodor_cli.evaluation.runner import evaluate, sweep_history
from hodor_cli.evaluation.settings import EvaluationOutput, EvaluationSettings, Start
from hodor_cli.model import build_model


def test_a_right_model_scores_one_and_the_speed_is_the_networks(tmp_path: Path) -> None:
    root = davis(tmp_path, {"bear": moving_labels(5), "camel": moving_labels(6)})
    seen: list[tuple[int, int]] = []
    result = evaluate(root, model=FollowingSegmenter(), progress=lambda *step: seen.append(step))
    assert result.jf == 1.0
    assert result.frames_per_second == pytest.approx(2.0)  # half a second per frame
    assert result.frames_per_second_end_to_end > 2.0
    assert seen[-1] == (11, 11)
    assert seen == sorted(seen)


class Own:
    """A researcher's segmenter: it has nothing but `step` and `reset`, and reuses its array."""

    result = staticmethod(lambda labels: labels)

    def reset(self) -> None:
        self.labels = np.zeros((48, 80), np.int64)

    def step(self, frame: np.ndarray, masks: dict[int, np.ndarray] | None = None) -> object:
        self.labels[:] = np.roll(self.labels, 1, axis=1)
        for object_id, mask in (masks or {}).items():
            self.labels[mask] = object_id
        return self.result(self.labels)


def test_an_own_segmenter_needs_step_and_reset_alone(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(5)})
    assert evaluate(root, model=Own()).jf == 1.0
    assert evaluate(root, model=Own(), output=EvaluationOutput(tmp_path / "out")).frames_per_second > 0
    for wrong in (lambda labels: labels / 1, lambda labels: labels * 70_000, lambda labels: None):
        own = Own()
        own.result = wrong
        with pytest.raises(DataError, match="the result of frame 00000 of bear"):
            evaluate(root, model=own)


def test_each_sequence_may_continue_with_a_segmenter_made_for_its_start(tmp_path: Path) -> None:
    root = davis(tmp_path, {"bear": moving_labels(5), "camel": moving_labels(6)})
    starts: list[Start] = []

    def on_start(segmenter: FollowingSegmenter, start: Start) -> FollowingSegmenter:
        starts.append(start)
        return FollowingSegmenter()

    assert evaluate(root, model=FollowingSegmenter(speed=0), on_start=on_start).jf == 1.0
    assert [sorted(start.masks) for start in starts] == [[1, 2], [1, 2]]
    assert [file.stem for file in starts[0].following] == ["00001", "00002", "00003", "00004"]


def test_binary_truth_is_given_as_object_1(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": [labels * 255 for labels in moving_labels(5, ids=(1,))]})
    segmenter = FollowingSegmenter()
    result = evaluate(root, model=segmenter, output=EvaluationOutput(tmp_path / "out"))
    assert segmenter.given == [(0, [1])]
    assert result.jf == 1.0
    assert set(np.unique(read_numbers(tmp_path / "out" / "predictions" / "bear" / "00003.png"))) == {0, 1}


def youtube_vos(root: Path, *, truth: bool) -> Path:
    labels = moving_labels(16)
    for frame in labels[:5]:
        frame[frame == 2] = 0
    frames = ["00000", "00005", "00010", "00015"]
    write_sequence(root / "JPEGImages" / "ab", None, labels)
    for frame in frames if truth else frames[:2]:
        write_labels(root / "Annotations" / "ab" / f"{frame}.png", labels[int(frame)])
    write_meta(root, {"ab": {"1": ("person", frames), "2": ("toaster", frames[1:])}})
    return root


def test_objects_that_start_later_are_given_then(tmp_path: Path) -> None:
    segmenter = FollowingSegmenter()
    result = evaluate(youtube_vos(tmp_path, truth=True), model=segmenter)
    assert segmenter.given == [(0, [1]), (5, [2])]
    assert result.jf == 1.0
    assert result.sequences["ab"].objects[1].frames == ("00005", "00010", "00015")
    assert result.sequences["ab"].objects[2].frames == ("00010", "00015")
    content = result.to_dict()
    assert content["J_seen"] == content["J_unseen"] == 1.0


def test_seen_and_unseen_count_alike(tmp_path: Path) -> None:
    root = youtube_vos(tmp_path / "set", truth=True)
    labels = moving_labels(16, ids=(1,))
    write_sequence(root / "JPEGImages" / "cd", root / "Annotations" / "cd", labels, every=5)
    frames = ["00000", "00005", "00010", "00015"]
    meta = {"ab": {"1": ("person", frames), "2": ("toaster", frames[1:])}, "cd": {"1": ("dog", frames)}}
    write_meta(root, meta)
    result = evaluate(root, model=FollowingSegmenter(speed=0))
    groups = result.group_means()
    assert result.j == pytest.approx((groups["seen"]["J"] + groups["unseen"]["J"]) / 2)
    objects = [score.j for sequence in result.sequences.values() for score in sequence.objects.values()]
    assert result.j != pytest.approx(np.mean(objects))
    assert not any("category" in note for note in result.notes)
    write_meta(root, {"ab": {"1": ("person", frames)}, "cd": {"1": ("dog", frames)}})
    result = evaluate(root, model=FollowingSegmenter(speed=0))
    assert "meta.json has no category of object 2 of ab; the means leave them out" in result.notes


def test_sets_without_truth_are_packed_for_the_server(tmp_path: Path) -> None:
    root = youtube_vos(tmp_path / "yt", truth=False)
    with pytest.raises(UsageError, match="not public; give `out`"):
        evaluate(root, model=FollowingSegmenter())
    with pytest.raises(UsageError, match="not public; only its server can score masks"):
        evaluate(root, predictions=root / "Annotations")
    result = evaluate(root, model=FollowingSegmenter(), output=EvaluationOutput(tmp_path / "out"))
    assert math.isnan(result.jf)
    assert result.to_dict()["J&F"] is None
    names = zipfile.ZipFile(result.submission).namelist()
    assert names == [f"Annotations/ab/{frame}.png" for frame in ("00000", "00005", "00010", "00015")]

    test_dev = davis(tmp_path / "davis", {"golf": moving_labels(4)}, only_first=True)
    result = evaluate(test_dev, model=FollowingSegmenter(), output=EvaluationOutput(tmp_path / "out2"))
    assert zipfile.ZipFile(result.submission).namelist() == [f"golf/{i:05d}.png" for i in range(4)]


def test_masks_that_do_not_fit_their_images_are_named(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {name: moving_labels(4) for name in ("ant", "bee")})
    for path in (root / "Annotations/480p/ant").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    for path in (root / "Annotations/480p/bee").iterdir():
        write_labels(path, read_numbers(path)[::2, ::2])
    with pytest.raises(DataError, match=r"00000_mask is 00000; rename them"):
        evaluate(root, model=FollowingSegmenter(), settings=EvaluationSettings(sequences=("ant",)))
    with pytest.raises(DataError, match=r"bee/00000\.png is \d+x\d+ but 00000\.jpg is \d+x\d+; give masks"):
        evaluate(root, model=FollowingSegmenter(), settings=EvaluationSettings(sequences=("bee",)))


def test_a_failed_sequence_does_not_lose_the_others(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {name: moving_labels(4) for name in ("bear", "camel", "dog")})
    (root / "JPEGImages" / "480p" / "dog" / "00002.jpg").unlink()
    result = evaluate(root, model=FollowingSegmenter(fail_on=2), output=EvaluationOutput(tmp_path / "out"))
    assert list(result.sequences) == ["bear"]
    assert "out of memory" in result.failed["camel"]
    assert "has no images for 1 labelled frame: 00002" in result.failed["dog"]
    shutil.rmtree(root / "JPEGImages" / "480p" / "dog")
    result = evaluate(root, model=FollowingSegmenter(), settings=EvaluationSettings(sequences=("bear", "dog")))
    assert result.failed["dog"].endswith("; add them, or score masks that exist with `predictions`")
    with pytest.raises(DataError, match="out of memory"):
        evaluate(root, model=FollowingSegmenter(fail_on=1), settings=EvaluationSettings(sequences=("camel",)))


def test_resume_keeps_finished_sequences_and_scores_anew(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {name: moving_labels(6) for name in ("bear", "camel", "dog")})
    out = tmp_path / "out"
    first = evaluate(root, model=FollowingSegmenter(fail_on=3), output=EvaluationOutput(out))
    assert set(first.sequences) == {"bear", "camel"}
    with pytest.raises(OutputError, match="`resume` keeps"):
        evaluate(root, model=FollowingSegmenter(), output=EvaluationOutput(out))
    # Nothing of the earlier scores is believed: a mask that changed changes the score.
    write_labels(out / "predictions" / "camel" / "00002.png", np.zeros((48, 80), np.uint8))
    segmenter = FollowingSegmenter()
    second = evaluate(root, model=segmenter, output=EvaluationOutput(out, resume=True))
    assert segmenter.sequences == 1
    assert (second.sequences["bear"].jf, second.sequences["dog"].jf) == (1.0, 1.0)
    assert second.sequences["camel"].jf == pytest.approx(0.75)
    assert second.frames_per_second == pytest.approx(2.0)
    assert any("2 sequences kept" in note for note in second.notes)
    # A true mask that was given is part of what the masks were made from; a later one is only scored.
    truth, moved = root / "Annotations" / "480p", moving_labels(6)
    write_labels(truth / "bear" / "00000.png", moved[1])
    write_labels(truth / "dog" / "00003.png", moved[1])
    segmenter = FollowingSegmenter()
    third = evaluate(root, model=segmenter, output=EvaluationOutput(out, resume=True))
    assert segmenter.sequences == 1
    assert any("bear is run again" in note for note in third.notes)


def test_resume_with_other_settings_runs_again(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(5)})
    evaluate(
        root,
        model=FollowingSegmenter(),
        output=EvaluationOutput(tmp_path / "out"),
        settings=EvaluationSettings(weights="a"),
    )
    segmenter = FollowingSegmenter(speed=0)
    again = evaluate(
        root,
        model=segmenter,
        output=EvaluationOutput(tmp_path / "out", resume=True),
        settings=EvaluationSettings(weights="b"),
    )
    assert segmenter.sequences == 1
    assert again.jf < 1
    assert any("other settings" in note for note in again.notes)


def test_overwrite_replaces_and_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(5)})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    for arguments in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="other files"):
            evaluate(root, model=FollowingSegmenter(), output=EvaluationOutput(tmp_path / "home", **arguments))
    evaluate(root, model=FollowingSegmenter(), output=EvaluationOutput(tmp_path / "out"))
    (tmp_path / "out" / "mine.txt").write_text("keep")
    result = evaluate(
        root, model=FollowingSegmenter(speed=0), output=EvaluationOutput(tmp_path / "out", overwrite=True)
    )
    assert result.jf < 1
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_a_sequence_that_is_too_short(tmp_path: Path) -> None:
    root = davis(tmp_path, {"bear": moving_labels(9), "short": moving_labels(2)})
    segmenter = FollowingSegmenter()
    result = evaluate(root, model=segmenter)
    assert set(result.sequences) == {"bear"}
    assert segmenter.sequences == 1
    assert "2 labelled frames" in result.failed["short"]


def test_a_real_network_runs_through_and_keeps_its_mode(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    torch.manual_seed(0)
    model = build_model("toy")
    model.train()
    model.backbone.eval()  # as when it is frozen
    root = davis(tmp_path, {"bear": moving_labels(4), "camel": moving_labels(4)})
    result = evaluate(root, model=model, settings=EvaluationSettings(device="cpu", history=2))
    assert set(result.sequences) == {"bear", "camel"}
    assert 0 <= result.jf <= 1
    assert result.frames_per_second > 0
    assert result.settings["device"].startswith("cpu")
    assert model.training and not model.backbone.training
    with pytest.raises(UsageError, match="`model` is 'toy'; give a network"):
        evaluate(root, model="toy")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`model` is a OrderedDict; give a network"):
        evaluate(root, model=model.state_dict())  # type: ignore[arg-type]


def test_a_sweep_without_matplotlib_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    root = davis(tmp_path / "set", {"bear": moving_labels(4)})
    segmenter = FollowingSegmenter()
    with pytest.raises(UsageError, match="a sweep of `history` needs the package matplotlib"):
        sweep_history(root, [1, 2], model=segmenter, output=EvaluationOutput(tmp_path / "sweep"))
    assert segmenter.sequences == 0
    assert len(sweep_history(root, [1, 2], model=segmenter)) == 2  # nothing is plotted
    with pytest.raises(UsageError, match="`settings` is a dict; give EvaluationSettings"):
        sweep_history(root, [1], model=segmenter, settings={"history": 1})  # type: ignore[arg-type]


def test_a_result_is_short_to_read_and_is_written_where_a_text_says(tmp_path: Path) -> None:
    root = davis(tmp_path / "set", {"bear": moving_labels(50)})
    result = evaluate(root, model=FollowingSegmenter())
    assert "ObjectScore(object_id=1, j=1.0000, f=1.0000, 48 frames)" in repr(result)
    assert "00007" not in repr(result)
    result.write(str(tmp_path))
    assert (tmp_path / "results.json").is_file()


def test_a_network_is_adapted_to_each_sequence_if_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HODOR_CACHE_DIR", str(tmp_path / "cache"))
    root = davis(tmp_path / "set", {"bear": moving_labels(3), "camel": moving_labels(4)})
    settings = EvaluationSettings(device="cpu", adapt="1steps")
    result = evaluate(root, model=build_model("toy"), settings=settings)
    assert set(result.sequences) == {"bear", "camel"}
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2
    with pytest.raises(UsageError, match="budget"):
        evaluate(root, model=build_model("toy"), settings=EvaluationSettings(adapt="soon"))
