"""Changing settings by name, and comparing those of a run that goes on with those it began with."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from hodor_cli.errors import UsageError
from hodor_cli.training.config import TrainConfig

#: A run may be made longer or shorter, and its batches cut otherwise; the rest decides what was done so far.
FREE = ("iterations", "micro_batch")

#: Settings that follow from another one.
_DERIVED = {"augment.frames": "sequence", "batches.batch_size": "batch_size"}


def with_settings(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The settings with some changed, by dotted names such as `learning_rate.peak`; a text value is read as its type.

    Raises UsageError for an unknown name, naming the nearest, and for a value that does not fit.
    """
    for name in changes:
        if name in _DERIVED:
            raise UsageError(f"{name} follows from {_DERIVED[name]}; set that instead")
    # All at once: some are only allowed together.
    return consistent(_changed(config, changes, ""))


def consistent(config: TrainConfig) -> TrainConfig:
    """The same settings with those that follow from others brought in line."""
    return dataclasses.replace(
        config,
        augment=dataclasses.replace(config.augment, frames=config.sequence),
        batches=dataclasses.replace(config.batches, batch_size=config.batch_size),
    )


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """All settings by their dotted names."""

    def walk(value: Any, prefix: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            name, item = f"{prefix}{field.name}", getattr(value, field.name)
            out |= walk(item, f"{name}.") if dataclasses.is_dataclass(item) else {name: item}
        return out

    return walk(config, "")


def check_same(config: TrainConfig, saved: Mapping[str, Any]) -> None:
    """Raise UsageError naming the settings in which a run that goes on differs from the saved ones it began with."""
    began, now = flat_settings(consistent(TrainConfig.from_dict(dict(saved)))), flat_settings(consistent(config))
    different = [name for name, value in now.items() if name not in FREE and _plain(began[name]) != _plain(value)]
    if different:
        shown = ", ".join(f"{name} {_text(began[name])} then and {_text(now[name])} now" for name in different[:4])
        more = f" and {len(different) - 4} more" if len(different) > 4 else ""
        raise UsageError(
            f"--resume with other settings than the run began with ({shown}{more}); leave them out to go on with its"
            " own, or train into another folder"
        )


def _changed(target: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    """A dataclass with some of its fields, or fields of its parts, replaced; `prefix` is where it stands itself."""
    fields = {field.name: getattr(target, field.name) for field in dataclasses.fields(target)}
    new: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, dot, rest = path.partition(".")
        full = prefix + name
        if name not in fields or (dot and not dataclasses.is_dataclass(fields[name])):
            raise UsageError(f"there is no setting {prefix}{path}: {_nearest(prefix + path, list(fields))}")
        if dot:
            parts.setdefault(name, {})[rest] = value
        elif dataclasses.is_dataclass(fields[name]) and not isinstance(value, type(fields[name])):
            inner = ", ".join(field.name for field in dataclasses.fields(fields[name]))
            raise UsageError(f"{full} has parts; set one of {inner}, as {full}.NAME")
        else:
            kind = typing.get_type_hints(type(target))[name]
            new[name] = _parse(value, kind, full) if isinstance(value, str) else value
    for name, inside in parts.items():
        new[name] = _changed(new.get(name, fields[name]), inside, f"{prefix}{name}.")
    return dataclasses.replace(target, **new)


def _nearest(full: str, names: list[str]) -> str:
    known = list(flat_settings(TrainConfig()))
    close = difflib.get_close_matches(full, known, n=1) or [name for name in known if name.endswith(f".{full}")]
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"


def _parse(text: str, kind: Any, name: str) -> Any:
    """A text as the type that a field is declared with."""
    try:
        return _convert(text.strip(), kind)
    except (ValueError, IndexError) as error:
        raise UsageError(f"{name} cannot be {text!r}; it is {_describe(kind)}") from error


def _convert(text: str, kind: Any) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() in ("none", "off"):
            return None
        return _convert(text, next(part for part in parts if part is not type(None)))
    if origin is tuple:
        values = [part.strip() for part in text.split(",")]
        if parts[-1] is not Ellipsis and len(values) != len(parts):
            raise ValueError
        return tuple(_convert(value, parts[0]) for value in values)
    if origin is not None and issubclass(origin, Mapping):
        pairs = [item.rpartition(":") for item in text.split(",") if item.strip()]
        return {key.strip(): _convert(value, parts[1]) for key, _, value in pairs}
    if kind is bool:
        if text.lower() not in ("true", "on", "yes", "false", "off", "no"):
            raise ValueError
        return text.lower() in ("true", "on", "yes")
    return kind(text)


def _describe(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return f"{_describe(next(part for part in parts if part is not type(None)))} or none"
    if origin is tuple:
        return "numbers with commas between" if parts[-1] is Ellipsis else f"{len(parts)} numbers with a comma between"
    if origin is not None:
        return "NAME:NUMBER, with commas between several"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a word")


def _plain(value: Any) -> Any:
    """Lists as tuples: JSON knows no other."""
    return tuple(_plain(item) for item in value) if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
