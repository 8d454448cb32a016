"""Writes docs/commands.md from the help of the commands: python docs/reference.py"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("commands.md")
_HEAD = """# Commands

Written by `make reference` from the commands' own help and the declared settings; do not edit it.
"""


def reference() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "100"
    from typer.testing import CliRunner

    from hodor_cli.cli import COMMANDS, app
    from hodor_cli.training.config import TrainConfig

    parts = [_HEAD]
    for name, spec in COMMANDS.items():
        for path in _paths(name, spec.load(name)):
            text = CliRunner().invoke(app, [*path.split(), "--help"], prog_name="hodor").output
            parts.append(f"## hodor {path}\n\n```\n{text.rstrip()}\n```\n")
    parts.append("## Settings of `--set`\n\n`hodor pretrain` and `hodor finetune` take any of them.\n")
    parts.append("| name | default of `paper-coco` | what |\n|---|---|---|")
    parts += [f"| `{name}` | `{value}` | {help} |" for name, value, help in _settings(TrainConfig(), "")]
    return "\n".join(parts) + "\n"


def _paths(name: str, command: Any) -> Iterator[str]:
    """The command and its subcommands, by their full names."""
    yield name
    for inner in getattr(command, "commands", {}):
        yield f"{name} {inner}"


def _settings(config: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Dotted name, default and documentation of each setting."""
    from hodor_cli.settings import settings_of

    for name, setting in settings_of(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            shown = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value
            yield f"{prefix}{name}", str(shown), setting.help.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
