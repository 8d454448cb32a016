"""Runs a benchmark as a command: its options are the parameters of `main`, its help what the docstrings say."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer


def as_command(main: Callable[..., None], docstring: str | None) -> None:
    """Run `main` with the arguments of the command line. docstring: of its file."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    paragraphs = f"{(docstring or '').strip()}\n\n{inspect.getdoc(main) or ''}".split("\n\n")
    app.command(help="\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs))(main)  # \b keeps the line breaks
    app()
