"""What a run will do, decided before anything is written: its folder, settings, data and the network it starts from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

import hodor_cli
from hodor_cli.config import ModelConfig, SwinConfig
from hodor_cli.errors import UsageError, WeightsError
from hodor_cli.model.fast import accelerate
from hodor_cli.model.hodor import Hodor
from hodor_cli.presets import preset
from hodor_cli.samples.sets import TrainingSet
from hodor_cli.samples.settings import ClipOptions, DataSource
from hodor_cli.samples.sources import build_sets
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.launch import Layout
from hodor_cli.training.options import Callbacks, RunOptions
from hodor_cli.training.recipe import Recipe, as_preset_file, choose_config, preset_name, read_preset, resumed_config
from hodor_cli.training.run_data import checked_sources, named_sources, opened_sources
from hodor_cli.training.run_folder import RunFolder, RunRecord, TrainingState, read_state
from hodor_cli.weights import DEFAULT_WEIGHTS, available_weights, load_checkpoint, load_model, weights_path
from hodor_cli.weights.published import load_imagenet_backbone


@dataclass(frozen=True)
class Job:
    """What a caller asks for: a network trained by this recipe on these data; clips are used as `clips` says."""

    kind: Literal["pretrain", "finetune"]
    data: list[DataSource]
    clips: ClipOptions
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """A run as its processes need to know it; pickled if there are several.

    run: with its folder, `out`. record: what goes into run.json. model: the network to start from; None: `first_model`.
    sets: what is trained on, one for each of `record.data`. apart: the pictures of these that are held out. state: what
    is resumed. until: when to stop, in seconds since 1970, which the processes of all machines share.
    """

    config: TrainConfig
    run: RunOptions
    callbacks: Callbacks = field(default_factory=Callbacks)
    record: RunRecord = field(default_factory=lambda: RunRecord("pretrain", {}))
    model: Hodor | None = None
    sets: Sequence[TrainingSet] = ()
    apart: Sequence[TrainingSet] = ()
    state: TrainingState | None = None
    until: float | None = None

    @property
    def folder(self) -> RunFolder:
        """The files of the run."""
        assert self.run.out is not None  # a plan names it
        return RunFolder(self.run.out)

    def first_model(self) -> Hodor:
        """The network that the run starts from: random, with a backbone from ImageNet, or a checkpoint's.

        A resumed run's weights are read by the loop. Raises WeightsError for a file that is damaged or does not fit.
        """
        record, wanted = self.record, self.config.model
        if self.state is None and record.weights:
            network = load_model(record.weights)
        else:
            saved = None if self.state is None else self.state.model
            architecture = preset(wanted) if saved is None else ModelConfig.from_dict(saved)
            with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it is
                torch.manual_seed(self.config.seed)
                network = accelerate(Hodor(architecture))
        if (own := network.config.name) != wanted:
            raise WeightsError(
                f"{record.weights if self.state is None else self.run.out} holds a '{own}' network but '{wanted}'"
                f" is to be trained; choose weights of '{wanted}', or a `preset` or `model` of '{own}'"
            )
        if self.state is None and record.backbone:
            load_imagenet_backbone(network.backbone, record.backbone)
        return network


def decide(job: Job, run: RunOptions, callbacks: Callbacks, layout: Layout) -> Plan:
    """Make the plan of a run. Quick checks come first. The data are checked last, and only by the first process.

    A resumed run keeps its settings, its data and its way of using clips. Raises UsageError, DataError, WeightsError.
    """
    until = None if run.seconds is None else time.time() + run.seconds
    kind, recipe = job.kind, job.recipe
    out = run.out or Path("runs") / "-".join(filter(None, (_base_of(_started(kind, recipe)), job.clips.mode)))
    if layout.rank == 0:
        RunFolder(out).require_free(resume=run.resume, overwrite=run.overwrite)
    state = read_state(out) if run.resume else None
    began = RunFolder(out).read_record() if run.resume else None
    clips = job.clips if began is None else _clips_of(began, job, out)
    if kind == "finetune" and not clips.mode:
        raise UsageError("say with `mode` how clips are used: frames, sparse or dense")
    record = RunRecord(kind, {}) if began is None else began
    if state is None and began is None:
        recipe = _started(kind, recipe)
        record.preset, record.weights, record.backbone = (
            _base_of(recipe), _named(recipe.weights), _named(recipe.backbone)
        )  # fmt: skip
        config = choose_config(str(recipe.preset), clips.mode, recipe.changes)
    else:
        saved = TrainConfig.from_dict(record.settings if state is None else state.config)
        config = resumed_config(saved, recipe.preset, clips.mode, recipe.changes)
    sources = named_sources(kind, job.data, record.data)
    opened = opened_sources(sources, config, clips)
    if layout.rank == 0:
        _remark(config, record, resumed=state is not None, note=callbacks.note)
        sources = checked_sources(sources, opened, record.data, config, clips, callbacks)
    record.settings, record.data, record.hodor = config.to_dict(), sources, hodor_cli.__version__
    record.clips, record.processes, record.format = clips if clips.mode else None, layout.world, "hodor-training"
    callbacks = replace(callbacks, checking=None)  # no longer needed, and it can seldom be pickled
    plan = Plan(config, replace(run, out=out), callbacks, record, state=state, until=until)
    model = plan.first_model() if layout.rank == 0 else None  # raises for weights that do not fit
    weights = [source.weight for source in sources]
    sets, apart = build_sets(opened, weights, clips, config.limits, config.augment, config.held_out)
    # Several processes make a network each: on a CPU they would share one that is sent to them.
    return replace(plan, model=model if layout.world == 1 else None, sets=sets, apart=apart)


def _started(kind: Literal["pretrain", "finetune"], recipe: Recipe) -> Recipe:
    """The recipe with the preset and the weights that it stands for.

    Fine-tuning without weights starts from the package's own of the architecture. Raises UsageError where there are
    none, and as `load_checkpoint`.
    """
    weights, architecture = recipe.weights, recipe.changes.get("model")
    if kind == "finetune" and weights is None:
        weights = architecture or (read_preset(recipe.preset)[1].model if recipe.preset else DEFAULT_WEIGHTS)
        if weights not in available_weights():
            raise UsageError(
                f"fine-tuning starts from a trained network and there are no weights named '{weights}'; give"
                " `weights`, a file"
            )
    if architecture is None and weights is not None and recipe.preset is None:
        architecture = load_checkpoint(weights_path(weights)).config.name
    return replace(recipe, weights=weights, preset=preset_name(kind, recipe.preset, architecture))


def _base_of(recipe: Recipe) -> str:
    """The name of the preset that a started recipe begins with, also where its settings come from a file."""
    return read_preset(str(recipe.preset))[0]


def preset_file(job: Job) -> dict[str, Any]:
    """What a file of the job's settings holds, for `Recipe.preset`. Raises UsageError, WeightsError."""
    recipe = _started(job.kind, job.recipe)
    return as_preset_file(_base_of(recipe), choose_config(str(recipe.preset), job.clips.mode, recipe.changes))


