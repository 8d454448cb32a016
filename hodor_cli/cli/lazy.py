"""A command group that imports a subcommand only when it runs, and the layout of its help.

Help lists everyday options first, then groups of options. It shows what the user types and no names from the code."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from hodor_cli.cli.failures import report
from hodor_cli.cli.old_spellings import current_command, current_options, end_of_options
from hodor_cli.cli.parameters import FIRST_GROUPS, LAST_GROUPS, expand
from hodor_cli.cli.terminal import flags_of_one_run, remember_flags
from hodor_cli.errors import InputError, UsageError


class HodorCommand(TyperCommand):
    """A command whose help lists its options by their `rich_help_panel`, those without one first, under "Options"."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        # Print no warnings while the shell completes a command line.
        if not ctx.resilient_parsing:
            flags = {flag for parameter in self.params for flag in parameter.opts}
            args = fill_optional_values(current_options(args, flags))
            self._refuse_misleading(ctx, args, flags)
        return super().parse_args(ctx, args)

    def _refuse_misleading(self, ctx: Any, args: list[str], flags: set[str]) -> None:
        """Raise UsageError for arguments that click would accept with another meaning than the user's.

        These are a long option with one dash (read as -o with a value), an option that takes the next option as its
        value, an option given twice that takes one value, and an empty --out (read as the current folder).
        """
        for text in args[: end_of_options(args)]:
            if text.startswith("-") and (long := f"-{text.partition('=')[0]}") in flags:
                raise UsageError(f"long options begin with two dashes: {long}, not {long[1:]}")
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        options: list[Any] = [parameter for parameter in self.params if parameter.param_type_name == "option"]
        for option in options:
            name, value = "/".join([option.opts[0], *option.secondary_opts]), values.get(option.name)
            if taken := flags & set(value if option.multiple and value else [value]):
                raise UsageError(f"{name} has no value: {taken.pop()} follows it")
            if option.name == "out" and value is not None and not value.strip():
                raise UsageError("--out is empty; say where to write")
            switch = option.is_flag and not option.secondary_opts
            if (times := given.count(option)) > 1 and not option.multiple and not switch:
                joined = ", with its values joined by commas" if ",..." in (option.metavar or "") else ""
                raise UsageError(f"{name} is given {times} times; give it once{joined}")

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] SOURCE [FILE]`: arguments by their metavars, optional ones in brackets."""
        arguments = (parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "argument")
        return ["[OPTIONS]", *map(argument_name, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", "Options", *FIRST_GROUPS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((argument_name(parameter), record[1].replace("  [required]", "")))
            else:
                title = getattr(parameter, "rich_help_panel", None) or "Options"
                flag = re.sub("<([^>]*)>", r"\1", record[0])
                sections.setdefault(title, []).append((flag, tidy(record[1])))
        for title in sorted(sections, key=lambda title: LAST_GROUPS.index(title) if title in LAST_GROUPS else -1):
            if rows := sections[title]:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=28)


def argument_name(parameter: Any) -> str:
    """An argument in the usage line: its metavar, in brackets if it is optional."""
    name = str(parameter.metavar or parameter.name.upper())
    if parameter.nargs != 1 and not name.endswith("..."):
        name += "..."
    return name if parameter.required else f"[{name}]"


def tidy(text: str) -> str:
    """The help text with one pair of brackets at its end and limits in words: [default: 7; at least 1]."""
    text = re.sub(r"(\d)<=x<=(\d)", r"\1 to \2", text)
    text = re.sub(r"; x>=0\]|  \[x>=0\]", lambda found: "]" if ";" in found[0] else "", text)
    text = text.replace("x>=", "at least ").replace("x<=", "at most ")
    return re.sub(r"\s*\[(default: [^\]]*)\]\.?\s+\[", r"  [\1; ", text)


#: Options whose value, an amount such as 20s or 200steps, may be left out, and the value they then have.
OPTIONAL_VALUES = {"--adapt": "60s"}
#: What is taken as such a value: a number with a unit, even a misspelt one, or a negative number. A bare number is not:
#: it is a camera.
_AMOUNT = re.compile(r"\d+(\.\d+)?\s?[a-z]+|-\d.*", re.IGNORECASE)


@dataclass(frozen=True)
class CommandSpec:
    """Where a subcommand lives: the module of this folder, one line of help, and its function (or `typer.Typer` for a
    group), by default named like the command."""

    module: str
    help: str
    attribute: str = ""

    def load(self, name: str) -> Any:
        """Import the module and build the click command of this subcommand."""
        target = getattr(
            importlib.import_module(f"hodor_cli.cli.{self.module}"), self.attribute or name.replace("-", "_")
        )
        if isinstance(target, typer.Typer):
            command: Any = typer.main.get_group(target)
            command.help = command.help or self.help
        else:
            holder = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            holder.command(name, cls=HodorCommand)(expand(target))
            command = typer.main.get_command(holder)
        command.name = name
        return keep_examples(command)


def group(help: str) -> typer.Typer:
    """An empty group of subcommands, for `CommandSpec`."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def keep_examples(command: Any) -> Any:
    """Keep the line breaks of example paragraphs (indented, or lines that start with `hodor `) in help texts.

    Modifies the command, and the subcommands of a group, and returns it.
    """
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(
        f"\b\n{text}" if all(line.startswith((" ", "hodor ")) for line in text.splitlines()) and text else text
        for text in paragraphs
    )
    for inner in getattr(command, "commands", {}).values():
        keep_examples(inner)
    return command


def fill_optional_values(args: list[str]) -> list[str]:
    """The arguments with a value after each option of `OPTIONAL_VALUES`: the amount that follows, or the default.

    If the text after such an option is not an amount, as in `--adapt 2024_clip.mp4`, it is a separate argument.
    """
    filled: list[str] = []
    for text, after in zip_longest(args, args[1:], fillvalue=""):
        filled.append(text)
        if text in OPTIONAL_VALUES and (not _AMOUNT.fullmatch(after) or Path(after).exists()):
            filled.append(OPTIONAL_VALUES[text])
    return filled


class LazyGroup(TyperGroup):
    """Lists subcommands from a table; imports the one that is called; turns every exception into one line."""

    specs: Mapping[str, CommandSpec] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        keep_examples(self)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.specs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        spec = self.specs.get(cmd_name)
        if spec is None:
            return None
        # The help table and shell completion need only a name and a line of help.
        return TyperCommand(cmd_name, help=spec.help, short_help=spec.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # The base class proposes a similar name from this dictionary when the name is unknown.
        self.commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        # Print no warnings while the shell completes a command line.
        name, found, rest = super().resolve_command(ctx, args if ctx.resilient_parsing else current_command(args))
        if not found:
            return name, found, rest
        command = self.specs[str(name)].load(str(name))
        remember_flags(command)
        return name, command, rest

    def main(  # type: ignore[override]
        self, args: Any = None, prog_name: str | None = None, *, standalone_mode: bool = True, **more: Any
    ) -> Any:
        """Run the command line. In standalone mode (the default), raise `SystemExit` with the exit code."""
        with flags_of_one_run():
            try:
                _require_working_folder()
                result = super().main(args, prog_name, standalone_mode=False, **more)
                sys.stdout.flush()
                code = result if isinstance(result, int) else 0
            except BaseException as caught:
                error = caught.__cause__ if isinstance(caught, _CarriedError) and caught.__cause__ else caught
                if not standalone_mode:
                    raise error from None
                code = report(error)
        if not standalone_mode:
            return result
        sys.exit(code)

    def invoke(self, ctx: Any) -> Any:
        # Typer's own `main` would swallow an interrupt or a broken pipe, so they pass it as the cause of another error.
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, EOFError, OSError) as error:
            raise _CarriedError from error


def _require_working_folder() -> None:
    try:
        os.getcwd()  # without it, PyTorch ends the process with a message of its own
    except OSError as error:
        raise InputError("the working folder was removed; change to another folder first") from error


class _CarriedError(Exception):
    """Carries its cause past typer's handler to `LazyGroup.main`."""
