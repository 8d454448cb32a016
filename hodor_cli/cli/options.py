"""The options that several subcommands share and that are not settings of the library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from hodor_cli.cli.parameters import FRAMES, RESULTS, Fields
from hodor_cli.cli.terminal import say_json
from hodor_cli.errors import OutputError, UsageError
from hodor_cli.files import json_text, new_file, require_place

if TYPE_CHECKING:
    from hodor_cli.video.frames import FrameSource

Number = TypeVar("Number", int, float)
#: The vectors that objects are compared by.
ByName = Literal["descriptor", "baseline", "projection"]


def arg(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False)


def opt(metavar: str, help: str, *flags: str, **more: Any) -> Any:
    """An option with the placeholder of its value in help ("" for the type's own) and its help text.

    flags: only if they are not --NAME. more: further arguments of `typer.Option`.
    """
    return typer.Option(*flags, metavar=metavar or None, help=help, **more)


def switch(flag: str, help: str, **more: Any) -> Any:
    return typer.Option(flag, help=help, **more)


def out_option(metavar: str, help: str) -> Any:
    """The option `--out` or `-o`, the same in every command."""
    return opt(metavar, help, "--out", "-o")


def names_in(text: str) -> list[str]:
    """The names in `A,B,...`, without spaces around them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers_in(text: str, kind: type[Number], wrong: str) -> list[Number]:
    """The numbers in `A,B,...`. Raises UsageError with the message `wrong` for another text."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(wrong) from None


def picture_file(path: Path, *inputs: str | Path | None, overwrite: bool) -> Path:
    """The PNG file that `--out` names; `.png` is added to a name without extension.

    Raises OutputError for another extension, for one of the `inputs`, for something that is not a file, for a missing
    folder, and, unless `overwrite`, for a file that exists.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a picture in it, for example {path / 'picture.png'}")
    path = path if path.suffix else path.with_suffix(".png")
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} would be a PNG picture; give --out a name that ends in .png")
    if any(path.resolve() == Path(given).resolve() for given in inputs if given is not None):
        raise OutputError(f"{path} is an input of this command and is not overwritten; give another --out")
    require_place(path, overwrite=overwrite)
    return path


AdaptOption = Annotated[
    str | None,
    opt(
        "[SECONDS|STEPS]",
        "First fine-tune a copy of the network on the given masks, for a minute or this budget (20s, 200steps); "
        "mini then runs at a finer resolution (384 lines).",
    ),
]
OverwriteOption = Annotated[bool, switch("--overwrite", "Replace the results of an earlier run.")]
ResumeOption = Annotated[bool, switch("--resume", "Continue an interrupted run of the same command.")]
JsonOption = Annotated[bool, switch("--json", "Print JSON instead of text.")]
JsonFileOption = Annotated[
    str | None, opt("FILE|-", "Write the result as JSON; - prints only that.", "--json", rich_help_panel=RESULTS)
]


def require_new_json(target: str | None, *, overwrite: bool = False) -> None:
    """Raise OutputError if `--json FILE|-` cannot be written later, or if its file exists, unless `overwrite`."""
    if target is None or target == "-":
        return
    if not overwrite and Path(target).exists():
        raise OutputError(f"{target} exists already; choose another file for --json")
    require_place(Path(target), overwrite=True)


def write_json(value: Any, target: str | None) -> None:
    """Write a value as JSON to the target of `--json FILE|-`, if given. Raises OutputError if that fails."""
    if target == "-":
        say_json(value)
    elif target is not None:
        with new_file(Path(target), "name another file with --json") as temporary:
            temporary.write_text(json_text(value), encoding="utf-8")


#: The settings that are options of commands that segment a video.
FOLLOW_FIELDS = Fields("weights", "history", "min_dim", "max_dim", "matching", "device", "precision")
SEGMENT_FIELDS = Fields(
    "weights", "overlay", "overlay_side", "history", "min_dim", "max_dim", "matching", "device", "precision"
)


@dataclass(frozen=True)
class Reading:
    """Which frames of a source are read, and how. A parameter `Annotated[Reading, Fields()]` becomes these options."""

    start: Annotated[int, opt("N", "First frame to read, counted from 0.", min=0, rich_help_panel=FRAMES)] = 0
    end: Annotated[int | None, opt("N", "Frame to stop before [default: the end].", min=0, rich_help_panel=FRAMES)] = (
        None
    )
    value_range: Annotated[
        str | None,
        opt(
            "LOW,HIGH",
            "Values shown as black and white in frames of more than 8 bits [default: measured].",
            rich_help_panel=FRAMES,
        ),
    ] = None
    axes: Annotated[
        str | None,
        opt(
            "AXES",
            "For a TIFF with several axes: the time axis, and positions on the others, for example T,Z=3,C=0.",
            rich_help_panel=FRAMES,
        ),
    ] = None

    def open(self, source: str) -> FrameSource:
        """Open the source. Raises the errors of `open_source`."""
        from hodor_cli.video.source import open_source

        values: tuple[float, float] | None = None
        if self.value_range is not None:
            wrong = f"--value-range {self.value_range} is not two numbers LOW,HIGH, for example 0,1023"
            numbers = numbers_in(self.value_range, float, wrong)
            if len(numbers) != 2:
                raise UsageError(wrong)
            values = numbers[0], numbers[1]
        return open_source(source, start=self.start, end=self.end, value_range=values, axes=self.axes)


#: An option of version 0.1 (see `old_spellings`): also write the COCO masks where that version did.
CocoOption = Annotated[bool, switch("--coco", "See --export coco-video.", hidden=True)]
ExportOption = Annotated[
    str | None,
    opt(
        "FORMAT[,...]",
        "Also export the result to the formats of other tools, in export/ (see `hodor export`).",
        rich_help_panel=RESULTS,
    ),
]
