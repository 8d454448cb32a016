"""From what a user asks for to the settings of a run: presets, the mode's needs, and what a run that goes on had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hodor_cli.errors import UsageError
from hodor_cli.training.config import TrainConfig, train_preset
from hodor_cli.training.settings import check_same, with_settings

#: Architecture -> preset, where no preset is named.
_PRETRAIN = {"swin-tiny": "paper-coco", "mini": "mini", "toy": "toy"}
_FINETUNE = {"swin-tiny": "paper-finetune", "mini": "mini-finetune", "toy": "toy"}
#: The preset of `hodor pretrain` without any hint: the paper's.
_DEFAULT = "paper-coco"


def preset_name(kind: str, preset: str | None, architecture: str | None) -> str:
    """The preset that is named, else the one for an architecture, else the paper's for still images.

    kind: "pretrain" or "finetune". Raises UsageError for an architecture without presets.
    """
    if preset is not None:
        return preset
    if architecture is None:
        return _DEFAULT
    known = _PRETRAIN if kind == "pretrain" else _FINETUNE
    if architecture not in known:
        raise UsageError(f"there is no preset for the architecture '{architecture}'; name one with --preset")
    return known[architecture]


def choose_config(preset: str, model: str | None, mode: str, settings: Mapping[str, Any]) -> TrainConfig:
    """A preset's settings with the mode's needs and the user's changes.

    mode: "frames", "sparse", "dense", or "" for still images. settings: changes by dotted name.
    Raises UsageError for changes that contradict the mode, naming both.
    """
    changes = dict(settings)
    if model is not None:
        if changes.get("model", model) != model:
            raise UsageError(f"--model {model} contradicts --set model={changes['model']}; give one of them")
        changes["model"] = model
    if mode == "sparse":
        _require(changes, mode, "schedule", "paper", "cycles that return to the labelled frame")
        _require(changes, mode, "supervise", "reference", "the labelled frame alone to be supervised")
        if str(changes.get("sequence", 3)) == "1":
            raise UsageError("--mode sparse learns from unlabelled frames, which --sequence 1 leaves out; drop one")
    elif mode:
        _require(changes, mode, "supervise", "all", "all frames to be supervised")
    base = train_preset(preset)
    if changes.get("schedule", base.schedule) == "paper" and base.sequence not in (1, 3):
        changes.setdefault("sequence", 3)  # the paper's cycles know no longer ones
    return with_settings(base, changes)


def resumed_config(
    saved: Mapping[str, Any], preset: str | None, model: str | None, mode: str, settings: Mapping[str, Any]
) -> TrainConfig:
    """The settings of a run that goes on: its own, with what may change changed.

    Raises UsageError for settings that differ from those it began with, naming them.
    """
    began = TrainConfig.from_dict(dict(saved))
    if preset is not None:
        config = choose_config(preset, model, mode, settings)
    else:
        changes = dict(settings) | ({} if model is None else {"model": model})
        config = with_settings(began, changes)
    check_same(config, saved)
    return config


def config_notes(config: TrainConfig) -> list[str]:
    """Remarks on settings that are allowed and rarely meant."""
    rate, notes = config.learning_rate, []
    if rate.warmup >= config.iterations:
        notes.append(
            f"the warm-up ({rate.warmup} iterations) is as long as the whole run ({config.iterations}), so the"
            f" learning rate never reaches {rate.peak:g}; --warmup makes it shorter"
        )
    return notes


def _require(changes: dict[str, Any], mode: str, name: str, value: str, why: str) -> None:
    given = changes.setdefault(name, value)
    if given != value:
        flag = f"--{name} {given}" if name == "schedule" else f"--set {name}={given}"
        raise UsageError(f"--mode {mode} needs {why}, which contradicts {flag}; leave it out")
