"""Everything that is printed: results go to stdout, notes and progress to stderr, always as harmless text.

Printed names come from files that anyone may have made, so control characters are shown as escapes, characters that the
terminal's encoding does not have are replaced, and a line stays one line. If the reader of stderr has gone, the run
continues; if the reader of stdout has gone, it ends quietly with exit code 141.

The library does not know which command calls it, so its messages name parameters and functions in backticks (`min_dim`,
`check_dataset`). They are printed as the flag of the running command (--min-dim), and as the command that does the same
(`hodor data check`).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from hodor_cli.files import harmless

if TYPE_CHECKING:
    from rich.console import Console


#: Function that the library's messages name -> command that does the same.
COMMANDS_OF = {
    "check_dataset": "hodor data check",
    "export_sources": "hodor export-descriptors",
    "finetune": "hodor finetune",
    "fit_projection": "hodor train-projection",
    "pretrain": "hodor pretrain",
    "preview_samples": "hodor data preview",
    "read_annotations": "hodor convert",
    "segment_source": "hodor segment",
    "segment_videos": "hodor segment-many",
}
#: What a message names -> what is printed for commands that do not have it.
_ELSEWHERE = {name: f"`{command}`" for name, command in {**COMMANDS_OF, "axes": "hodor segment --axes"}.items()}
_RUNNING: ContextVar[Mapping[str, str]] = ContextVar("flags of the running command", default=_ELSEWHERE)
_NAME = re.compile(r"`[\w.]*?(\w+)(=[^`]*)?`")


def remember_flags(command: Any) -> None:
    """Make `with_flags` use the flags of this click command, or of the subcommands of this group."""
    _RUNNING.set(_ELSEWHERE | flags_of(command))


@contextmanager
def flags_of_one_run() -> Iterator[None]:
    """Forget the remembered flags at the end of the block."""
    token = _RUNNING.set(_ELSEWHERE)
    try:
        yield
    finally:
        _RUNNING.reset(token)


def flags_of(command: Any) -> dict[str, str]:
    """Parameter's name, alone or with =True or =False -> what is typed; of a click command and all its subcommands."""
    found: dict[str, str] = {}
    for inner in getattr(command, "commands", {}).values():
        found |= flags_of(inner)
    for parameter in command.params:
        argument = (parameter.metavar or parameter.name).strip("[].")
        typed = next((text for text in parameter.opts if text.startswith("--")), argument)
        off = next(iter(parameter.secondary_opts), f"no {typed}")
        for name in (typed.removeprefix("--").replace("-", "_"), parameter.name):
            found |= {name: typed, f"{name}=True": typed, f"{name}=False": off}
    return found


def with_flags(message: str) -> str:
    """The message with the running command's parameters named by their flags, and functions by their commands."""
    flags = _RUNNING.get()

    def typed(found: re.Match[str]) -> str:
        name, value = found.groups("")
        return flags.get(name + value) or (f"{flags[name]} {value[1:]}" if name in flags else found[0])

    return _NAME.sub(typed, message)


def keeping_flags(print_line: Callable[[str], None]) -> Callable[[str], None]:
    """`note` or `warn` for another process, with the flags of the command that runs in this one."""
    return partial(_print_with_flags, print_line, _RUNNING.get())


def _print_with_flags(print_line: Callable[[str], None], flags: Mapping[str, str], message: str) -> None:
    _RUNNING.set(flags)
    print_line(message)


def say(text: str = "") -> None:
    """Print one line of the result on stdout."""
    print(harmless(text), flush=True)


def say_json(value: Any) -> None:
    """Print a value as JSON on stdout: in ASCII, so it reads the same in every encoding."""
    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"), flush=True)


def note(message: str) -> None:
    """Print one line on stderr that is not part of the result."""
    write_stderr(harmless(with_flags(message)))


def warn(message: str) -> None:
    """Print one line `warning: ...` on stderr."""
    note(f"warning: {message}")


def write_stderr(text: str) -> None:
    """Write a text and a line break to stderr, unchanged. A closed stderr is not an error."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Make the standard streams safe to write to, for the whole process.

    Closed streams become the null device, so that the next opened file does not get the number of stderr.
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


def flush_or_discard(stream: TextIO) -> None:
    """Flush a stream; if that fails, send the rest to the null device, or Python would complain when it exits."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def new_console(*, stderr: bool = False) -> Console:
    """A rich console for results. Texts are printed as given: `[...]` is not markup and numbers get no colour."""
    from rich.console import Console
    from rich.text import Text

    class HarmlessConsole(Console):
        """A console that makes all text harmless, also in table cells; line breaks and tabs stay."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(harmless(text, keep="\n\t"), **options)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return HarmlessConsole(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


class Show(Protocol):
    """Shows the number of finished steps. total: corrects the estimate. description: replaces the text of the bar."""

    def __call__(self, done: int, total: int | None = None, *, description: str | None = None) -> None: ...


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "frames") -> Iterator[Show]:
    """Show a bar with count, speed and time left on stderr while the block runs, only when stderr is a terminal.

    Args:
        description: What is being done, a word or two.
        total: Number of steps; None if it is unknown.
        unit: What a step is, in the plural.
    """
    if not sys.stderr.isatty():
        yield lambda done, total=None, *, description=None: None
        return

    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Count(ProgressColumn):
        """Finished steps and their total, the current speed, and the time left at that speed."""

        def render(self, task: Task) -> Text:
            of = f"/{int(task.total)}" if task.total is not None else ""
            speed = task.finished_speed or task.speed
            text = f"{int(task.completed)}{of} {unit} " + (f"{speed:.1f} {unit}/s" if speed else f"- {unit}/s")
            if speed and task.total is not None and not task.finished:
                text += f", {duration(task.remaining / speed if task.remaining else 0)} left"
            return Text(text)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Count(), TimeElapsedColumn())
    with Progress(*columns, console=new_console(stderr=True)) as progress:
        task = progress.add_task(harmless(description), total=total)

        def show(done: int, total: int | None = None, *, description: str | None = None) -> None:
            new = None if description is None else harmless(description)
            progress.update(task, completed=done, total=total, description=new)

        yield show


def duration(seconds: float) -> str:
    """Seconds as 4:05 or 1:04:05."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
