"""The options that `hodor pretrain` and `hodor finetune` share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hodor_cli.cli.common import note, progress_bar, stdout_console

if TYPE_CHECKING:
    from hodor_cli.training.options import TrainingResult

DataOption = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="FOLDER[:WEIGHT]", help="A data set, and how often it is drawn from. Repeatable."),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Settings to start from: paper-coco, paper-finetune, mini, mini-finetune, toy.  "
        "[default: the one of the architecture]",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Architecture: swin-tiny, mini, toy.  [default: the preset's]"),
]
WeightsStartOption = Annotated[
    str | None, typer.Option("--weights", metavar="NAME|FILE", help="Start from these weights.")
]
BackboneOption = Annotated[
    Path | None,
    typer.Option("--backbone", metavar="FILE", help="Start a new network's backbone from these ImageNet weights."),
]
OutOption = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="OUT", help="The run's folder.  [default: runs/PRESET]")
]
IterationsOption = Annotated[int | None, typer.Option("--iterations", metavar="N", min=1, help="How long to train.")]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", min=1, help="Samples of an iteration, in all processes.")
]
MicroBatchOption = Annotated[
    int | None,
    typer.Option(
        "--micro-batch", metavar="N", min=1, help="Samples at once in a process; gradients of the rest are added up."
    ),
]
LearningRateOption = Annotated[
    float | None, typer.Option("--learning-rate", metavar="RATE", help="The learning rate after the warm-up.")
]
WarmupOption = Annotated[
    int | None, typer.Option("--warmup", metavar="N", min=0, help="Iterations over which the learning rate rises.")
]
SequenceOption = Annotated[
    int | None, typer.Option("--sequence", metavar="N", min=1, help="Frames of a sample; 1 is the image alone.")
]
ScheduleOption = Annotated[
    str | None,
    typer.Option("--schedule", metavar="paper|chain|self-chain", help="Cycles there and back, or forwards only."),
]
AugmentOption = Annotated[
    str | None, typer.Option("--augment", metavar="NAME", help="Augmentation: paper (imgaug), fast, mini, toy.")
]
AverageOption = Annotated[
    float | None,
    typer.Option("--average", metavar="DECAY", min=0, max=1, help="Save a running average of the weights; 0: none."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Another seed, another order.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting of run.json, such as augment.rotation=0,15 or weight_decay=0.05. Repeatable.",
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", metavar="N", min=0, help="Processes that make samples; 0 makes them in between.")
]
GpusOption = Annotated[int | None, typer.Option("--gpus", metavar="N", help="CUDA devices of each machine.")]
NodesOption = Annotated[
    int, typer.Option("--nodes", metavar="N", help="Machines; under torchrun and SLURM they are found.")
]
ProcessesOption = Annotated[int | None, typer.Option("--processes", metavar="N", help="Processes on the CPU instead.")]
SaveEveryOption = Annotated[
    int, typer.Option("--save-every", metavar="N", min=1, help="Iterations between two states to go on from.")
]
ValOption = Annotated[
    Path | None, typer.Option("--val", metavar="FOLDER", help="Measure J&F on this benchmark and keep the best.")
]
ValEveryOption = Annotated[int, typer.Option("--val-every", metavar="N", min=1, help="Iterations between two of them.")]
SheetEveryOption = Annotated[
    int, typer.Option("--sheet-every", metavar="N", min=1, help="Iterations between two sheets of predictions.")
]
TimeLimitOption = Annotated[
    str | None,
    typer.Option("--time-limit", metavar="TIME", help="Stop cleanly after 9m, 90s or 1h30m; --resume goes on."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT; begin if there is none.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the run in OUT.")]

#: Options that are settings under another name.
_SETTINGS = {
    "iterations": "iterations",
    "batch_size": "batch_size",
    "micro_batch": "micro_batch",
    "learning_rate": "learning_rate.peak",
    "warmup": "learning_rate.warmup",
    "sequence": "sequence",
    "schedule": "schedule",
    "augment": "augment",
    "average": "average",
    "seed": "seed",
}
_PASSED = (
    "out", "preset", "model", "weights", "backbone", "resume", "overwrite", "save_every", "workers", "val",
    "val_every", "sheet_every", "time_limit",
)  # fmt: skip
_LAUNCH = ("device", "precision", "gpus", "processes", "nodes")


def run_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `hodor_cli.pretrain` and `hodor_cli.finetune` from a command's parameters by name."""
    from hodor_cli.training.launch import LaunchSettings

    options = {name: values[name] for name in _PASSED if name in values}
    options["settings"] = given_settings(values)
    options["launch"] = LaunchSettings(**{name: values[name] for name in _LAUNCH})
    return options


def given_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, from the options that have one of their own and from `--set`.

    Raises UsageError where both name the same.
    """
    from hodor_cli.data.settings import augment_preset
    from hodor_cli.errors import UsageError

    changes: dict[str, Any] = {}
    for option, name in _SETTINGS.items():
        if values[option] is not None:
            changes[name] = values[option]
    if changes.get("average") == 0:
        changes["average"] = None
    if "augment" in changes:
        changes["augment"] = augment_preset(changes["augment"])
    flags = {name: f"--{option.replace('_', '-')}" for option, name in _SETTINGS.items()}
    for text in values["set_"] or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not {text!r}")
        if name in changes:
            raise UsageError(f"{flags.get(name, '--set')} and --set {text} set the same; give one of them")
        changes[name] = value
    return changes


def train_with(job: Any, values: Mapping[str, Any], **arguments: Any) -> None:
    """Run `hodor_cli.pretrain` or `hodor_cli.finetune` with a command's parameters, and say what came of it."""
    from hodor_cli.cli.training_live import LiveLine

    options = run_options(values)
    with ExitStack() as stack:
        advance: Any = None

        def checking(done: int, total: int) -> None:
            nonlocal advance
            if advance is None:
                advance = stack.enter_context(progress_bar("checking", total, "items"))
            advance(1)
            if done == total:
                stack.close()
                advance = None

        result: TrainingResult = job(**arguments, **options, progress=LiveLine(), note=note, checking=checking)
    if not result.is_first:
        return
    console = stdout_console()
    console.print(f"{result.last}: the network after {result.iterations} iterations")
    if result.best is not None and result.score is not None:
        console.print(f"{result.best}: the best by validation, J&F {100 * result.score:.1f}")
    if result.iterations < result.wanted:
        note(
            f"the time is over; go on with the same command and --resume ({result.iterations} of {result.wanted} done)"
        )
    note(f"Use it: hodor segment VIDEO --mask MASK --weights {result.best or result.last}")
