"""`hodor finetune`: go on training a network on the frames of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli import training_options as options
from hodor_cli.cli.common import DeviceOption, PrecisionOption


def finetune(
    data: options.DataOption = None,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="frames|sparse|dense",
            help="Annotated frames as more photographs; clips with one labelled frame each (cyclic consistency); or "
            "clips with all frames labelled.",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="NAME|FILE", help="The network to start from.  [default: mini]")
    ] = None,
    preset: options.PresetOption = None,
    model: options.ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="The run's folder.  [default: runs/PRESET-MODE]"),
    ] = None,
    max_gap: Annotated[
        int, typer.Option("--max-gap", metavar="N", min=1, help="Frames between those of a sample, at most.")
    ] = 10,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="With frames: take each n-th labelled one.")
    ] = 1,
    resolution: Annotated[
        str | None, typer.Option("--resolution", metavar="NAME", help="Folder below JPEGImages, if there are several.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="List of ImageSets.  [default: train, if there]")
    ] = None,
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
    """Go on training on clips in the DAVIS or YouTube-VOS layout, from a trained network.

    With sparse, one labelled frame of each clip is read and no other label.

    hodor finetune --mode sparse --data DAVIS --weights runs/mini/last.safetensors
    hodor finetune --mode dense --data DAVIS:0.7 --data stills:0.3 -o runs/mixed
    """
    values = locals()
    from hodor_cli.threads import wait_asleep

    wait_asleep()  # before PyTorch comes: the loader's workers need the cores that its threads would wait on
    from hodor_cli.training.runs import finetune as run

    clips = {"max_gap": max_gap, "every": every, "resolution": resolution, "split": split}
    options.train_with(run, values, data=data, mode=mode, **clips)
