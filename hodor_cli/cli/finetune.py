"""`hodor finetune`: continue training a network on the frames of videos."""

from __future__ import annotations

from typing import Annotated

from hodor_cli.cli.parameters import MACHINE, Fields
from hodor_cli.cli.training import Changes, DataOption, train_with
from hodor_cli.training.options import ClipOptions, LaunchSettings, Recipe, RunOptions


def finetune(
    *,
    data: DataOption = None,
    clips: Annotated[ClipOptions, Fields()],
    recipe: Annotated[Recipe, Fields("preset", "model", "weights")],
    run: Annotated[RunOptions, Fields(panel="Run")],
    changes: Annotated[Changes, Fields()],
    launch: Annotated[LaunchSettings, Fields(panel=MACHINE)],
) -> None:
    """Continue training on clips in the DAVIS or YouTube-VOS layout, from a trained network (mini by default).

    With sparse, one labelled frame of each clip is read and no other label.

    hodor finetune --mode sparse --data DAVIS --weights runs/mini/last.safetensors
    hodor finetune --mode dense --data DAVIS:0.7 --data stills:0.3 -o runs/mixed
    """
    from hodor_cli.training.runs import finetune as job

    train_with(job, data or [], recipe, run, changes, launch, clips=clips)
