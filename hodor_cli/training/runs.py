"""The two jobs of training, as a program calls them: `pretrain` on still images, `finetune` on video frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec

from hodor_cli.errors import UsageError
from hodor_cli.training import launch as launching
from hodor_cli.training.launch import Process, micro_batch
from hodor_cli.training.loop import train
from hodor_cli.training.options import (
    Callbacks,
    ClipOptions,
    LaunchSettings,
    Recipe,
    RunOptions,
    TrainingResult,
)
from hodor_cli.training.pictures import SheetWriter
from hodor_cli.training.plan import Asked, TrainingPlan, decide, random_backbone
from hodor_cli.training.run_folder import read_state
from hodor_cli.training.samples.batches import BatchPlanner
from hodor_cli.training.sources import Data, HeldOut, build_split, parse_sources
from hodor_cli.training.watching import Events, Hooks


def pretrain(
    data: Data = None,
    recipe: Recipe | None = None,
    run: RunOptions | None = None,
    launch: LaunchSettings | None = None,
    callbacks: Callbacks | None = None,
) -> TrainingResult:
    """Train on still images in COCO format (HODOR, CVPR 2022, sec. 3.5).

        pretrain("photos", Recipe("mini", changes={"iterations": 5000}), RunOptions(Path("runs/mine")))

    Args:
        data: folders, each with a weight if wanted (`"stills:0.5"`), or `DataSource`s. None: the photographs of the
            prepared workspace.
        recipe: the network, where it starts, and the settings; the paper's by default.
        run: the folder, and when to save and stop.
        launch: devices, processes, machines, precision.
        callbacks: progress, remarks and validation.
    Returns:
        Where the checkpoints are, and whether the network got better.
    Raises:
        UsageError, DataError, WeightsError, DeviceError, OutputError, TrainingError: each with one sentence.
    """
    asked = Asked(
        "pretrain",
        parse_sources(data),
        ClipOptions(),
        recipe or Recipe(),
        run or RunOptions(),
        callbacks or Callbacks(),
    )
    return _carry_out(asked, launch or LaunchSettings())


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
        data: folders, each with a weight if wanted. Photographs may stand beside clips.
        clips: how clips are used.
        recipe: the network, where it starts (by default the package's weights), and the settings.
        run, launch, callbacks: as for `pretrain`.
    Returns:
        Where the checkpoints are, and whether the network got better.
    Raises:
        UsageError, DataError, WeightsError, DeviceError, OutputError, TrainingError: each with one sentence.
    """
    recipe = recipe or Recipe()
    if recipe.backbone is not None:
        raise UsageError("`backbone` starts a new network; fine-tuning starts from `weights`")
    asked = Asked(
        "finetune", parse_sources(data), clips or ClipOptions(), recipe, run or RunOptions(), callbacks or Callbacks()
    )
    return _carry_out(asked, launch or LaunchSettings())


def _carry_out(asked: Asked, settings: LaunchSettings) -> TrainingResult:
    """Decide, take the folder, and train in all processes."""
    layout = launching.resolve(settings)
    plan = decide(asked, layout)
    micro_batch(plan.config, layout.world)
    if plan.config.augment.maker == "imgaug":
        from hodor_cli.training.samples.imgaug_sequence import load_imgaug

        load_imgaug()  # whether it is there, before anything starts
    folder = plan.folder
    with ExitStack() as stack:
        # The process that writes the files takes the folder before any process starts to compute.
        if layout.rank == 0:
            stack.enter_context(_taken(plan))
            plan.callbacks.note(plan.headline(layout))
        unused = plan.config.drop_cue > 0  # the cue's parameters, in the iterations that drop it
        launching.launch(settings, layout, _train, plan, unused=unused)
    done = read_state(folder.root) if layout.rank == 0 else None
    return TrainingResult(
        folder=folder.root,
        last=folder.last,
        best=folder.best if folder.best.is_file() else None,
        iterations=plan.config.iterations if done is None else done.iteration,
        wanted=plan.config.iterations,
        score=None if done is None or done.best < 0 else done.best,
        before=None if done is None else done.before,
        after=None if done is None else done.after,
        is_first=layout.rank == 0,
    )


@contextmanager
def _taken(plan: TrainingPlan) -> Iterator[None]:
    """Hold the lock of the folder inside the block; with `overwrite`, an earlier run in it is removed first."""
    folder, record = plan.folder, plan.record
    if plan.state is None:
        # A model that cannot be built is refused before the earlier run is removed.
        model = plan.first_model()
        if not record.weights and not record.backbone and plan.config.model != "toy":
            plan.callbacks.note(random_backbone(model))
    if plan.run.overwrite:
        for name, file in (("weights", record.weights), ("backbone", record.backbone)):
            if file and folder.made(Path(file)):
                raise UsageError(
                    f"`{name}={file}` belongs to the run in {folder.root} that `overwrite` would remove; choose another"
                    " folder with `out`"
                )
    with folder.lock():
        folder.require_free(resume=plan.run.resume, overwrite=plan.run.overwrite)
        if plan.run.overwrite:
            folder.remove_run()
        folder.write_record(record)
        yield


def _train(process: Process, plan: TrainingPlan) -> None:
    """The part of one process."""
    folder, callbacks, config = plan.folder, plan.callbacks, plan.config
    sets, apart = build_split(plan.sources, config, plan.record.clips or ClipOptions())
    weights = [source.weight for source in plan.sources]
    planner = BatchPlanner(sets, config.batches, weights=weights, seed=config.seed)
    hooks = Hooks(callbacks, until=plan.until)
    with ExitStack() as stack:
        if process.is_first:
            if isinstance(callbacks.progress, AbstractContextManager):
                stack.enter_context(callbacks.progress)
            hooks = Hooks(
                callbacks,
                events=stack.enter_context(Events(folder.events, 0 if plan.state is None else plan.state.iteration)),
                sheet=SheetWriter(folder.sheets),
                held_out=HeldOut(apart or sets, config, apart=bool(apart)) if config.held_out else None,
                until=plan.until,
                details={"run": msgspec.to_builtins(plan.record)},
            )
        train(plan.first_model(), planner, config, folder.root, plan.run, process, hooks)
