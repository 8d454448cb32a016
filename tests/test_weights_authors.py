"""Pickles that others made: the authors' checkpoints load, everything else is refused in one sentence."""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import one_sentence

from hodor_cli.config import ModelConfig, SwinConfig
from hodor_cli.errors import WeightsError
from hodor_cli.model import Hodor, build_model
from hodor_cli.weights import (
    checkpoint,
    load_checkpoint,
    load_model,
    model_fingerprint,
    model_from_checkpoint,
)

# --- pickles


class TouchesAFile:
    """What an attacker's pickle does when it is read: here it only leaves a marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def write_torch(content: object, path: Path) -> None:
    torch.save(content, path)


def write_old_torch(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle_2(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_pickle_5(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=5))


@pytest.mark.parametrize("write", [write_torch, write_old_torch, write_pickle_2, write_pickle_5])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_pickle_that_carries_code_is_refused_and_not_run(
    tmp_path: Path, write: Callable[[object, Path], None], suffix: str, recwarn: pytest.WarningsRecorder
) -> None:
    path, marker = tmp_path / f"evil{suffix}", tmp_path / "marker"
    write({"model": {"feature_extractor.weight": TouchesAFile(marker)}}, path)
    with pytest.raises(WeightsError, match="carries code") as caught:
        load_model(path)
    assert str(path) in one_sentence(caught)
    assert not marker.exists()
    assert not recwarn.list
    # It would have done it: the file is a real one.
    if write is write_pickle_5:
        pickle.loads(path.read_bytes())
        assert marker.is_dir()


def test_oldest_pickles_are_refused_too(tmp_path: Path) -> None:
    for protocol in (0, 1):
        path, marker = tmp_path / f"evil{protocol}.pth", tmp_path / "marker"
        path.write_bytes(pickle.dumps({"model": TouchesAFile(marker)}, protocol=protocol))
        with pytest.raises(WeightsError):
            load_checkpoint(path)
        assert not marker.exists()


def test_objects_besides_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.pth"
    torch.save({"model": {"feature_extractor.x": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(WeightsError, match="plain tensors"):
        load_checkpoint(path)


def test_a_cut_off_pth_is_damaged_and_not_dangerous(tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    for write in (write_torch, write_old_torch):
        write({"model": {"feature_extractor.x": torch.zeros(5000)}}, path)
        path.write_bytes(path.read_bytes()[:9000])
        with pytest.raises(WeightsError, match="damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no state dict"),
        ({"model": {"feature_extractor.x": 1.0}}, "no state dict"),
        ({"model": {"layer1.weight": torch.zeros(2)}}, "not one of the authors' .pth files"),
        (torch.zeros(3), "no state dict"),
    ],
)
def test_a_pth_of_something_else_is_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=said):
        load_checkpoint(path)


# --- the authors' names, with a network small enough for a test

SMALL_SWIN = ModelConfig(
    name="swin-tiny",
    backbone=SwinConfig(embed_channels=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2), window=4),
    channels=32, descriptor_channels=32, head_channels=8, norm_groups=4, encoder_layers=1, encoder_ffn_channels=32,
    decoder_layers=1, decoder_ffn_channels=32, stride4_channels=32, stride4_reduced_channels=8, mask_channels=32,
    catch_all_channels=8,
)  # fmt: skip


def released_name(name: str) -> str:
    """What one of this package's parameters is called in a released file."""
    for own, released in (
        ("backbone.norms.", "feature_extractor.bb_fpn.0.norm"),
        ("backbone.", "feature_extractor.bb_fpn.0."),
        ("fpn.norms.", "feature_extractor.norm_layers."),
        ("encoder.layers.", "encoder.attn_layers."),
        ("decoder.layers.", "decoder.attn_layers."),
        ("decoder.stride4_reduce_norm.", "decoder.conv_4x_reduce.2."),
        ("decoder.stride4_reduce.", "decoder.conv_4x_reduce.0."),
        ("decoder.stride4_conv.", "decoder.conv_4x.0."),
        ("decoder.stride4_norm.", "decoder.conv_4x.2."),
        ("decoder.catch_all_conv.", "decoder.catch_all_conv.0."),
        ("decoder.catch_all_norm.", "decoder.catch_all_conv.1."),
        ("decoder.catch_all_out.", "decoder.catch_all_conv.3."),
    ):
        if name.startswith(own):
            name = released + name.removeprefix(own)
            break
    for kind in ("laterals", "outputs"):
        if name.startswith(f"fpn.{kind}."):
            _, _, index, rest = name.split(".", 3)
            convs = {"laterals": "lateral_convs", "outputs": "fpn_convs"}[kind]
            return f"feature_extractor.bb_fpn.1.{convs}.{index}.conv.{rest}"
    if name.startswith("encoder.attn_layers."):
        name = name.replace(".fc1.", ".ffn.0.").replace(".fc2.", ".ffn.3.")
    if name.startswith("decoder.attn_layers."):
        name = name.replace(".deform_norm.", ".self_attn_conv_substitute.2.")
        name = name.replace(".deform.offsets.", ".self_attn_conv_substitute.0.conv_offsets.")
        name = name.replace(".deform.", ".self_attn_conv_substitute.0.conv_deform.")
        name = name.replace(".q_proj.", ".cross_attn.q_proj.")
    return name


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Hodor, dict[str, torch.Tensor]]:
    """A file laid out like the authors', its network, and its entries."""
    monkeypatch.setattr(checkpoint, "preset", lambda name: SMALL_SWIN)
    model = build_model(SMALL_SWIN)
    entries = {released_name(name): value for name, value in model.state_dict().items()}
    entries["decoder.fmap_proj_4x.weight"] = torch.zeros(3)  # in every released file and never read
    entries["feature_extractor.bb_fpn.0.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16).long()
    path = tmp_path / "released.pth"
    torch.save({"model": entries, "optimizer": {"step": 5}}, path)
    return path, model, entries


def test_a_released_file_loads_under_its_own_names(
    released: tuple[Path, Hodor, dict[str, torch.Tensor]],
) -> None:
    path, model, _ = released
    assert model_fingerprint(model_from_checkpoint(path)) == model_fingerprint(model)
    assert load_checkpoint(path).metadata == {"source": "released.pth"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda entries: entries.pop("encoder.attn_layers.0.ffn.0.weight"),
            "is missing encoder.layers.0.fc1.weight",
        ),
        (lambda entries: entries.update({"decoder.second_head": torch.zeros(2)}), "unknown decoder.second_head"),
        (
            lambda entries: entries.update({"decoder.conv_4x.0.weight": torch.zeros(7)}),
            "holds decoder.stride4_conv.weight as (7,) instead of (32, 32, 3, 3)",
        ),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_a_released_file_that_does_not_fit_names_the_parameter(
    released: tuple[Path, Hodor, dict[str, torch.Tensor]],
    change: Callable[[dict[str, torch.Tensor]], Any],
    said: str,
) -> None:
    path, _, entries = released
    change(entries)
    torch.save({"model": entries}, path)
    with pytest.raises(WeightsError) as caught:
        model_from_checkpoint(path)
    text = one_sentence(caught)
    assert said in text and str(path) in text
