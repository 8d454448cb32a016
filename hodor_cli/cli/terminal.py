"""The one door to the terminal: results go to stdout, remarks and progress to stderr, always as harmless text.

Names that are printed come from files, which anybody may have made. So control characters are shown as escapes, text
that the terminal's encoding does not have is replaced, and a line stays one line. A reader of stderr that is gone does
not end a run; a reader of stdout that is gone ends it quietly, with exit code 141.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from hodor_cli.cli.flags import with_flags
from hodor_cli.files import harmless

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str = "") -> None:
    """Print one line of the result on stdout."""
    print(harmless(text), flush=True)


def say_json(value: Any) -> None:
    """Print a value, or a text that is JSON already, on stdout: in ASCII, so it reads the same in every encoding."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2)
    ascii_only = re.sub("[^\x00-\x7e]", lambda found: json.dumps(found[0])[1:-1], text)
    print(ascii_only.rstrip("\n"), flush=True)


def note(message: str) -> None:
    """Print one line on stderr that is no part of the result."""
    write_stderr(harmless(with_flags(message)))


def warn(message: str) -> None:
    """Print one line `warning: ...` on stderr."""
    note(f"warning: {message}")


def write_stderr(text: str) -> None:
    """Write a text and a line break to stderr, as it is. A closed stderr is no error."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def prepare_streams() -> None:
    """Make the standard streams safe to write to, for the whole process.

    Closed ones become the null device, so that the next file that is opened does not take the number of stderr.
    Characters that their encoding does not have are written as escapes.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open as long as the process)
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def let_go(stream: TextIO) -> None:
    """Flush a stream; if that fails, send what is left in it to the null device, or Python complains at its exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError):
            pass


def stdout_console() -> Console:
    """A rich console for results. Texts are printed as given: `[...]` is not markup and numbers get no colour."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """A rich console for notes, warnings and progress."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console
    from rich.text import Text

    class HarmlessConsole(Console):
        """A console whose texts, those of table cells included, are harmless; line breaks and tabs stay."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(harmless(text, keep="\n\t"), **options)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return HarmlessConsole(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "frames") -> Iterator[Callable[..., None]]:
    """Show a bar with count, speed and time left on stderr while the block runs, only when stderr is a terminal.

    Args:
        description: What is being done, a word or two.
        total: How many steps there are; None if it is unknown.
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
                left = f", {duration(task.remaining / speed if task.remaining else 0)} left"
            return Text(f"{speed:.1f} {unit}/s{left}")

    class Count(ProgressColumn):
        """How many steps are done, of how many."""

        def render(self, task: Task) -> Text:
            of = f"/{int(task.total)}" if task.total is not None else ""
            return Text(f"{int(task.completed)}{of} {unit}")

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Count(), Speed(), TimeElapsedColumn())
    with Progress(*columns, console=stderr_console()) as progress:
        task = progress.add_task(harmless(description), total=total)

        def advance(n: float = 1, *, total: int | None = None, description: str | None = None) -> None:
            if total is not None:
                progress.update(task, total=total)
            if description is not None:
                progress.update(task, description=harmless(description))
            progress.advance(task, n)

        yield advance


@contextmanager
def progress_to(
    description: str, total: int | None, unit: str = "frames"
) -> Iterator[Callable[[int, int | None], None]]:
    """`progress_bar` for work that reports how much of it is done, not how much more.

    Yields:
        `progress(done, total)`: so many steps are done, of so many.
    """
    with progress_bar(description, total, unit) as advance:
        shown = 0

        def progress(done: int, total: int | None) -> None:
            nonlocal shown
            advance(done - shown, total=total)
            shown = done

        yield progress


def duration(seconds: float) -> str:
    """Seconds as 4:05 or 1:04:05."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def counted(number: int, thing: str, things: str | None = None) -> str:
    """A number and the word for it: 1 video, 2 videos."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
