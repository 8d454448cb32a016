"""Help texts: everyday options first, then groups, with what the user types and nothing that leaks from the code."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

from hodor_cli.cli.parameters import FIRST_GROUPS, LAST_GROUPS
from hodor_cli.cli.terminal import warn

#: Spellings of earlier versions; each works for one version more, with a warning.
RENAMED = {"--output": "--out", "--force": "--overwrite"}


class HodorCommand(TyperCommand):
    """A command whose help lists its options by their `rich_help_panel`, those without one first, under "Options"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse with today's names of options; an unknown one is never likened to a hidden one."""
        try:
            return super().parse_args(ctx, rename_options(args, self))
        except Exception as error:
            if getattr(error, "possibilities", None):
                hidden = {text for one in self.params if getattr(one, "hidden", False) for text in one.opts}
                error.possibilities = [text for text in error.possibilities if text not in hidden]  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] SOURCE [FILE]`: arguments by their metavars, optional ones in brackets."""
        pieces = ["[OPTIONS]"]
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                pieces.append(argument_name(parameter))
        return pieces

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
    """How an argument stands in the usage line: its metavar, in brackets if it can be left out."""
    name = str(parameter.metavar or parameter.name.upper())
    if parameter.nargs != 1 and not name.endswith("..."):
        name += "..."
    return name if parameter.required else f"[{name}]"


def tidy(text: str) -> str:
    """One pair of brackets behind a help text, with limits in words: [default: 7, at least 1]."""
    text = re.sub(r"(\d)<=x<=(\d)", r"\1 to \2", text)
    text = re.sub(r"; x>=0\]|  \[x>=0\]", lambda found: "]" if ";" in found[0] else "", text)
    text = text.replace("x>=", "at least ").replace("x<=", "at most ")
    return re.sub(r"\s*\[(default: [^\]]*)\]\.?\s+\[", r"  [\1; ", text)


def rename_options(args: list[str], command: Any) -> list[str]:
    """Arguments in which the option names of earlier versions are today's, where the command has those."""
    known = {text for parameter in command.params for text in parameter.opts}
    renamed = []
    for place, arg in enumerate(args):
        old, equals, value = arg.partition("=")
        if "--" in args[:place] or old in known or RENAMED.get(old) not in known:
            renamed.append(arg)
            continue
        warn(f"{old} is called {RENAMED[old]} now; the old name goes in the next version")
        renamed.append(f"{RENAMED[old]}{equals}{value}")
    return renamed
