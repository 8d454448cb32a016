"""The training functions of the library: `pretrain` on still images, `finetune` on video frames."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from dataclasses import replace

from hodor_cli.errors import UsageError
from hodor_cli.images.paths import listed, plural
from hodor_cli.runtime.device import own_random_state
from hodor_cli.samples.batches import unknown_sources
from hodor_cli.samples.settings import ClipOptions, Data, parse_sources
from hodor_cli.settings import options_of
from hodor_cli.training.launch import Process, in_processes, layout_of
from hodor_cli.training.loop import fit
from hodor_cli.training.options import Callbacks, LaunchSettings, RunOptions, TrainingResult
from hodor_cli.training.plan import decide
from hodor_cli.training.recipe import Recipe
from hodor_cli.training.run_folder import RunRecord


def pretrain(
    data: Data = None,
    recipe: Recipe | None = None,
    run: RunOptions | None = None,
    launch: LaunchSettings | None = None,
    callbacks: Callbacks | None = None,
) -> TrainingResult:
    """Train on labelled still images (HODOR, CVPR 2022, sec. 3.5).

        pretrain("photos", Recipe(weights="mini", changes={"iterations": 5000}), RunOptions(Path("runs/mine")))

    Args:
        data: folders, optionally with weights (`"stills:0.5"`), or `DataSource`s. None: the photographs of the prepared
            workspace.
        recipe: the network, where it starts, and the settings; the paper's by default.
        run: the folder, and when to save and stop.
        launch: devices, processes, machines, precision.
        callbacks: progress, remarks and validation.
    Returns:
        Where the checkpoints are, and whether the network got better.
    Raises:
        UsageError, DataError, WeightsError, DeviceError, OutputError, TrainingError: each with one sentence.
    """
    asked = RunRecord("pretrain", {}, data=parse_sources(data))
    return _train(asked, options_of(Recipe, recipe, "recipe"), run, launch, callbacks)


def finetune(
    data: Data = None,
    clips: ClipOptions | None = None,
    recipe: Recipe | None = None,
    run: RunOptions | None = None,
    launch: LaunchSettings | None = None,
    callbacks: Callbacks | None = None,
) -> TrainingResult:
    """Continue training on clips in the DAVIS or YouTube-VOS layout, from a trained network.

        finetune("DAVIS", ClipOptions("sparse"), Recipe(weights="runs/mine/last.safetensors"))

    Args:
        data: folders, optionally with weights. Clips and photographs can be mixed.
        clips: how clips are used.
        recipe: the network, where it starts (by default the package's weights), and the settings.
        run, launch, callbacks: as for `pretrain`.
    Returns:
        Where the checkpoints are, and whether the network got better.
    Raises:
        UsageError, DataError, WeightsError, DeviceError, OutputError, TrainingError: each with one sentence.
    """
    how, recipe = options_of(ClipOptions, clips, "clips"), options_of(Recipe, recipe, "recipe")
    if recipe.backbone is not None:
        raise UsageError("`backbone` starts a new network; fine-tuning starts from `weights`")
    if how.mode == "frames" and how.max_gap is not None:
        raise UsageError(f"`mode=frames` does not use `max_gap={how.max_gap}`; leave it out")
    return _train(RunRecord("finetune", {}, data=parse_sources(data), clips=how), recipe, run, launch, callbacks)


def _train(
    asked: RunRecord,
    recipe: Recipe,
    run: RunOptions | None,
    launch: LaunchSettings | None,
    callbacks: Callbacks | None,
) -> TrainingResult:
    """Plan a run, check all that can be checked before it starts, and train while its folder is locked."""
    layout = layout_of(launch)
    options, callbacks = options_of(RunOptions, run, "run"), options_of(Callbacks, callbacks, "callbacks")
    if layout.world > 1:
        _require_picklable(callbacks)
    plan = decide(asked, recipe, options, callbacks, layout)
    folder, config = plan.folder, plan.config
    config.micro_batch_in(layout.world)
    is_first = layout.rank == 0  # the process that writes the files
    unknown = unknown_sources(config.batches, [*plan.sets, *plan.held_out])
    if is_first and unknown:
        plan.callbacks.warn(f"the data have no source {listed(unknown, 4)}, which `batches.source_weights` names")
    held = folder.held(plan.record, resume=plan.run.resume, overwrite=plan.run.overwrite) if is_first else nullcontext()
    with held:
        if is_first:
            begin = f"resuming after iteration {plan.state.iteration} of" if plan.state else "training for"
            batch = plural(config.batch_size, "sample")
            plan.callbacks.note(
                f"{folder.root}: {begin} {plural(config.iterations, 'iteration')} of {batch},"
                f" '{config.model}' on {layout.kind}{'' if layout.world == 1 else f', {layout.world} processes'}"
            )
        if layout.world == 1:
            process = Process(layout.device, layout.precision)
            with own_random_state(process.device):
                state = fit(process, plan)
        else:
            # An iteration that drops the cue gives its parameters no gradient.
            state = in_processes(layout, fit, plan, unused=config.drop_cue > 0)
    return TrainingResult(
        folder=folder.root,
        last=folder.last,
        best=folder.best if folder.best.is_file() else None,
        iterations=state.iteration,
        wanted=config.iterations,
        score=None if state.best < 0 else state.best,
        before=state.before,
        after=state.after,
        is_first=is_first,
    )


def _require_picklable(callbacks: Callbacks) -> None:
    """Raise UsageError unless the callbacks can be sent to other processes."""
    try:
        pickle.dumps(replace(callbacks, checking=None))  # data are checked in this process alone
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"`callbacks` cannot be sent to several processes ({error}); give functions of a module, not lambdas"
        ) from None
