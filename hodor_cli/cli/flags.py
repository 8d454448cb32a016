"""From the names in the library's messages to what the user of a command types.

The library does not know which command calls it, so its messages name parameters and functions in backticks (`min_dim`,
`check_dataset`). Where the running command has such an option the user reads its flag (--min-dim), and where a command
does what the function does, that command (`hodor data check`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """What the user types for a parameter: `on` (or the name of an argument), and `off` of a switch that has it."""

    on: str
    off: str = ""
    switch: bool = False

    def with_value(self, value: str) -> str:
        """How the user gives the parameter this value, as a message spells it in Python."""
        if self.switch and value in ("True", "False"):
            return self.on if value == "True" else self.off or f"no {self.on}"
        return f"{self.on} {value}"


_RUNNING: ContextVar[Mapping[str, Flag]] = ContextVar("flags of the running command", default={})  # noqa: B039
_NAME = re.compile(r"`([A-Za-z_][\w.]*)(?:=([^`]*))?`")


def remember_flags(command: Any) -> None:
    """Let `with_flags` speak of this click command, or of the subcommands of this group."""
    _RUNNING.set(flags_of(command))


@contextmanager
def flags_of_one_run() -> Iterator[None]:
    """Forget at the end of the block what `remember_flags` was told in it."""
    token = _RUNNING.set({})
    try:
        yield
    finally:
        _RUNNING.reset(token)


def flags_of(command: Any) -> dict[str, Flag]:
    """Flags by parameter name, of a click command and all its subcommands."""
    found: dict[str, Flag] = {}
    for inner in getattr(command, "commands", {}).values():
        found |= flags_of(inner)
    for parameter in command.params:
        long = [text for text in parameter.opts if text.startswith("--")]
        if long:
            flag = Flag(long[0], next(iter(parameter.secondary_opts), ""), bool(getattr(parameter, "is_flag", False)))
            found[long[0][2:].replace("-", "_")] = flag
        else:
            flag = Flag((parameter.metavar or parameter.name).strip("[]."))
        found[parameter.name] = flag
    return found


#: What a user of the command runs where the library's messages name a function.
COMMANDS_OF = {
    "check_dataset": "hodor data check",
    "export_sources": "hodor export-descriptors",
    "finetune": "hodor finetune",
    "fit_projection": "hodor train-projection",
    "preview_samples": "hodor data preview",
    "segment_source": "hodor segment",
    "segment_videos": "hodor segment-many",
}


def with_flags(message: str) -> str:
    """The message with the names of the running command's parameters as flags and those of functions as commands.

    Other texts in backticks stay.
    """
    flags = _RUNNING.get()

    def flag(found: re.Match[str]) -> str:
        known = flags.get(found[1].rpartition(".")[2] if found[1] not in flags else found[1])
        if known is None:
            return f"`{COMMANDS_OF[found[1]]}`" if found[1] in COMMANDS_OF else found[0]
        return known.on if found[2] is None else known.with_value(found[2])

    return _NAME.sub(flag, message)
