"""Plans a run before anything is written: its folder, settings, data, and the network it starts from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import hodor_cli
from hodor_cli.config import ModelConfig
from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import workspace_stills
from hodor_cli.errors import DataError, InputError, UsageError, WeightsError
from hodor_cli.formats.check import check_opened
from hodor_cli.formats.opening import is_clips, open_set
from hodor_cli.images.paths import listed, require_exists
from hodor_cli.model.build import build_model
from hodor_cli.model.hodor import Hodor
from hodor_cli.presets import preset
from hodor_cli.samples.imgaug_sequence import unused_settings
from hodor_cli.samples.sets import TrainingSet
from hodor_cli.samples.settings import MAX_GAP, ClipOptions, DataSource
from hodor_cli.samples.sources import build_sets
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.launch import Layout
from hodor_cli.training.options import Callbacks, RunOptions
from hodor_cli.training.recipe import Recipe, choose_config, read_preset, resumed_config, start_of
from hodor_cli.training.run_folder import RunFolder, RunRecord, TrainingState, read_state
from hodor_cli.weights.checkpoint import bundled_origin
from hodor_cli.weights.published import load_imagenet_backbone
from hodor_cli.weights.registry import load_model, name_in_record, weights_path


@dataclass(frozen=True)
class Plan:
    """Everything that the processes of a run need to know; pickled if there are several.

    run: the options, including the folder, `out`. record: the content of run.json. model: the network to start from;
    None: `first_model`. sets: the training sets, one for each of `record.data`. held_out: sets of the pictures that are
    held out. state: the state to resume from. until: when to stop, in seconds since 1970, the same on all machines.
    """

    config: TrainConfig
    run: RunOptions
    callbacks: Callbacks = field(default_factory=Callbacks)
    record: RunRecord = field(default_factory=lambda: RunRecord("pretrain", {}))
    model: Hodor | None = None
    sets: Sequence[TrainingSet] = ()
    held_out: Sequence[TrainingSet] = ()
    state: TrainingState | None = None
    until: float | None = None

    @property
    def folder(self) -> RunFolder:
        """The files of the run."""
        assert self.run.out is not None  # `decide` sets it
        return RunFolder(self.run.out)

    def first_model(self) -> Hodor:
        """The network that the run starts from: random, with a backbone from ImageNet, or a checkpoint's.

        The loop reads the weights of a resumed run. Raises WeightsError for a file that is damaged or does not fit.
        """
        record, wanted = self.record, self.config.model
        if self.state is None and record.weights:
            network = load_model(record.weights)
        else:
            saved = None if self.state is None else self.state.model
            network = build_model(wanted if saved is None else ModelConfig.from_dict(saved), seed=self.config.seed)
        if (own := network.config.name) != wanted:
            raise WeightsError(
                f"{record.weights if self.state is None else self.run.out} holds a '{own}' network, not '{wanted}' as"
                f" the settings ask for; choose weights of '{wanted}', or a `preset` or `model` of '{own}'"
            )
        if self.state is None and record.backbone:
            load_imagenet_backbone(network.backbone, record.backbone)
        return network


def decide(asked: RunRecord, recipe: Recipe, run: RunOptions, callbacks: Callbacks, layout: Layout) -> Plan:
    """Plan a run. Quick checks come first; the data are checked last, and only by the first process.

    asked: the kind of run, its data, and how clips are used. A resumed run keeps its settings, its data and its use of
    clips. Raises UsageError, DataError, WeightsError.
    """
    until = None if run.seconds is None else time.time() + run.seconds
    kind, clips = asked.kind, asked.clips or ClipOptions()
    out = run.out
    if out is None:
        name, _ = read_preset(start_of(kind, recipe)[0])
        out = Path("runs") / "-".join(filter(None, (name, clips.mode)))
    folder = RunFolder(out)
    if layout.rank == 0:
        folder.require_free(resume=run.resume, overwrite=run.overwrite)
    state, began = (read_state(out), folder.read_record()) if run.resume else (None, None)
    if began is not None:
        clips = _clips_of(began, kind, clips, out)
    if kind == "finetune" and not clips.mode:
        raise UsageError("say with `mode` how clips are used: frames, sparse or dense")
    record = RunRecord(kind, {}) if began is None else began
    if state is None and began is None:
        begins, weights = start_of(kind, recipe)
        record.preset, _ = read_preset(begins)
        record.weights, record.backbone = name_in_record(weights), name_in_record(recipe.backbone)
        record.origin = "" if weights is None else bundled_origin(weights_path(weights)) or ""
        config = choose_config(begins, clips.mode, recipe.changes)
    else:
        if began is not None:
            _require_same_start(began, recipe, callbacks.benchmark)
        saved = TrainConfig.from_dict(record.settings if state is None else state.config)
        config = resumed_config(saved, recipe.preset, clips.mode, recipe.changes)
        if state is not None and config.iterations < state.iteration:
            raise UsageError(f"`iterations={config.iterations}` contradicts `resume`: {out} has done {state.iteration}")
    sources = _named_sources(kind, asked.data, record.data)
    opened = [_opened(source, config, clips) for source in sources]
    if clips.mode in ("sparse", "dense") and not any(isinstance(found, ClipSet) for found in opened):
        raise DataError(
            f"`mode={clips.mode}` needs clips: images/NAME, masks/NAME; {sources[0].folder} has photographs: `pretrain`"
        )
    if layout.rank == 0:
        _remark(config, record, resumed=state is not None, note=callbacks.note)
        sources = _checked(sources, opened, record.data, config, clips, callbacks)
    record.settings, record.data, record.hodor = config.to_dict(), sources, hodor_cli.__version__
    record.benchmark, record.processes = callbacks.benchmark or record.benchmark, layout.world
    record.clips = clips if clips.mode else None
    callbacks = replace(callbacks, checking=None)  # no longer needed, and rarely picklable
    plan = Plan(config, replace(run, out=out), callbacks, record, state=state, until=until)
    model = plan.first_model() if layout.rank == 0 else None  # raises for weights that do not fit
    shares = [source.weight for source in sources]
    sets, held_out = build_sets(opened, shares, clips, config.limits, config.augment, config.held_out)
    # Several processes build a network each, because on a CPU they would share the memory of one that is sent to them.
    return replace(plan, model=model if layout.world == 1 else None, sets=sets, held_out=held_out)


def _require_same_start(began: RunRecord, recipe: Recipe, benchmark: str) -> None:
    """Raise UsageError if a recipe names other weights than those that the run to resume began with, or if the best
    checkpoint was chosen on another benchmark, whose scores cannot be compared."""
    for name, wanted, had in (
        ("weights", name_in_record(recipe.weights), began.weights),
        ("backbone", name_in_record(recipe.backbone), began.backbone),
        # Older versions did not name the sequences, and a run may get its validation when it is resumed.
        ("val", benchmark, benchmark if benchmark.startswith(began.benchmark) else began.benchmark),
    ):
        if wanted not in ("", had):
            start = f"with `{name}={had}`" if had else f"without `{name}`"
            raise UsageError(f"`{name}={wanted}` contradicts `resume`: it began {start}; leave it out, or change `out`")


def _clips_of(began: RunRecord, kind: str, clips: ClipOptions, out: Path) -> ClipOptions:
    """The clip options of the run to resume. Raises UsageError if another kind of run or other options are wanted."""
    if began.kind != kind:
        raise UsageError(f"{out} holds a run of `hodor {began.kind}`; resume it with that command")
    if began.clips is None:
        return clips
    for name, value in asdict(clips).items():
        had = getattr(began.clips, name) or (MAX_GAP if name == "max_gap" else None)
        if value not in (had, "", None):
            raise UsageError(f"`{name}={value}` contradicts `resume`: the run began with `{name}={had}`")
    return began.clips


def _named_sources(kind: str, data: list[DataSource], began: list[DataSource]) -> list[DataSource]:
    """The data sets that are named, else those that the run began with, else the prepared workspace's photographs.

    Raises UsageError for other weights than the run began with, DataError or InputError if there are no data.
    """
    if data and began and [source.weight for source in data] != [source.weight for source in began]:
        had = " ".join(f"`data={source.folder}:{source.weight:g}`" for source in began)
        raise UsageError(f"`data` contradicts `resume`: the run began with {had}; leave it out to keep them")
    if not data and (gone := next((source.folder for source in began if not source.folder.exists()), None)):
        raise InputError(f"there is no data set {gone} any more; name the present places of all with `data`")
    if data or began:
        return data or began
    if kind == "finetune":
        raise DataError("there is nothing to fine-tune on; give `data`, a folder with JPEGImages and Annotations")
    images, annotations = workspace_stills()
    return [DataSource(images, annotations=annotations)]


def _opened(source: DataSource, config: TrainConfig, clips: ClipOptions) -> StillImages | ClipSet:
    """A data set, opened once for both the check and training. Raises DataError if there is none that fits."""
    require_exists(source.folder, "data set")
    if not clips.mode and source.annotations is None and is_clips(source.folder):
        raise DataError(f"{source.folder} holds clips; use `finetune`, whose mode frames uses each as a photograph")
    return open_set(
        source.folder,
        source.annotations,
        limits=config.limits,
        resolution=clips.resolution,
        allow_empty=True,
    )


def _checked(
    sources: list[DataSource],
    opened: list[StillImages | ClipSet],
    before: list[DataSource],
    config: TrainConfig,
    clips: ClipOptions,
    callbacks: Callbacks,
) -> list[DataSource]:
    """Check the data sets; returns them with absolute paths and their numbers of samples.

    Raises DataError for sets that cannot be used, or that have more or fewer samples than when the run began.
    """
    reports = [check_opened(found, config.limits, progress=callbacks.checking) for found in opened]
    if faults := [report.sentence() for report in reports if not report.ok]:
        raise DataError("; ".join(faults))
    found, sparse = [], clips.mode == "sparse"
    for source, report in zip(sources, reports, strict=True):
        in_part = f"{report.path}: {report.images} frames; one labelled frame of each sequence is used"
        callbacks.note(in_part if report.kind == "clips" and sparse else report.lines()[0])
        for sentence in report.warnings():
            callbacks.warn(sentence)
        annotations = None if source.annotations is None else source.annotations.absolute()
        found.append(DataSource(source.folder.absolute(), source.weight, annotations, report.samples))
    for now, earlier in zip(found, before, strict=False):
        if earlier.samples not in (None, now.samples):
            was = "" if now.folder == earlier.folder else f"{earlier.folder} "
            raise DataError(
                f"{now.folder} has {now.samples} samples, but {was}had {earlier.samples} when the run began, so"
                " `resume` cannot go on; restore the data, or start another run with its last.safetensors as `weights`"
            )
        if now.folder != earlier.folder:
            callbacks.note(f"{now.folder} takes the place of {earlier.folder}, with which the run began")
    return found


def _remark(config: TrainConfig, record: RunRecord, *, resumed: bool, note: Callable[[str], None]) -> None:
    """Note settings that are allowed but rarely intended."""
    rate = config.learning_rate
    if rate.warmup >= config.iterations:
        note(f"in {config.iterations} iterations `warmup` ({rate.warmup}) never reaches rate {rate.peak:g}; shorten it")
    if config.augment.maker == "imgaug" and (unused := unused_settings(config.augment)):
        note(f"imgaug augments photographs without {listed(unused, 4)}; `augment=fast` uses them")
    if not (resumed or record.weights or record.backbone or config.model == "toy"):
        note(f"the backbone starts from random weights; give `backbone` {preset(config.model).backbone.imagenet}")
