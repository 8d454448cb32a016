"""What a run will do, decided before anything is written: its folder, settings, data and the network it starts from."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

import hodor_cli
from hodor_cli.config import ModelConfig, SwinConfig, preset
from hodor_cli.datasets.report import CheckReport
from hodor_cli.errors import DataError, UsageError, WeightsError
from hodor_cli.model.fast import accelerate
from hodor_cli.model.hodor import Hodor
from hodor_cli.training.config import TrainConfig, train_preset
from hodor_cli.training.launch import Layout
from hodor_cli.training.options import Callbacks, ClipOptions, Recipe, RunOptions
from hodor_cli.training.run_folder import DataRecord, RunFolder, RunRecord, TrainingState, read_state
from hodor_cli.training.settings import choose_config, config_notes, preset_name, resumed_config
from hodor_cli.training.sources import DataSource, check_sources, default_sources


@dataclass(frozen=True)
class Asked:
    """What the caller of `pretrain` or `finetune` asked for."""

    kind: Literal["pretrain", "finetune"]
    sources: list[DataSource]
    clips: ClipOptions
    recipe: Recipe
    run: RunOptions
    callbacks: Callbacks


@dataclass(frozen=True)
class TrainingPlan:
    """A run as its processes need to know it; pickled if there are several.

    state: what is resumed. until: when to stop, in seconds since 1970. record: what goes into run.json.
    """

    folder: RunFolder
    config: TrainConfig
    sources: tuple[DataSource, ...]
    run: RunOptions
    callbacks: Callbacks
    state: TrainingState | None
    until: float | None
    record: RunRecord

    def headline(self, layout: Layout) -> str:
        """One line that says what begins."""
        config, processes = self.config, "" if layout.world == 1 else f", {layout.world} processes"
        begin = f"resuming after iteration {self.state.iteration} of" if self.state else "training for"
        return (
            f"{self.folder.root}: {begin} {config.iterations} iterations of {config.batch_size} samples,"
            f" '{config.model}' on {layout.kind}{processes}"
        )

    def first_model(self) -> Hodor:
        """The network that the run starts from: random, with a backbone from ImageNet, or a checkpoint's.

        A resumed run's weights are read by the loop. Raises WeightsError for a file that is damaged or does not fit.
        """
        config, record = self.config, self.record
        if self.state is not None:
            saved = self.state.model
            architecture = preset(config.model) if saved is None else ModelConfig.from_dict(saved)
            _require_architecture(architecture, config.model, self.folder.root)
            return _random_model(architecture, config.seed)
        if record.weights:
            from hodor_cli.weights import load_model

            loaded = load_model(record.weights)
            _require_architecture(loaded.config, config.model, record.weights)
            return loaded
        network = _random_model(preset(config.model), config.seed)
        if record.backbone:
            from hodor_cli.weights.imagenet import load_imagenet_backbone

            load_imagenet_backbone(network.backbone, record.backbone)
        return network


def decide(asked: Asked, layout: Layout) -> TrainingPlan:
    """Make the plan of a run. What is quick to refuse comes first; the first process alone checks the data, last.

    A resumed run keeps its settings, its data and its way of using clips. Raises UsageError, DataError, WeightsError.
    """
    until = None if asked.run.seconds is None else time.time() + asked.run.seconds
    recipe, clips = asked.recipe, asked.clips
    folder = RunFolder(asked.run.out if asked.run.out is not None else _default_folder(asked))
    state = read_state(folder.root) if asked.run.resume else None
    began = folder.read_record() if asked.run.resume else None
    if began is not None and began.kind != asked.kind:
        raise UsageError(f"{folder.root} holds a run of `hodor {began.kind}`; resume it with that command")
    clips = clips if began is None or began.clips is None else _same_clips(clips, began.clips)
    if asked.kind == "finetune" and not clips.mode:
        raise UsageError("say with `mode` how clips are used: frames, sparse or dense")
    saved = state.config if state is not None else None if began is None else began.settings
    if saved is None:
        recipe = _with_start(asked.kind, recipe)
        preset_used, config = _new_config(asked.kind, recipe, clips.mode)
        weights, backbone = _as_text(recipe.weights), _as_text(recipe.backbone)
    else:
        config = resumed_config(TrainConfig.from_dict(saved), recipe.preset, recipe.model, clips.mode, recipe.changes)
        preset_used, weights, backbone = (
            ("", "", "") if began is None else (began.preset, began.weights, began.backbone)
        )
    before = [] if began is None else began.data
    sources = _same_sources(asked.sources, before) or default_sources(asked.kind)
    records = [_record(source) for source in sources]
    if layout.rank == 0:
        for remark in config_notes(config):
            asked.callbacks.note(remark)
        reports = check_sources(sources, config, clips, asked.callbacks.checking)
        for report, of_source in zip(reports, records, strict=True):
            asked.callbacks.note(_data_line(report, clips))
            of_source.samples = report.samples
        _same_samples(records, before)
    record = RunRecord(
        asked.kind, config.to_dict(), hodor=hodor_cli.__version__, preset=preset_used, data=records,
        clips=clips if clips.mode else None, weights=weights, backbone=backbone, processes=layout.world,
    )  # fmt: skip
    callbacks = dataclasses.replace(asked.callbacks, checking=None)  # no longer needed, and it can seldom be pickled
    return TrainingPlan(folder, config, tuple(sources), asked.run, callbacks, state, until, record)


def random_backbone(model: Hodor) -> str:
    """The remark that a new network's backbone starts from random weights."""
    kind = "Swin-T (.pth)" if isinstance(model.config.backbone, SwinConfig) else "MobileNetV2 (.safetensors)"
    return f"the backbone starts from random weights; `backbone` FILE starts it from ImageNet weights of {kind}"


