"""Settings are frozen dataclasses whose fields document, check and default themselves.

A field is declared once, as `batch_size: Annotated[int, about("Samples of an iteration.", least=1)] = 8`;
`check_settings` in `__post_init__` refuses what lies outside, and command-line options, `--set` and the reference page
are made from `settings_of`. The limits are `msgspec.Meta`, so that a file with saved settings is checked by the same
declaration; of a field that may be None they stand inside: `Annotated[int, about(...)] | None`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import Meta

from hodor_cli.errors import UsageError, closest


def about(help: str, *, least: float | None = None, above: float | None = None, most: float | None = None) -> Meta:
    """What a field is, in a sentence, and its limits: at least `least`, or more than `above`; at most `most`."""
    limits: dict[str, Any] = {"ge": least, "gt": above, "le": most}
    return Meta(description=help, **limits)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A declared field: its type without None, whether None is allowed too, its text, limits and choices."""

    name: str
    kind: Any
    optional: bool
    default: Any
    help: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> None:
        """Raise UsageError for a value outside the limits."""
        if value is None and self.optional:
            return
        if self.choices and value not in self.choices:
            names = [*filter(None, self.choices)]
            raise UsageError(f"`{self.name}` must be {any_of(names)}, not '{value}'{closest(str(value), names)}")
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        low = self.least if self.above is None else self.above
        inside = math.isfinite(value) and (self.most is None or value <= self.most)
        if not inside or (low is not None and not (value > low if self.above is not None else value >= low)):
            raise UsageError(f"`{self.name}` must be {self._limits()}, not {value:g}")

    def parse(self, text: str, called: str) -> Any:
        """A text as a value of this type: `0.5`, `off`, `0,15`. Raises UsageError, naming the setting as `called`."""
        kind, parts, text = self.kind, typing.get_args(self.kind), text.strip()
        if self.optional and text.lower() in ("none", "off"):
            return None
        items = [item.strip() for item in text.split(",")]
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a word")
        value: Any = text
        if typing.get_origin(kind) is tuple:
            wanted = "numbers with commas between"
            wanted = wanted if parts[-1] is Ellipsis else f"{len(parts)} numbers with a comma between"
            value = items
        elif parts:  # a mapping
            wanted = "NAME:NUMBER, with commas between several"
            value = {key.strip(): number for key, _, number in (item.rpartition(":") for item in items if item)}
        elif kind is bool:
            value = {"off": "false", "no": "false", "on": "true", "yes": "true"}.get(text.lower(), text)
        try:
            return msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            none = " or none" if self.optional else ""
            raise UsageError(f"{called} cannot be {text!r}; it is {wanted}{none}") from error

    def _limits(self) -> str:
        if self.least is not None and self.most is not None:
            return f"in {self.least:g}..{self.most:g}"
        parts = [(self.least, "at least"), (self.above, "above"), (self.most, "at most")]
        return " and ".join(f"{word} {limit:g}" for limit, word in parts if limit is not None) or "a finite number"


@cache
def settings_of(declared: Any) -> dict[str, Setting]:
    """The fields of a dataclass by name, as they are declared."""
    hints = typing.get_type_hints(declared, include_extras=True)
    return {field.name: _setting(field, hints[field.name]) for field in dataclasses.fields(declared)}


def check_settings(settings: Any) -> None:
    """Raise UsageError, naming the field, where a dataclass holds a value outside its declared limits."""
    declared: Any = type(settings)
    for name, setting in settings_of(declared).items():
        setting.check(getattr(settings, name))


def any_of(names: Sequence[str]) -> str:
    """The names as in a sentence: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _setting(field: dataclasses.Field[Any], hint: Any) -> Setting:
    metas: list[Meta] = []

    def plain(kind: Any) -> Any:
        while typing.get_origin(kind) is typing.Annotated:
            metas.extend(part for part in typing.get_args(kind)[1:] if isinstance(part, Meta))
            kind = typing.get_args(kind)[0]
        return kind

    kind, optional = plain(hint), False
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        optional = len(parts) < len(typing.get_args(kind))
        kind = plain(parts[0]) if len(parts) == 1 else kind
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()

    def first(attribute: str) -> Any:
        return next((value for meta in metas if (value := getattr(meta, attribute)) is not None), None)

    return Setting(
        field.name, str if choices else kind, optional, default, first("description") or "", first("ge"), first("gt"),
        first("le"), choices,
    )  # fmt: skip
