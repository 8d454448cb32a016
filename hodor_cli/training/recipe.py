"""The settings of a run, from a preset, the user's changes, and the settings of a run that is resumed."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from hodor_cli.datasets.parsing import parse_json
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import as_path, listed, require_exists
from hodor_cli.settings import about, check_settings, settings_of
from hodor_cli.training.config import DERIVED, PRESETS, TrainConfig, flat, train_preset

Kind = Literal["pretrain", "finetune"]

#: Settings that may change when a run is resumed. All others determined what it has done so far.
FREE = ("iterations", "micro_batch")

#: The default preset of each architecture, by kind of run.
PRESET_OF = {
    "pretrain": {"swin-tiny": "paper-coco", "mini": "mini", "toy": "toy"},
    "finetune": {"swin-tiny": "paper-finetune", "mini": "mini-finetune", "toy": "toy"},
}


@dataclass(frozen=True)
class Recipe:
    """Which network is trained, the weights it starts from, and the settings: those of a preset, with changes."""

    preset: Annotated[
        str | None,
        about(
            "Settings to start from: paper-coco, paper-finetune, mini, mini-finetune, toy, or a JSON file, such as the"
            " run.json of a run.  [default: the preset of the architecture]"
        ),
    ] = None
    weights: Annotated[str | Path | None, about("Weights to start from: a name or a file.")] = None
    backbone: Annotated[str | Path | None, about("ImageNet weights to start the backbone of a new network from.")] = (
        None
    )
    #: Changes to the preset by dotted names, such as `{"iterations": 500, "learning_rate.peak": 1e-4}`.
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset is not None:
            object.__setattr__(self, "preset", str(self.preset))  # callers may pass a path
        check_settings(self)
        for name in ("weights", "backbone"):
            as_path(getattr(self, name) or "", f"`{name}`")
        if self.weights is not None and self.backbone is not None:
            raise UsageError("`weights` already holds a backbone, which contradicts `backbone`; give one of them")


def preset_name(kind: Kind, preset: str | None, architecture: str | None) -> str:
    """The preset that is named, else the default of the architecture, else the paper's for still images.

    Raises UsageError for an architecture without presets.
    """
    if preset is None and architecture is not None and architecture not in PRESET_OF[kind]:
        raise UsageError(f"there is no preset for the architecture '{architecture}'; name one with `preset`")
    return preset or ("paper-coco" if architecture is None else PRESET_OF[kind][architecture])


def start_of(kind: Kind, recipe: Recipe) -> tuple[str, str | Path | None]:
    """The preset (a name or a file) and the weights (None for a new network) that a recipe starts from.

    Fine-tuning without weights starts from the package's weights of the architecture. Raises UsageError if there are
    none, and the errors of `load_checkpoint`.
    """
    from hodor_cli.weights import DEFAULT_WEIGHTS, available_weights, load_checkpoint, weights_path  # imports PyTorch

    weights, architecture = recipe.weights, recipe.changes.get("model")
    if kind == "finetune" and weights is None:
        weights = architecture or (read_preset(recipe.preset)[1].model if recipe.preset else DEFAULT_WEIGHTS)
        if weights not in available_weights():
            raise UsageError(f"fine-tuning needs a trained network, and none is named '{weights}'; give `weights`")
    if architecture is None and weights is not None and recipe.preset is None:
        architecture = load_checkpoint(weights_path(weights)).config.name
    return preset_name(kind, recipe.preset, architecture), weights


class _SettingsFile(msgspec.Struct):
    preset: str
    settings: dict[str, Any]


def read_preset(preset: str) -> tuple[str, TrainConfig]:
    """The name of a preset and its settings; for a JSON file, with the changes that the file makes to them.

    preset: a name, or a file with `preset` and `settings`, such as the run.json of a run. Raises UsageError that names
    the file for unknown settings, InputError for a file that is missing or holds something else.
    """
    if preset in PRESETS or not preset.endswith(".json"):
        return preset, train_preset(preset)
    require_exists(path := Path(preset), "file of settings")
    advice = 'it must hold {"preset": NAME, "settings": {...}}, like run.json or the output of `print_settings`'
    file = parse_json(path, _SettingsFile, "a file of settings", advice)
    given = flat(file.settings)
    changes = {
        name: value for name, value in given.items() if not (name in DERIVED and value == given.get(DERIVED[name]))
    }
    try:
        config = with_settings(train_preset(file.preset), changes)
        return file.preset, TrainConfig.from_dict(config.to_dict())  # checks the types, too
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def choose_config(preset: str, mode: str, changes: Mapping[str, Any]) -> TrainConfig:
    """A preset's settings with the user's changes and those that the mode needs.

    preset: as for `read_preset`. mode: "frames", "sparse", "dense", or "" for still images. changes: by dotted name.
    Raises UsageError for changes that contradict the mode, naming both.
    """
    changes, (_, base) = dict(changes), read_preset(preset)
    if mode == "sparse":
        _require(changes, mode, "schedule", "paper", "cycles that return to the labelled frame")
        _require(changes, mode, "supervise", "reference", "the labelled frame alone to be supervised")
        if str(changes.get("sequence", base.sequence)) == "1":
            raise UsageError("`mode=sparse` learns from unlabelled frames, which `sequence=1` leaves out; drop one")
    elif mode:
        _require(changes, mode, "supervise", "all", "all frames to be supervised")
    if changes.get("schedule", base.schedule) == "paper" and base.sequence not in (1, 3):
        changes.setdefault("sequence", 3)  # the paper's cycles have three frames
    return with_settings(base, changes)


def preset_file(kind: Kind, recipe: Recipe, mode: str) -> dict[str, Any]:
    """The content of a settings file, for `Recipe.preset`, with this recipe. Raises UsageError, WeightsError."""
    preset, _ = start_of(kind, recipe)
    settings = choose_config(preset, mode, recipe.changes).to_dict()
    for derived in DERIVED:
        part, _, name = derived.partition(".")
        del settings[part][name]
    return {"preset": read_preset(preset)[0], "settings": settings}


def resumed_config(saved: TrainConfig, preset: str | None, mode: str, changes: Mapping[str, Any]) -> TrainConfig:
    """The settings of a resumed run: those it began with, and the changes that are allowed.

    Raises UsageError that names the settings that may not change.
    """
    config = with_settings(saved, changes) if preset is None else choose_config(preset, mode, changes)
    check_same(flat(config.to_dict()), flat(saved.to_dict()))
    return config


def with_settings(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The settings with changes, by dotted names such as `learning_rate.peak`; text is converted to a setting's type.

    Raises UsageError for an unknown name, suggesting the closest, and for a value that does not fit.
    """
    for name in changes:
        if name in DERIVED:
            raise UsageError(f"{name} follows from {DERIVED[name]}; set that instead")
    return _changed(config, changes, "")  # together, because some are only valid together