def _new_config(kind: str, recipe: Recipe, mode: str) -> tuple[str, TrainConfig]:
    name = preset_name(kind, recipe.preset, _architecture(recipe))
    config = choose_config(name, recipe.model, mode, recipe.changes)
    if recipe.weights and not (recipe.preset or recipe.model or "model" in recipe.changes):
        config = dataclasses.replace(config, model=_architecture_of(recipe.weights))
    return name, config


def _default_folder(asked: Asked) -> Path:
    name = preset_name(asked.kind, asked.recipe.preset, _architecture(_with_start(asked.kind, asked.recipe)))
    return Path("runs") / "-".join(filter(None, (name, asked.clips.mode)))


def _with_start(kind: str, recipe: Recipe) -> Recipe:
    """Fine-tuning without weights starts from the package's own of that architecture."""
    if kind == "pretrain" or recipe.weights is not None:
        return recipe
    from hodor_cli.weights import DEFAULT_WEIGHTS, available_weights

    architecture = recipe.model or (train_preset(recipe.preset).model if recipe.preset else DEFAULT_WEIGHTS)
    if architecture not in available_weights():
        raise UsageError(
            f"fine-tuning starts from a trained network and there are no weights named '{architecture}'; give"
            " `weights`, a file"
        )
    return dataclasses.replace(recipe, weights=architecture)


def _architecture(recipe: Recipe) -> str | None:
    """The architecture that is named, by itself or by the weights; None if it is left open."""
    named: Any = recipe.model or recipe.changes.get("model")
    if named is not None or recipe.weights is None or recipe.preset is not None:
        return None if named is None else str(named)
    return _architecture_of(recipe.weights)


def _same_clips(asked: ClipOptions, before: ClipOptions) -> ClipOptions:
    """How clips were used before. Raises UsageError, naming the option, if something else is asked for."""
    usual = dataclasses.asdict(ClipOptions())
    for name, value in dataclasses.asdict(asked).items():
        had = getattr(before, name)
        if value not in (usual[name], had):
            raise UsageError(f"`{name}={value}` contradicts `resume`: the run began with `{name}={had}`")
    return before


def _same_sources(asked: list[DataSource], before: list[DataRecord]) -> list[DataSource]:
    """The data sets: those asked for, which may have moved, or else as before. Raises UsageError."""
    if asked and before and [source.weight for source in asked] != [record.weight for record in before]:
        had = " ".join(f"`data={record.folder}:{record.weight:g}`" for record in before)
        raise UsageError(f"`data` contradicts `resume`: the run began with {had}; leave it out to keep them")
    return asked or [
        DataSource(Path(item.folder), item.weight, None if item.annotations is None else Path(item.annotations))
        for item in before
    ]


def _same_samples(now: list[DataRecord], before: list[DataRecord]) -> None:
    """Raise DataError if a set has more or fewer samples than when the run began."""
    for record, earlier in zip(now, before, strict=False):
        if earlier.samples not in (None, record.samples):
            raise DataError(
                f"{record.folder} had {earlier.samples} samples when the run began and has {record.samples} now, so"
                " `resume` cannot give the same batches; put it back or train into another folder"
            )


def _record(source: DataSource) -> DataRecord:
    annotations = None if source.annotations is None else str(source.annotations.absolute())
    return DataRecord(str(source.folder.absolute()), source.weight, annotations)


def _data_line(report: CheckReport, clips: ClipOptions) -> str:
    if clips.mode == "sparse" and report.kind == "clips":
        return f"{report.path}: {report.images} frames; of each sequence one labelled frame is read"
    return report.lines()[0]


def _as_text(path: str | Path | None) -> str:
    """A file by its whole path, a name as it is, "" for none."""
    if path is None:
        return ""
    return str(Path(path).absolute()) if Path(path).is_file() else str(path)


def _random_model(config: ModelConfig, seed: int) -> Hodor:
    """A network with the random weights of a seed; the caller's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return accelerate(Hodor(config))


def _architecture_of(weights: str | Path) -> str:
    """The name of the architecture in a weights file or of named weights. Raises as `load_model` does."""
    from hodor_cli.weights import load_checkpoint, weights_path

    return load_checkpoint(weights_path(weights)).config.name


def _require_architecture(config: ModelConfig, model: str, weights: str | Path) -> None:
    """Raise WeightsError, naming both, if the weights are of another architecture than the one to train."""
    if config.name != model:
        raise WeightsError(
            f"{weights} holds a '{config.name}' network but '{model}' is to be trained; choose weights of '{model}', or"
            f" a `preset` or `model` of '{config.name}'"
        )
