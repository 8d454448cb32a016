"""`hodor pretrain`: train a video segmenter from still images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli import training_options as options
from hodor_cli.cli.common import DeviceOption, PrecisionOption


def pretrain(
    data: options.DataOption = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Photographs whose annotations lie elsewhere.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", metavar="FILE", help="Their annotations, in COCO format.")
    ] = None,
    preset: options.PresetOption = None,
    model: options.ModelOption = None,
    weights: options.WeightsStartOption = None,
    backbone: options.BackboneOption = None,
    out: options.OutOption = None,
    iterations: options.IterationsOption = None,
    batch_size: options.BatchSizeOption = None,
    micro_batch: options.MicroBatchOption = None,
    learning_rate: options.LearningRateOption = None,
    warmup: options.WarmupOption = None,
    sequence: options.SequenceOption = None,
    schedule: options.ScheduleOption = None,
    augment: options.AugmentOption = None,
    average: options.AverageOption = None,
    seed: options.SeedOption = None,
    set_: options.SetOption = None,
    gpus: options.GpusOption = None,
    nodes: options.NodesOption = 1,
    processes: options.ProcessesOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: options.WorkersOption = 2,
    val: options.ValOption = None,
    val_every: options.ValEveryOption = 1000,
    sheet_every: options.SheetEveryOption = 500,
    save_every: options.SaveEveryOption = 200,
    time_limit: options.TimeLimitOption = None,
    resume: options.ResumeOption = False,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Train on still images in COCO format: photographs in, a video segmenter out.

    Every photograph becomes a short augmented sequence. Without --data the photographs of the prepared workspace
    ($HODOR_WORKSPACE_DIR) are taken, and the paper's settings.

    hodor pretrain --data photos --preset mini --backbone mobilenet_v2.safetensors
    hodor pretrain --data stills:0.5 --data mine:0.5 --preset mini
    hodor pretrain --gpus 4
    """
    values = locals()
    from hodor_cli.threads import wait_asleep

    wait_asleep()  # before PyTorch comes: the loader's workers need the cores that its threads would wait on
    from hodor_cli.training.runs import pretrain as run

    options.train_with(run, values, data=data, images=images, annotations=annotations)