def _named(file: str | Path | None) -> str:
    """Weights as run.json names them: a file by its whole path, a name as it is, "" for none."""
    return "" if file is None else str(Path(file).absolute()) if Path(file).is_file() else str(file)


def _clips_of(began: RunRecord, job: Job, out: Path) -> ClipOptions:
    """How the run that began uses clips. Raises UsageError for a job of another kind or that says otherwise."""
    if began.kind != job.kind:
        raise UsageError(f"{out} holds a run of `hodor {began.kind}`; resume it with that command")
    if began.clips is None:
        return job.clips
    for name, value in asdict(job.clips).items():
        if value not in (getattr(ClipOptions(), name), had := getattr(began.clips, name)):
            raise UsageError(f"`{name}={value}` contradicts `resume`: the run began with `{name}={had}`")
    return began.clips


def _remark(config: TrainConfig, record: RunRecord, *, resumed: bool, note: Callable[[str], None]) -> None:
    """Remarks on settings that are allowed and rarely meant."""
    rate = config.learning_rate
    if rate.warmup >= config.iterations:
        note(
            f"the warm-up ({rate.warmup} iterations) takes the whole run ({config.iterations}), so the learning"
            f" rate never reaches {rate.peak:g}; `warmup` makes it shorter"
        )
    if not (resumed or record.weights or record.backbone or config.model == "toy"):
        swin = isinstance(preset(config.model).backbone, SwinConfig)
        note(
            "the backbone starts from random weights; `backbone` FILE starts it from ImageNet weights of "
            + ("Swin-T (.pth)" if swin else "MobileNetV2 (.safetensors)")
        )
