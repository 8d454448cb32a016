"""The options that mean the same in every subcommand."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated

import typer

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def _check_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is not a device; take auto, cpu, cuda, cuda:N or mps")
    return value


def _check_precision(value: str) -> str:
    if value not in PRECISIONS:
        raise typer.BadParameter(f"{value!r} is not a precision; take one of {', '.join(PRECISIONS)}")
    return value


class ByName(str, Enum):
    """What objects are compared by."""

    descriptor = "descriptor"
    baseline = "baseline"
    projection = "projection"


WeightsOption = Annotated[
    str, typer.Option("--weights", metavar="NAME|FILE", help="Weights by name (see `hodor weights`) or a file.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|mps",
        callback=_check_device,
        help="Where to compute; auto takes the fastest there is.",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|fp32|bf16|fp16",
        callback=_check_precision,
        help="Arithmetic; auto takes the fastest that keeps the result on this device.",
    ),
]
HistoryOption = Annotated[int, typer.Option("--history", metavar="N", min=1, help="Frames of history that are kept.")]
MinDimOption = Annotated[
    int | None,
    typer.Option("--min-dim", metavar="N", min=32, help="Shorter side of the network's input [default: the model's]."),
]
AdaptOption = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        metavar="[SECONDS|STEPS]",
        help="First fine-tune a copy of the network on the given frames, for 60s if nothing is said (20s, 200steps); "
        "mini then works at 384 lines.",
    ),
]
MaxDimOption = Annotated[
    int | None,
    typer.Option("--max-dim", metavar="N", min=32, help="Limit of its longer side [default: the model's]."),
]
MatchingOption = Annotated[
    bool,
    typer.Option(
        "--matching/--no-matching",
        help="Also carry masks along by matching features, in models that can; without it descriptors alone do.",
    ),
]
