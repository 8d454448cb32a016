"""From photographs to masks: pretrain, finetune in each mode, segment, as a user types them; and that it learns."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command import hodor, refused
from conftest import write_video
from data_fakes import make_clips
from PIL import Image
from training_fakes import losses_of, make_blobs, start

import hodor_cli
from hodor_cli.cli.training_parts import Validation
from hodor_cli.datasets.coco import StillImages
from hodor_cli.errors import DataError
from hodor_cli.evaluation.metrics import jaccard

QUICK = ["--workers", "0", "--sheet-every", "1000"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two iterations on photographs."""
    folder = tmp_path_factory.mktemp("pretrained")
    photos = make_blobs(folder / "photos")
    hodor("pretrain", "--data", photos, "--preset", "toy", "--iterations", 2, "-o", folder / "run", *QUICK)
    return folder / "run"


def test_settings_are_printed_as_a_file_that_starts_a_run_and_so_does_the_record_of_a_run(
    pretrained: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        hodor("pretrain", "--preset", "toy", "--iterations", 1, "--set", "seed=7", "--print-settings").stdout
    )
    data = ["--data", pretrained.parent / "photos", *QUICK]
    hodor("pretrain", "--preset", file, *data, "-o", tmp_path / "a")
    first = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (first["preset"], first["settings"]["seed"], first["settings"]["iterations"]) == ("toy", 7, 1)
    hodor("pretrain", "--preset", tmp_path / "a" / "run.json", *data, "-o", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "run.json").read_text()) == first
    hodor("pretrain", "--preset", file, *data, "-o", tmp_path / "a", "--resume", "--iterations", 2)
    assert len(losses_of(tmp_path / "a")) == 2


def test_the_papers_settings_are_not_begun_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nowhere = ["pretrain", "--data", tmp_path / "nowhere", "-o", tmp_path / "run"]
    assert "take months" in hodor(*nowhere, code=3).output
    for asked in ("--preset paper-coco", "--weights mini", "--model mini", "--set model=mini"):
        assert "take months" not in hodor(*nowhere, *asked.split(), code=3).output
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "take months" not in hodor(*nowhere, code=3).output


