"""`hodor pretrain` and `hodor finetune`: train a video segmenter from still images, and continue on video frames."""

from __future__ import annotations

import dataclasses
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hodor_cli.cli.options import opt, switch
from hodor_cli.cli.parameters import MACHINE, Fields, option
from hodor_cli.cli.terminal import Show, keeping_flags, note, progress_bar, say, say_json, warn
from hodor_cli.cli.training_parts import LiveLine, Validation
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import plural
from hodor_cli.samples.settings import ClipOptions, augment_preset
from hodor_cli.settings import settings_of
from hodor_cli.training.config import LearningRate, TrainConfig
from hodor_cli.training.options import LaunchSettings, RunOptions
from hodor_cli.training.recipe import Recipe

if TYPE_CHECKING:
    from hodor_cli.training.options import TrainingResult


DataOption = Annotated[
    list[str] | None, opt("FOLDER[:WEIGHT]", "A data set, and its share of the samples. Repeatable.")
]
_RUN, _SETTINGS = "Run", "Settings"
#: Option -> dotted name of its setting, where they differ.
_DOTTED = {"learning_rate": "learning_rate.peak", "warmup": "learning_rate.warmup"}


@dataclass(frozen=True)
class Changes:
    """Changes to the settings of a preset; `--set` reaches the settings of `TrainConfig` that have no option."""

    model: Annotated[
        str | None, opt("NAME", "Architecture: swin-tiny, mini, toy.  [default: from the weights or the preset]")
    ] = None
    iterations: Annotated[int | None, option(TrainConfig, "iterations")] = None
    batch_size: Annotated[int | None, option(TrainConfig, "batch_size", _SETTINGS)] = None
    micro_batch: Annotated[int | None, option(TrainConfig, "micro_batch", _SETTINGS)] = None
    learning_rate: Annotated[
        float | None, option(LearningRate, "peak", _SETTINGS, flag="--learning-rate", metavar="RATE")
    ] = None
    warmup: Annotated[int | None, option(LearningRate, "warmup", _SETTINGS)] = None
    sequence: Annotated[int | None, option(TrainConfig, "sequence", _SETTINGS)] = None
    schedule: Annotated[str | None, option(TrainConfig, "schedule", _SETTINGS)] = None
    average: Annotated[float | None, option(TrainConfig, "average", _SETTINGS, metavar="DECAY")] = None
    seed: Annotated[int | None, option(TrainConfig, "seed", _SETTINGS)] = None
    augment: Annotated[
        str | None, opt("NAME", "Augmentation: paper (imgaug), fast, mini, toy.", rich_help_panel=_SETTINGS)
    ] = None
    set_: Annotated[
        list[str] | None,
        opt(
            "NAME=VALUE",
            "Change any other setting of run.json, such as augment.rotation=0,15. Repeatable.",
            "--set",
            rich_help_panel=_SETTINGS,
        ),
    ] = None
    print_settings: Annotated[
        bool,
        switch(
            "--print-settings",
            "Print all settings as JSON, which --preset can read, and do not train.",
            rich_help_panel=_SETTINGS,
        ),
    ] = False
    val: Annotated[
        Path | None,
        opt("FOLDER", "Measure J&F on this benchmark while training; keep the best network.", rich_help_panel=_RUN),
    ] = None

    def by_name(self) -> dict[str, Any]:
        """The changes by dotted name. Raises UsageError if an option and `--set` change the same setting."""
        changes: dict[str, Any] = {}
        flags: dict[str, str] = {}
        for called, value in vars(self).items():
            name = _DOTTED.get(called, called)
            flags[name] = f"--{called.replace('_', '-')}"
            if value is not None and called not in ("augment", "set_", "print_settings", "val"):
                changes[name] = value
        # The other options have the names of their settings, which are checked later.
        if self.learning_rate is not None:
            dataclasses.replace(settings_of(LearningRate)["peak"], name="learning_rate").check(self.learning_rate)
        if changes.get("average") == 0:
            changes["average"] = None
        if self.augment is not None:
            changes["augment"] = augment_preset(self.augment)
        for text in self.set_ or []:
            name, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"--set takes NAME=VALUE, not {text!r}")
            if name in changes:
                raise UsageError(f"{flags.get(name, '--set')} and --set {text} change the same setting; give one")
            changes[name] = value
        return changes


