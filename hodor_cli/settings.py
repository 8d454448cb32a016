"""Settings: frozen dataclasses whose fields declare their own help text, limits and default.

A field is declared once, as `batch_size: Annotated[int, about("Samples of an iteration.", least=1)] = 8`.
`check_settings`, called in `__post_init__`, rejects values of other types or outside the limits; command-line options,
`--set` and the reference page are generated from `settings_of`. The limits are a `msgspec.Meta`, so saved settings are
checked by the same declaration. For a field that may be None, write `Annotated[int, about(...)] | None`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from hodor_cli.errors import UsageError, closest

T = TypeVar("T")

#: What a value of each simple type is called in messages.
_WANTED: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def about(help: str, *, least: float | None = None, above: float | None = None, most: float | None = None) -> Meta:
    """The help text of a field, and its limits: at least `least`, or more than `above`; at most `most`."""
    limits: dict[str, Any] = {"ge": least, "gt": above, "le": most}
    return Meta(description=help, **limits)


def options_of(kind: type[T], given: T | None, name: str) -> T:
    """The given options, or the defaults for None. Raises UsageError, naming the parameter, for another type."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise UsageError(f"`{name}` is a {type(given).__name__}; give {kind.__name__}(...)")
    return given


@dataclasses.dataclass(frozen=True)
class Setting:
    """A declared field. kind: its type without None. optional: whether None is allowed."""

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
        """Raise UsageError for a value of another type or outside the limits."""
        if value is None and self.optional:
            return
        kinds = (int, float) if self.kind is float else self.kind
        if self.kind in _WANTED and (not isinstance(value, kinds) or isinstance(value, bool) != (self.kind is bool)):
            raise UsageError(f"`{self.name}` must be {_WANTED[self.kind]}, not {value!r}")
        origin = typing.get_origin(self.kind) or self.kind
        if origin in (tuple, Mapping) or dataclasses.is_dataclass(origin):
            if not isinstance(value, (list, tuple) if origin is tuple else origin):
                raise UsageError(f"`{self.name}` must be a {origin.__name__}, not {value!r}")
            if origin in (tuple, Mapping):
                self._check_items(value)
        elif self.choices and value not in self.choices:
            names = [*filter(None, self.choices)]
            raise UsageError(f"`{self.name}` must be {any_of(names)}, not '{value}'{closest(str(value), names)}")
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        high_enough = (self.least is None or value >= self.least) and (self.above is None or value > self.above)
        if not (math.isfinite(value) and high_enough and (self.most is None or value <= self.most)):
            wanted = self._limits() if math.isfinite(value) else "a finite number"
            raise UsageError(f"`{self.name}` must be {wanted}, not {value:g}")

    def _check_items(self, value: Any) -> None:
        """Raise UsageError unless a tuple's items, or a mapping's values, have the declared number and type."""
        parts = typing.get_args(self.kind)
        of_tuple = typing.get_origin(self.kind) is tuple
        item, items = (parts[0], value) if of_tuple else (parts[1], value.values())
        number = len(parts) if of_tuple and parts[-1] is not Ellipsis else None
        kind = {float: Real, int: Integral, str: str}.get(item, object)
        if number not in (None, len(value)) or not all(isinstance(one, kind) for one in items):
            wanted = {str: "text", int: "whole numbers"}.get(item, "numbers")
            raise UsageError(f"`{self.name}` must hold {f'{number} ' if number else ''}{wanted}, not {value!r}")

    def parse(self, text: str, called: str) -> Any:
        """Convert a text such as `0.5`, `off` or `0,15` to this type. Raises UsageError, which names it as `called`."""
        kind, parts, text = self.kind, typing.get_args(self.kind), text.strip()
        if self.optional and text.lower() in ("none", "off"):
            return None
        items = [item.strip() for item in text.split(",")]
        wanted = _WANTED.get(kind, "text")
        value: Any = text
        if typing.get_origin(kind) is tuple:
            wanted = f"{'numbers' if parts[-1] is Ellipsis else f'{len(parts)} numbers'} separated by commas"
            value = items
        elif parts:  # a mapping
            wanted = "NAME:NUMBER, separated by commas if there are several"
            value = {key.strip(): number for key, _, number in (item.rpartition(":") for item in items if item)}
        elif kind is bool:
            value = {"off": "false", "no": "false", "on": "true", "yes": "true"}.get(text.lower(), text)
        try:
            return msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            none = " or none" if self.optional else ""
            raise UsageError(f"{called} cannot be {text!r}; give {wanted}{none}") from error

    def _limits(self) -> str:
        if self.least is not None and self.most is not None:
            return f"between {self.least:g} and {self.most:g}"
        parts = [(self.least, "at least"), (self.above, "above"), (self.most, "at most")]
        return " and ".join(f"{word} {limit:g}" for limit, word in parts if limit is not None)


@cache
def settings_of(declared: Any) -> dict[str, Setting]:
    """The declared fields of a dataclass by name."""
    hints = typing.get_type_hints(declared, include_extras=True)
    return {field.name: _setting(field, hints[field.name]) for field in dataclasses.fields(declared)}


def check_settings(settings: Any) -> None:
    """Raise UsageError, naming the field, if a value of a dataclass does not fit its declared type or limits."""
    declared: Any = type(settings)
    for name, setting in settings_of(declared).items():
        value = getattr(settings, name)
        if hasattr(value, "item"):  # a NumPy scalar, which files of settings cannot store
            object.__setattr__(settings, name, value := value.item())
        setting.check(value)


def any_of(names: Sequence[str]) -> str:
    """The names for a sentence: `a, b or c`."""
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
    meta, kind = metas[0] if metas else Meta(), str if choices else kind
    return Setting(field.name, kind, optional, default, meta.description or "", meta.ge, meta.gt, meta.le, choices)
