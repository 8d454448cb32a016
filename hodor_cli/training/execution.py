"""Carrying out a planned run: the folder is taken, the processes start, and each of them trains."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hodor_cli.config import SwinConfig
from hodor_cli.data.imgaug_compat import load_imgaug
from hodor_cli.errors import UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.training.checkpointing import read_run
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.launch import LaunchSettings, Layout, launch
from hodor_cli.training.loop import micro_batch, train
from hodor_cli.training.process import TrainingProcess
from hodor_cli.training.run_folder import RunFolder
from hodor_cli.training.sources import ClipOptions, DataSource, build_sets
from hodor_cli.training.start import random_model, require_architecture, saved_architecture, starting_model
from hodor_cli.training.time_limit import TimeLimit
from hodor_cli.training.watching import NoteCallback, ProgressCallback, WatchSettings, follow, watch


@dataclass(frozen=True)
class RunPlan:
    """All that the processes of a run need to know; it is pickled if there are several."""

    folder: Path
    config: TrainConfig
    sources: tuple[DataSource, ...]
    clips: ClipOptions
    weights: str | None
    backbone: str | None
    resume: bool
    overwrite: bool
    save_every: int
    workers: int
    watch: WatchSettings
    limit: TimeLimit | None
    launch: LaunchSettings
    facts: dict[str, Any]
    progress: ProgressCallback | None
    note: NoteCallback


def execute(plan: RunPlan, layout: Layout) -> dict[str, Any]:
    """Train in all processes of the layout. Returns the iterations done and the best score so far.

    Raises OutputError if another run is in the folder, or one was before that is neither resumed nor replaced;
    UsageError if the run to be replaced holds the weights to start from.
    """
    micro_batch(plan.config, layout.world)
    if plan.config.augment.maker == "imgaug":
        load_imgaug()  # whether it is there, before anything starts
    with ExitStack() as stack:
        # The process that writes the files takes the folder before any process starts to compute.
        if layout.rank == 0:
            _take_folder(plan, layout, stack)
        try:
            unused = plan.config.drop_cue > 0  # the cue's parameters, in the iterations that drop it
            done: dict[str, Any] = launch(plan.launch, layout, run_process, plan, unused=unused)
        except KeyboardInterrupt:
            state = read_run(plan.folder) if layout.rank == 0 else None
            if state is not None:
                plan.note(f"{plan.folder} keeps what was done up to iteration {state.iteration}; --resume goes on")
            raise
        return done


def _take_folder(plan: RunPlan, layout: Layout, stack: ExitStack) -> None:
    folder = RunFolder(plan.folder)
    # A model that cannot be must not cost the earlier run that it was to replace.
    saved = read_run(plan.folder) if plan.resume else None
    if saved is None:
        model = starting_model(plan.config.model, weights=plan.weights, backbone=plan.backbone, seed=plan.config.seed)
        if plan.weights is None and plan.backbone is None and plan.config.model != "toy":
            plan.note(_random_backbone(model))
    if plan.overwrite:
        for flag, file in (("--weights", plan.weights), ("--backbone", plan.backbone)):
            if file is not None and folder.made(Path(file)):
                raise UsageError(
                    f"{flag} {file} belongs to the run in {plan.folder} that --overwrite would remove; choose another"
                    " folder with -o"
                )
    stack.enter_context(folder.lock())
    folder.require_free(resume=plan.resume, overwrite=plan.overwrite)
    if plan.overwrite:
        folder.remove_run()
    folder.write_facts({**plan.facts, "processes": layout.world})
    first = 0 if saved is None else saved.iteration
    plan.note(_headline(plan, layout, first))


def run_process(process: TrainingProcess, plan: RunPlan) -> dict[str, Any]:
    """The part of one process."""
    state = read_run(plan.folder) if plan.resume else None
    if state is None:
        model = starting_model(plan.config.model, weights=plan.weights, backbone=plan.backbone, seed=plan.config.seed)
    else:
        config = saved_architecture(state.values, plan.config.model)
        require_architecture(config, plan.config.model, plan.folder)
        model = random_model(config, plan.config.seed)
    sets = build_sets(plan.sources, plan.config, plan.clips)
    with ExitStack() as stack:
        hooks = follow(plan.watch)
        if process.is_first:
            hooks = stack.enter_context(
                watch(
                    RunFolder(plan.folder),
                    plan.watch,
                    first=0 if state is None else state.iteration,
                    device=process.device,
                    precision=plan.launch.precision,
                    progress=plan.progress,
                    note=plan.note,
                )
            )
        train(
            model,
            sets,
            plan.config,
            plan.folder,
            set_weights=[source.weight for source in plan.sources],
            process=process,
            resume=plan.resume,
            save_every=plan.save_every,
            workers=plan.workers,
            metadata={"run": plan.facts},
            hooks=hooks,
            limit=plan.limit,
        )
    done = read_run(plan.folder) if process.is_first else None
    return {} if done is None else {"iterations": done.iteration, "best": done.values["best"]}


def _headline(plan: RunPlan, layout: Layout, first: int) -> str:
    config = plan.config
    processes = "" if layout.world == 1 else f", {layout.world} processes"
    begin = f"going on after iteration {first} of" if first else "training for"
    return (
        f"{plan.folder}: {begin} {config.iterations} iterations of {config.batch_size} samples, '{config.model}' on"
        f" {layout.kind}{processes}"
    )


def _random_backbone(model: Hodor) -> str:
    kind = "Swin-T (.pth)" if isinstance(model.config.backbone, SwinConfig) else "MobileNetV2 (.safetensors)"
    return f"the backbone starts from random weights; --backbone FILE starts it from ImageNet weights of {kind}"