def check_same(now: Mapping[str, Any], began: Mapping[str, Any], free: Collection[str] = FREE) -> None:
    """Raise UsageError that names the settings in which a resumed run differs from those it began with.

    now, began: from `flat`; settings that are missing from `began` are not compared. free: settings that may differ.
    """
    free = {*free, *DERIVED}
    different = [name for name, value in now.items() if name not in free and began.get(name, value) != value]
    if different:
        shown = listed((f"{name} was {_text(began[name])}, not {_text(now[name])}" for name in different), 4)
        raise UsageError(f"`resume` cannot change settings ({shown}); leave them out, or choose another `out`")


def _require(changes: dict[str, Any], mode: str, name: str, value: str, why: str) -> None:
    given = changes.setdefault(name, value)
    if given != value:
        raise UsageError(f"`mode={mode}` needs {why}, which contradicts `{name}={given}`; leave it out")


def _changed(target: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    """A dataclass with some of its fields, or fields of nested dataclasses, replaced.

    changes: by field name, dotted for nested fields. prefix: what messages put before these names.
    """
    kind: Any = type(target)
    fields = settings_of(kind)
    new: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, dot, rest = path.partition(".")
        has_parts = name in fields and dataclasses.is_dataclass(fields[name].kind)
        if name not in fields or (dot and not has_parts):
            known, full = list(flat(TrainConfig().to_dict())), prefix + path
            close = [one for one in known if one.endswith(f".{full}")] or difflib.get_close_matches(full, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(fields)}"
            raise UsageError(f"there is no setting {full}: {hint}")
        if dot:
            parts.setdefault(name, {})[rest] = value
        elif has_parts and not isinstance(value, fields[name].kind):
            inner = ", ".join(settings_of(fields[name].kind))
            raise UsageError(f"{prefix}{name} is a group of settings; set {prefix}{name}.NAME, with one of {inner}")
        else:
            new[name] = fields[name].parse(value, prefix + name) if isinstance(value, str) else value
    for name, inside in parts.items():
        new[name] = _changed(new.get(name, getattr(target, name)), inside, f"{prefix}{name}.")
    return dataclasses.replace(target, **new)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
