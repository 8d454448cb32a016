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
    for name, value in changes.items():
        if name in _DERIVED:
            raise UsageError(f"{name} follows from {_DERIVED[name]}; set that instead")
        config = _changed(config, name.split("."), value, name)
    return consistent(config)


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


def _changed(target: Any, path: list[str], value: Any, full: str) -> Any:
    names = [field.name for field in dataclasses.fields(target)]
    if path[0] not in names:
        known = list(flat_settings(TrainConfig()))
        close = difflib.get_close_matches(full, known, n=1) or [name for name in known if name.endswith(f".{full}")]
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise UsageError(f"there is no setting {full}: {hint}")
    current = getattr(target, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(current):
            raise UsageError(f"there is no setting {full}: {path[0]} is a plain value")
        return dataclasses.replace(target, **{path[0]: _changed(current, path[1:], value, full)})
    if dataclasses.is_dataclass(current) and not isinstance(value, type(current)):
        raise UsageError(f"{full} has parts; set one of {', '.join(f.name for f in dataclasses.fields(current))}")
    if isinstance(value, str):
        value = _parse(value, typing.get_type_hints(type(target))[path[0]], full)
    return dataclasses.replace(target, **{path[0]: value})


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
