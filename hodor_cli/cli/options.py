"""The options that mean the same in every subcommand, made from the settings that the library declares."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from hodor_cli.run.settings import SegmentSettings
from hodor_cli.settings import settings_of

#: Groups of options below the everyday ones.
FRAMES = "Which frames"
RESULTS = "What is written"
NETWORK = "Network"
MACHINE = "Machine"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def option(declared: type, name: str, metavar: str, *, flags: tuple[str, ...] = (), **more: Any) -> Any:
    """The typer option of a declared setting: its documentation and limits, under the flag of its name."""
    setting = settings_of(declared)[name]
    found = {"help": setting.help, "min": setting.least, "max": setting.most}
    return typer.Option(*(flags or (f"--{name.replace('_', '-')}",)), metavar=metavar, **(found | more))


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


WeightsOption = Annotated[str, option(SegmentSettings, "weights", "NAME|FILE")]
HistoryOption = Annotated[int, option(SegmentSettings, "history", "N", rich_help_panel=NETWORK)]
MinDimOption = Annotated[int | None, option(SegmentSettings, "min_dim", "PX", rich_help_panel=NETWORK)]
MaxDimOption = Annotated[int | None, option(SegmentSettings, "max_dim", "PX", rich_help_panel=NETWORK)]
MatchingOption = Annotated[
    bool,
    option(SegmentSettings, "matching", "", flags=("--matching/--no-matching",), rich_help_panel=NETWORK),
]
DeviceOption = Annotated[
    str,
    option(SegmentSettings, "device", "auto|cpu|cuda[:N]|mps", callback=_check_device, rich_help_panel=MACHINE),
]
PrecisionOption = Annotated[
    str,
    option(SegmentSettings, "precision", "auto|fp32|bf16|fp16", callback=_check_precision, rich_help_panel=MACHINE),
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
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left there.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JsonFileOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE|-", help="Write the result as JSON; - for stdout, alone.", rich_help_panel=RESULTS
    ),
]


def out_option(metavar: str, help: str) -> Any:
    """`--out` and `-o`: where the result goes, spelled the same in every command."""
    return typer.Option("--out", "-o", metavar=metavar, help=help)


def write_json(text: str, target: str, *, overwrite: bool = True) -> None:
    """Write JSON text where `--json FILE|-` says: to stdout, or to a file in one piece.

    Raises OutputError for a file that exists, unless `overwrite`, or that cannot be written.
    """
    from hodor_cli.cli.terminal import say_json
    from hodor_cli.errors import OutputError
    from hodor_cli.files import replacing, writing_file

    if target == "-":
        say_json(text)
        return
    path = Path(target)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another file for --json")
    with writing_file(path, "name another file with --json"), replacing(path) as temporary:
        temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
