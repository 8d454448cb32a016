"""Settings of a run: presets, changes by name, the learning rate, and what contradicts what."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hodor_cli.errors import InputError, UsageError
from hodor_cli.model import build_model
from hodor_cli.samples.settings import (
    AugmentSettings,
    BatchSettings,
    ClipOptions,
    DataSource,
    parse_source,
    parse_sources,
)
from hodor_cli.settings import settings_of
from hodor_cli.training.config import PRESETS, LearningRate, TrainConfig, flat, train_preset
from hodor_cli.training.launch import layout_of
from hodor_cli.training.learner import freeze_stages, rate_at
from hodor_cli.training.options import LaunchSettings, RunOptions
from hodor_cli.training.recipe import (
    Recipe,
    check_same,
    choose_config,
    preset_file,
    preset_name,
    read_preset,
    resumed_config,
    with_settings,
)


def test_the_papers_numbers() -> None:
    paper = train_preset("paper-coco")
    assert (paper.model, paper.batch_size, paper.iterations, paper.weight_decay) == ("swin-tiny", 8, 250_000, 0.01)
    assert (paper.schedule, paper.supervise, paper.sequence, paper.clip_norm) == ("paper", "all", 3, None)
    assert (paper.batches.area, paper.batches.max_objects) == (300_000, 4)
    assert (paper.limits.min_area, paper.limits.min_side, paper.augment.maker) == (2000, 20, "imgaug")
    rates = [rate_at(paper.learning_rate, i, paper.iterations) for i in (0, 4_999, 9_999, 99_999, 100_000, 249_999)]
    assert rates == pytest.approx([1e-8, 5e-5, 1e-4, 1e-4, 1e-5, 1e-5])
    tuned = train_preset("paper-finetune")
    rates = [rate_at(tuned.learning_rate, i, tuned.iterations) for i in (4_999, 9_999, 19_999)]
    assert (tuned.iterations, rates) == (20_000, pytest.approx([5e-6, 1e-5, 1e-5]))


def test_a_cosine_ends_at_its_floor() -> None:
    rate = LearningRate(peak=1.0, warmup=10, decay="cosine", floor=0.1)
    assert [rate_at(rate, i, 110) for i in (4, 9, 10, 60, 110)] == pytest.approx([0.5, 1.0, 1.0, 0.55, 0.1])


@pytest.mark.parametrize("name", list(PRESETS))
def test_settings_survive_json(name: str) -> None:
    config = train_preset(name)
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    check_same(flat(config.to_dict()), flat(again.to_dict()))


def test_every_number_can_be_changed_by_its_name() -> None:
    changes = {
        "iterations": "7", "learning_rate.peak": "1e-3", "learning_rate.milestones": "3,5", "clip_norm": "none",
        "augment.rotation": "0, 15", "augment.colour_each_frame": "off", "batches.area": "4096", "average": "0.9",
        "batches.source_weights": "coco:2,cats/full:0.5", "limits.at_area": "none", "sequence": 1, "batch_size": 6,
    }  # fmt: skip
    config = with_settings(train_preset("mini"), changes)
    assert (config.iterations, config.learning_rate.peak, config.learning_rate.milestones) == (7, 1e-3, (3, 5))
    assert (config.clip_norm, config.average, config.limits.at_area) == (None, 0.9, None)
    assert (config.augment.rotation, config.augment.colour_each_frame) == ((0.0, 15.0), False)
    assert (config.batches.area, config.batches.source_weights) == (4096, {"coco": 2.0, "cats/full": 0.5})
    # What follows from others follows.
    assert (config.augment.frames, config.batches.batch_size) == (1, 6)


def test_every_setting_says_what_it_is() -> None:
    kinds = [TrainConfig, LearningRate, AugmentSettings, BatchSettings, RunOptions, ClipOptions, LaunchSettings, Recipe]
    for kind in kinds:
        for name, setting in settings_of(kind).items():
            has_parts = dataclasses.is_dataclass(setting.kind) or name == "changes"
            assert setting.help or has_parts, f"{kind.__name__}.{name}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"augment.rotaton": "1"}, "did you mean augment.rotation"),
        ({"peak": "1"}, "did you mean learning_rate.peak"),
        ({"rotation": "0,15"}, "did you mean augment.rotation"),
        ({"augment.rotation": "3"}, "2 numbers separated by commas"),
        ({"iterations": "many"}, "a whole number"),
        ({"augment": "x"}, "is a group of settings"),
        ({"augment.frames": "2"}, "follows from sequence"),
        ({"batch_size": 3, "micro_batch": 2}, "`batch_size=3` must be a multiple of `micro_batch=2`"),
        ({"batch_size": 10_000_000}, "`batch_size` must be between 1 and 10000"),
        ({"sequence": 2}, "`schedule=paper` needs `sequence=3`"),
        ({"weight_decay": "-1"}, "`weight_decay` must be at least 0, not -1"),
        ({"drop_cue": "7"}, "`drop_cue` must be between 0 and 1, not 7"),
        ({"average": "2"}, "`average` must be between 0 and 1, not 2"),
        ({"clip_norm": "nan"}, "`clip_norm` must be a finite number, not nan"),
        ({"batches.aspects": "0,1"}, "`aspects` must be numbers above 0"),
    ],
)
def test_changes_that_cannot_be(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        with_settings(train_preset("toy"), changes)


def test_a_mode_brings_its_settings_and_refuses_others(tmp_path: Path) -> None:
    sparse = choose_config("mini-finetune", "sparse", {})
    assert (sparse.supervise, sparse.schedule, sparse.sequence, sparse.augment.frames) == ("reference", "paper", 3, 3)
    assert choose_config("mini-finetune", "dense", {}).supervise == "all"
    with pytest.raises(UsageError, match=r"`mode=sparse`.*`schedule=chain`"):
        choose_config("mini-finetune", "sparse", {"schedule": "chain"})
    with pytest.raises(UsageError, match=r"`mode=sparse`.*`sequence=1`"):
        choose_config("mini-finetune", "sparse", {"sequence": 1})
    (tmp_path / "single.json").write_text('{"preset": "toy", "settings": {"sequence": 1}}')
    with pytest.raises(UsageError, match=r"`mode=sparse`.*`sequence=1`"):
        choose_config(str(tmp_path / "single.json"), "sparse", {})
    with pytest.raises(UsageError, match=r"`mode=dense`.*`supervise=reference`"):
        choose_config("mini-finetune", "dense", {"supervise": "reference"})


def test_the_preset_follows_the_architecture() -> None:
    assert preset_name("pretrain", None, None) == "paper-coco"
    assert preset_name("pretrain", None, "mini") == "mini"
    assert preset_name("finetune", None, "swin-tiny") == "paper-finetune"
    assert preset_name("finetune", "toy", "mini") == "toy"
    with pytest.raises(UsageError, match="no preset for the architecture 'huge'"):
        preset_name("pretrain", None, "huge")
    with pytest.raises(UsageError, match="there is no preset 'papr'"):
        choose_config("papr", "", {})


def test_going_on_keeps_the_settings_of_the_run() -> None:
    saved = with_settings(train_preset("mini"), {"iterations": 50, "augment.path": 0.0}).to_dict()
    del saved["augment"]["path"]  # written before there was such a setting
    began = TrainConfig.from_dict(saved)
    assert resumed_config(began, None, "", {"iterations": 80}).iterations == 80
    assert resumed_config(began, None, "", {}).augment.path == 0.0
    with pytest.raises(UsageError, match=r"augment.path was 0.0, not 0.5"):
        resumed_config(began, "mini", "", {"iterations": 80})
    with pytest.raises(UsageError, match=r"learning_rate.peak was 0.0004, not 0.1"):
        resumed_config(began, None, "", {"learning_rate.peak": 0.1})


def test_settings_of_another_version_are_named() -> None:
    saved = train_preset("mini").to_dict()
    saved["batches"]["multiple"] = 32
    with pytest.raises(UsageError, match=r"another version of hodor \(batches.multiple\)"):
        TrainConfig.from_dict(saved)


def test_a_folder_and_its_weight(tmp_path: Path) -> None:
    assert parse_source("stills:0.5") == DataSource(Path("stills"), 0.5)
    assert parse_source("stills") == DataSource(Path("stills"))
    (tmp_path / "a:2").mkdir()
    assert parse_source(tmp_path / "a:2") == DataSource(tmp_path / "a:2")
    for text in ("stills:0", "stills:-1", "stills:nan"):
        with pytest.raises(UsageError, match="above 0"):
            parse_source(text)
    with pytest.raises(UsageError, match="`data` is a ClipOptions"):
        parse_sources(ClipOptions())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"`data` names .*a:2 twice; name each data set once"):
        parse_sources([tmp_path / "a:2", tmp_path, f"{tmp_path}/x/../a:2:0.5"])
    annotated = [DataSource(tmp_path, annotations=Path(name)) for name in ("a.json", "b.json")]
    assert parse_sources(annotated) == annotated


TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3", "SLURM_PROCID": "4"}


def test_who_starts_the_processes() -> None:
    cpu = LaunchSettings(device="cpu")
    alone = layout_of(cpu, {})
    assert (alone.world, alone.rank, alone.starter) == (1, 0, "hodor")
    elastic = layout_of(cpu, TORCHRUN)
    assert (elastic.local, elastic.nodes, elastic.rank, elastic.starter) == (2, 2, 3, "torchrun")
    slurm = layout_of(cpu, SRUN)
    assert (slurm.local, slurm.nodes, slurm.rank, slurm.starter) == (2, 3, 4, "slurm")
    # A batch script of SLURM that does not use srun is an ordinary process.
    assert layout_of(cpu, {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}).starter == "hodor"
    place = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}
    several = layout_of(LaunchSettings(processes=3, nodes=2), place)
    assert (several.world, several.rank) == (6, 3)


def test_settings_come_from_a_file_with_those_of_its_preset_for_the_others(tmp_path: Path) -> None:
    changes = {"iterations": 50, "augment.path": 0.0, "sequence": 4}
    config = with_settings(train_preset("mini"), changes)
    whole, part, record = (tmp_path / f"{name}.json" for name in ("whole", "part", "run"))
    whole.write_text(json.dumps(preset_file("pretrain", Recipe("mini", changes=changes), "")))
    assert read_preset(str(whole)) == ("mini", config)
    part.write_text('{"preset": "mini", "settings": {"iterations": 50, "augment": {"path": 0}, "sequence": 4}}')
    assert read_preset(str(part)) == ("mini", config)
    record.write_text(json.dumps({"kind": "pretrain", "preset": "mini", "settings": config.to_dict(), "data": []}))
    assert read_preset(str(record)) == ("mini", config)
    assert choose_config(str(part), "", {"iterations": 60}).iterations == 60
    assert Recipe(part).preset == str(part)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        (None, InputError, "there is no file of settings"),
        ("[]", InputError, r"mine\.json is not a file of settings that can be read"),
        ('{"settings": {}}', InputError, "missing required field 'preset'"),
        ('{"preset": "big", "settings": {}}', UsageError, r"mine\.json: there is no preset 'big'"),
        (
            '{"preset": "mini", "settings": {"learning_rate": {"pek": 1}}}',
            UsageError,
            "did you mean learning_rate.peak",
        ),
        ('{"preset": "mini", "settings": {"iterations": [5]}}', UsageError, r"mine\.json: .iterations. must be"),
        (
            '{"preset": "mini", "settings": {"drop_cue": 2}}',
            UsageError,
            r"mine\.json: `drop_cue` must be between 0 and 1",
        ),
        ('{"preset": "mini", "settings": {"batches": {"batch_size": 2}}}', UsageError, "follows from batch_size"),
    ],
)
def test_mistakes_in_a_file_of_settings(tmp_path: Path, text: str | None, error: type, sentence: str) -> None:
    if text is not None:
        (tmp_path / "mine.json").write_text(text)
    with pytest.raises(error, match=sentence):
        read_preset(str(tmp_path / "mine.json"))


@pytest.mark.parametrize(
    ("settings", "environ", "sentence"),
    [
        ({"gpus": 1, "processes": 2}, {}, r"`gpus`.*`processes`"),
        ({"gpus": 1, "device": "cpu"}, {}, r"`gpus=1` contradicts `device=cpu`"),
        ({"gpus": 1, "device": "cuda:1"}, {}, r"`gpus=1` contradicts `device=cuda:1`"),
        ({"processes": 2, "device": "cuda"}, {}, r"`processes=2`.*`device=cuda`"),
        ({"processes": 0}, {}, "`processes` must be at least 1"),
        ({"precision": "fp16"}, {}, "`precision` must be auto, fp32 or bf16, not 'fp16'"),
        ({"processes": 2, "nodes": 2}, {}, r"`nodes=2`.*MASTER_ADDR, MASTER_PORT, NODE_RANK"),
        ({"processes": 3}, TORCHRUN, r"`processes=3` contradicts torchrun, which started 2"),
        ({"processes": 2, "nodes": 3}, TORCHRUN, r"`nodes=3` contradicts torchrun, which runs on 2"),
    ],
)
def test_launches_that_contradict_themselves(settings: dict[str, Any], environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        layout_of(LaunchSettings(**settings), environ)


def test_frozen_stages_do_not_learn() -> None:
    backbone = build_model("toy").backbone
    freeze_stages(backbone, 2)
    parts = [[part for layer in stage for part in layer.parameters()] for stage in backbone.stages()]
    assert [{part.requires_grad for part in stage} for stage in parts] == [{False}, {False}, {True}, {True}]
