"""`hodor pretrain`: train a video segmenter from still images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import opt
from hodor_cli.cli.parameters import MACHINE, Fields
from hodor_cli.cli.training import Changes, DataOption, train_with
from hodor_cli.errors import UsageError
from hodor_cli.training.options import LaunchSettings, Recipe, RunOptions


def pretrain(
    *,
    data: DataOption = None,
    images: Annotated[Path | None, opt("DIR", "Photographs whose annotations lie elsewhere.")] = None,
    annotations: Annotated[Path | None, opt("FILE", "Their annotations, in COCO format.")] = None,
    recipe: Annotated[Recipe, Fields("preset", "model", "weights", "backbone")],
    run: Annotated[RunOptions, Fields(panel="Run")],
    changes: Annotated[Changes, Fields()],
    launch: Annotated[LaunchSettings, Fields(panel=MACHINE)],
) -> None:
    """Train on still images in COCO format: photographs in, a video segmenter out.

    Every photograph becomes a short augmented sequence. Without --data it uses the photographs of the prepared
    workspace ($HODOR_WORKSPACE_DIR) and the paper's settings.

    hodor pretrain --data photos --preset mini --backbone mobilenet_v2.safetensors
    hodor pretrain --data stills:0.5 --data mine:0.5 --preset mini
    hodor pretrain --gpus 4
    """
    from hodor_cli.training.options import DataSource
    from hodor_cli.training.runs import pretrain as job

    if (images is None) != (annotations is None):
        raise UsageError("`images` and `annotations` belong together; give both, or a folder with `data`")
    elsewhere = [] if images is None else [DataSource(images, annotations=annotations)]
    train_with(job, [*(data or ()), *elsewhere], recipe, run, changes, launch)