def train_with(
    job: Any, data: list[Any], recipe: Recipe, run: RunOptions, changes: Changes, launch: LaunchSettings, **more: Any
) -> None:
    """Run `hodor_cli.pretrain` or `hodor_cli.finetune`, and print the outcome."""
    from hodor_cli.training.options import Callbacks

    recipe = dataclasses.replace(recipe, changes=changes.by_name())
    if changes.print_settings:
        from hodor_cli.training.recipe import preset_file

        say_json(preset_file(job.__name__, recipe, more["clips"].mode if "clips" in more else ""))
        return
    if changes.val is None and run.val_every != RunOptions().val_every:
        raise UsageError("`val_every` needs a benchmark to validate on; give `val` as well, or leave it out")
    validate = None if changes.val is None else Validation.of(changes.val, launch.precision)
    with ExitStack() as stack:
        show: Show | None = None

        def checking(done: int, total: int) -> None:
            nonlocal show
            show = show or stack.enter_context(progress_bar("checking", total, "items"))
            show(done)
            if done == total:
                stack.close()
                show = None

        benchmark = "" if validate is None else validate.benchmark
        callbacks = Callbacks(LiveLine(), keeping_flags(note), keeping_flags(warn), checking, validate, benchmark)
        result: TrainingResult = job(data, recipe=recipe, run=run, launch=launch, callbacks=callbacks, **more)
    if not result.is_first:
        return
    say(f"{result.last}: the network after {plural(result.iterations, 'iteration')}")
    if result.best is not None and result.score is not None:
        say(f"{result.best}: the best by validation, J&F {100 * result.score:.1f}")
    if result.iterations < result.wanted:
        note(f"the time limit was reached after {result.iterations} of {result.wanted} iterations; `resume` continues")
    note(f"Use it: hodor segment VIDEO --mask MASK --weights {shlex.quote(str(result.best or result.last))}")


def pretrain(
    *,
    data: DataOption = None,
    images: Annotated[Path | None, opt("DIR", "Photographs whose annotations are elsewhere.")] = None,
    annotations: Annotated[Path | None, opt("FILE", "The annotations of the photographs in --images.")] = None,
    recipe: Annotated[Recipe, Fields("preset", "weights", "backbone")],
    changes: Annotated[Changes, Fields()],
    run: Annotated[RunOptions, Fields(panel=_RUN)],
    launch: Annotated[LaunchSettings, Fields(panel=MACHINE)],
) -> None:
    """Train on labelled photographs: still images in, a video segmenter out.

    Every photograph is turned into a short augmented sequence. Without --data, the photographs of the prepared
    workspace ($HODOR_WORKSPACE_DIR) and the paper's settings are used.

    hodor pretrain --data photos --preset mini --backbone mobilenet_v2.safetensors
    hodor pretrain --data stills:0.5 --data mine:0.5 --preset mini
    hodor pretrain --gpus 4
    """
    from hodor_cli.samples.settings import DataSource
    from hodor_cli.training.runs import pretrain as job

    if (images is None) != (annotations is None):
        raise UsageError("`images` and `annotations` belong together; give both, or a folder with `data`")
    elsewhere = [] if images is None else [DataSource(images, annotations=annotations)]
    if data and recipe == Recipe() and "model" not in changes.by_name() and not (run.resume or changes.print_settings):
        import torch

        if not torch.cuda.is_available():  # the default settings are the paper's
            warn("without a GPU, the paper's settings take months and 12 GB of memory; use `weights=mini` instead")
    train_with(job, [*(data or ()), *elsewhere], recipe, run, changes, launch)


def finetune(
    *,
    data: DataOption = None,
    clips: Annotated[ClipOptions, Fields()],
    recipe: Annotated[Recipe, Fields("preset", "weights")],
    changes: Annotated[Changes, Fields()],
    run: Annotated[RunOptions, Fields(panel=_RUN)],
    launch: Annotated[LaunchSettings, Fields(panel=MACHINE)],
) -> None:
    """Continue training on clips in the DAVIS or YouTube-VOS layout, from a trained network (mini by default).

    With --mode sparse, only one labelled frame of each clip is read.

    hodor finetune --mode sparse --data DAVIS --weights runs/mini/last.safetensors
    hodor finetune --mode dense --data DAVIS:0.7 --data stills:0.3 -o runs/mixed
    """
    from hodor_cli.training.runs import finetune as job

    train_with(job, data or [], recipe, run, changes, launch, clips=clips)
