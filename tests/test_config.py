"""The network's configuration and its form in a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hodor_cli.config import MatchingConfig, ModelConfig, SwinConfig
from hodor_cli.errors import UsageError, WeightsError
from hodor_cli.model import build_model
from hodor_cli.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = preset(name)
    assert config.name == name
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_configuration_of_ones_own_survives_json() -> None:
    config = ModelConfig(
        name="own",
        backbone=SwinConfig(embed_channels=48, depths=(2, 2), heads=(3, 6), window=4),
        matching=MatchingConfig(key_channels=7, sigma=0.5),
        dropout=0.25,
        hold_lost_objects=True,
    )
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"backbone": {"kind": "swin", "petals": 5}}, "petals"),
        ({"backbone": {"kind": "resnet"}}, "resnet"),
        ({"backbone": {}}, "kind"),
        ({"backbone": None}, "backbone"),
        ({"backbone": "swin"}, "backbone"),
        ({"matching": {"range": 3}}, "range"),
    ],
)
def test_an_unknown_field_is_refused_by_its_name(changes: dict[str, Any], named: str) -> None:
    values = {**preset("toy").to_dict(), **changes}
    with pytest.raises(WeightsError, match=named):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_dim", None), ("min_dim", "64"), ("min_dim", 64.0), ("channels", True), ("channels", 0), ("channels", -32),
        ("dropout", "x"), ("dropout", float("nan")), ("dropout", 1.5), ("encoder_layers", 1_000_000),
        ("mask_channels", 2**40), ("adapted_min_dim", 20_000), ("hold_lost_objects", 1), ("name", "\x1b[31m"),
        ("backbone", {"kind": "mobilenet-v2", "groups": [[1, 8, 1]]}), ("matching", {"reach": 10**9}),
        ("backbone", {"kind": "swin", "depths": [2] * 1000}), ("norm_groups", 5), ("head_channels", 7),
        ("max_dim", 40),
    ],
)  # fmt: skip
def test_a_value_of_another_type_or_out_of_range_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(WeightsError, match=f"does not fit this version: .*{field}"):
        ModelConfig.from_dict({**preset("toy").to_dict(), field: value})


def test_a_missing_field_is_refused_by_its_name() -> None:
    values = preset("toy").to_dict()
    del values["name"]
    with pytest.raises(WeightsError, match="name"):
        ModelConfig.from_dict(values)


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'huge'.*swin-tiny, mini, toy"):
        preset("huge")


def test_one_side_of_the_resolution_keeps_the_proportion_and_adapted_runs_have_their_own() -> None:
    mini = preset("mini")
    assert mini.resolution(None, None) == (288, 555)
    assert mini.resolution(384, None) == mini.resolution(None, None, adapted_lines=480) == (384, 740)
    assert mini.resolution(96, None, adapted_lines=480) == mini.resolution(96, None)
    assert mini.resolution(None, None, adapted_lines=240) == mini.resolution(None, None)  # there are no more lines
    with pytest.raises(UsageError, match=r"`min_dim` must be between 32 and 8192, not 16"):
        mini.resolution(16, None)


@pytest.mark.parametrize("name", PRESETS)
def test_the_lower_bound_of_parameters_is_one_and_not_far_off(name: str) -> None:
    config = preset(name)
    there = sum(parameter.numel() for parameter in build_model(config).parameters())
    assert there / 3 < config.parameters_at_least() <= there
