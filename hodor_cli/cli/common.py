"""What subcommands share: consoles, a progress bar, and the options that mean the same everywhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def stdout_console() -> Console:
    """A rich console for results. Texts are printed as given: `[...]` is not markup and numbers get no colour."""
    from rich.console import Console

    return Console(markup=False, highlight=False, soft_wrap=True)


def stderr_console() -> Console:
    """A rich console for notes, warnings and progress."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print one line `warning: ...` on stderr."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Print one line on stderr that is no part of the result."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "frames") -> Iterator[Callable[..., None]]:
    """Show a bar with count, speed and time left on stderr while the block runs, only when stderr is a terminal.

    Args:
        description: What is being done, a word or two.
        total: How many steps there are; None when nobody knows.
        unit: What a step is, in the plural.

    Yields:
        `advance(n=1, *, total=None, description=None)`: n steps are done; `total` corrects an estimate.
    """
    if not sys.stderr.isatty():
        yield lambda n=1, *, total=None, description=None: None
        return

    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        """Steps per second over the last moments, and how long the rest takes at that rate."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            if not speed:
                return Text(f"- {unit}/s")
            left = ""
            if task.total is not None and not task.finished:
                minutes, seconds = divmod(int(task.remaining / speed) if task.remaining else 0, 60)
                hours, minutes = divmod(minutes, 60)
                left = f", {hours}:{minutes:02d}:{seconds:02d} left" if hours else f", {minutes}:{seconds:02d} left"
            return Text(f"{speed:.1f} {unit}/s{left}")

    def count(task: Task) -> str:
        of = f"/{int(task.total)}" if task.total is not None else ""
        return f"{int(task.completed)}{of} {unit}"

    class Count(ProgressColumn):
        """How many steps are done, of how many."""

        def render(self, task: Task) -> Text:
            return Text(count(task))

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Count(), Speed(), TimeElapsedColumn())
    with Progress(*columns, console=stderr_console()) as progress:
        task = progress.add_task(description, total=total)

        def advance(n: float = 1, *, total: int | None = None, description: str | None = None) -> None:
            if total is not None:
                progress.update(task, total=total)
            if description is not None:
                progress.update(task, description=description)
            progress.advance(task, n)

        yield advance


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