def test_clips_without_a_usable_frame_are_refused_before_anything_is_written(pretrained: Path, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", {"bear": 3, "camel": 3}, value=1, every=3)  # dense needs two labelled frames
    with pytest.raises(DataError, match="has no labelled object of"):
        start(
            hodor_cli.finetune, tmp_path / "clips", mode="dense", out=tmp_path / "run",
            weights=pretrained / "last.safetensors", settings={"limits.min_area": 1},
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_imgaug_is_needed_for_photographs_alone(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("imgaug", "imgaug.augmenters"):
        monkeypatch.setitem(sys.modules, name, None)
    make_clips(tmp_path / "clips", {"bear": 3, "camel": 3})
    options = {"weights": pretrained / "last.safetensors", "workers": 0, "sheet_every": 1000}
    options["settings"] = {"iterations": 1, "augment.maker": "imgaug"}
    start(hodor_cli.finetune, tmp_path / "clips", mode="sparse", out=tmp_path / "sparse", **options)
    with pytest.raises(DataError, match="the paper's augmentation needs imgaug"):
        start(hodor_cli.finetune, tmp_path / "clips", mode="frames", out=tmp_path / "frames", **options)
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize("mode", ["frames", "sparse", "dense"])
def test_pretrain_finetune_segment(pretrained: Path, tmp_path: Path, mode: str) -> None:
    clips, out = tmp_path / "clips", tmp_path / "run"
    make_clips(clips, {"bear": 5, "camel": 5})
    if mode == "sparse":
        # One label of each clip is enough, and no other is opened.
        for path in (clips / "Annotations" / "480p").glob("*/*.png"):
            if path.stem != "00002":
                path.write_bytes(b"not to be read")
    weights = pretrained / "last.safetensors"
    given, default = ((), ("--mode", "dense")) if mode == "frames" else (("--max-gap", 3), ("--max-gap", 10))
    command = ("finetune", "--data", clips, "--weights", weights, "-o", out, *QUICK)
    result = hodor(*command, "--mode", mode, *given, "--iterations", 2)
    assert "last.safetensors: the network after 2 iterations" in result.stdout
    assert len(losses_of(out)) == 2
    used = "one labelled frame of each sequence is" if mode == "sparse" else "10 left to train on"
    assert used in result.stderr
    began = " ".join(map(str, given)) or "--mode frames"
    assert f"the run began with {began}" in refused(*command, *default, "--resume", code=2)
    facts = json.loads((out / "run.json").read_text())
    assert (facts["kind"], facts["preset"], facts["clips"]["mode"]) == ("finetune", "toy", mode)
    assert facts["settings"]["supervise"] == ("reference" if mode == "sparse" else "all")

    frames = [np.full((64, 96, 3), 40 * t, np.uint8) for t in range(3)]
    mask = np.zeros((64, 96), np.uint8)
    mask[20:44, 30:60] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    video = write_video(tmp_path / "clip.mp4", frames)
    hodor(
        "segment", video, "--mask", tmp_path / "mask.png", "--weights", out / "last.safetensors", "--no-overlay",
        "--device", "cpu", "-o", tmp_path / "result",
    )  # fmt: skip
    assert len(list((tmp_path / "result" / "masks").glob("*.png"))) == 3


def test_youtube_vos_and_photographs_side_by_side_with_a_validation(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "train"
    make_clips(clips, {"a": 4}, resolution=None, value=1, every=2)
    (clips / "meta.json").write_text(
        json.dumps({"videos": {"a": {"objects": {"1": {"category": "box", "frames": ["00000", "00002"]}}}}})
    )
    val = tmp_path / "val"
    make_clips(val, {"bear": 3})
    notes: list[str] = []
    validation = Validation.of(val, "fp32")
    assert validation.benchmark == "DAVIS 2016 (one object: 255) at 480p, 1 sequence, 3 frames, bear"
    result = start(
        hodor_cli.finetune,
        [f"{clips}:0.5", f"{pretrained.parent / 'photos'}:0.5"],
        mode="dense",
        weights=pretrained / "last.safetensors",
        out=tmp_path / "run",
        settings={"iterations": 3},
        validate=validation,
        val_every=2,
        workers=0,
        note=notes.append,
    )
    assert result.best is not None
    assert result.score is not None
    assert 0 <= result.score <= 1
    assert capsys.readouterr().err.count("J&F") == 2  # after iteration 2 and at the end
    assert len(losses_of(result.folder)) == 3


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("pretrain --gpus 1 --processes 2", 2, "--gpus computes on GPUs and --processes on the CPU"),
        ("pretrain --resume --overwrite", 2, "--resume continues a run and --overwrite replaces it"),
        ("pretrain --weights a --backbone b", 2, "--weights already holds a backbone, which contradicts --backbone"),
        ("pretrain --images d", 2, "--images and --annotations belong together"),
        ("pretrain --learning-rate 0.1 --set learning_rate.peak=0.2", 2, "--learning-rate and --set learning_rate.pe"),
        ("pretrain --set speed", 2, "--set takes NAME=VALUE"),
        ("pretrain --preset toy --learning-rate nan", 2, "--learning-rate must be a finite number, not nan"),
        ("pretrain --preset toy --device cuda:99 -o out", 5, "CUDA device"),
        ("pretrain --precision fp16", 2, "--precision must be auto, fp32 or bf16, not 'fp16'"),
        ("pretrain --preset toy --batch-size 3 --micro-batch 2", 2, "--batch-size 3 must be a multiple of --micro-ba"),
        ("pretrain --preset big", 2, "there is no preset 'big'"),
        ("pretrain --preset minni", 2, "did you mean mini?"),
        ("pretrain --preset toy --data nowhere -o out", 3, "there is no data set nowhere"),
        ("finetune --data nowhere --preset toy", 2, "give --weights"),
        ("finetune --data d --weights {weights} -o out", 2, "say with --mode how clips are used"),
        ("finetune --mode sparse --schedule chain --weights {weights} -o out", 2, "--mode sparse needs cycles"),
        ("finetune --mode frames --max-gap 3 --weights {weights} -o out", 2, "--mode frames does not use --max-gap 3"),
        ("pretrain --preset toy --val-every 5 -o out", 2, "--val-every needs a benchmark to validate on; give --val"),
        ("finetune --mode dense --weights {weights} --preset mini-finetune --data {clips} -o out", 4, "'toy' network"),
        ("finetune --mode dense --weights {weights} -o out", 7, "give --data, a folder with JPEGImages"),
        (
            "finetune --mode dense --weights {weights} --data {photos} -o out",
            7,
            "needs clips: images/NAME, masks/NAME;",
        ),
        ("finetune --mode dense --weights {weights} --data {clips} --val nowhere -o out", 3, "nowhere"),
        (
            "finetune --mode dense --weights {weights} --data {clips} --val masks -o out",
            7,
            "has masks but no images to run the network on; add them",
        ),
    ],
)
def test_bad_calls_are_one_sentence(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_clips(tmp_path / "clips", {"a": 2})
    shutil.copytree(next((tmp_path / "clips").glob("Annotations/*/a")), tmp_path / "masks" / "a")
    places = {"clips": tmp_path / "clips", "photos": pretrained.parent / "photos"}
    arguments = command.format(weights=pretrained / "last.safetensors", **places).split()
    assert sentence in refused(*arguments, code=code)
    assert not (tmp_path / "out").exists()


def test_it_learns_four_photographs(tmp_path: Path) -> None:
    """`toy` overfits: IoU above 0.9 in training, and when it then follows each object into a shifted copy."""
    photos = make_blobs(tmp_path / "photos")
    settings = {
        "iterations": 110, "batch_size": 4, "schedule": "chain", "learning_rate.peak": 4e-3,
        "learning_rate.decay": "cosine",
    }  # fmt: skip
    result = start(
        hodor_cli.pretrain, photos, out=tmp_path / "run", preset="toy", settings=settings, workers=0, sheet_every=1000
    )
    rows = (result.folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("iou")
    assert np.mean([float(row.split(",")[column]) for row in rows[-10:]]) > 0.9

    segmenter = hodor_cli.Segmenter(hodor_cli.load_model(result.last), device="cpu")
    stills = StillImages(photos)
    for index in range(len(stills)):
        still = stills.load(index)
        segmenter.reset()
        segmenter.step(still.image, still.masks[0].astype(np.uint16))
        found = segmenter.step(np.roll(still.image, 4, axis=1))
        assert jaccard(np.roll(still.masks[0], 4, axis=1), found == 1) > 0.9, still.name
