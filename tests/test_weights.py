"""Checkpoint files and named weights: what is written comes back, and every bad file is refused in one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from conftest import one_sentence
from safetensors.torch import load_file, save_file

from hodor_cli.errors import InputError, OutputError, WeightsError
from hodor_cli.model import Hodor, build_model
from hodor_cli.presets import preset
from hodor_cli.weights import (
    available_weights,
    load_checkpoint,
    load_model,
    model_fingerprint,
    model_from_checkpoint,
    registry,
    save_checkpoint,
    tensor_files,
    weights_path,
)
from hodor_cli.weights.registry import name_in_record
from hodor_cli.weights.tensor_files import load_parameters


@pytest.fixture(scope="module")
def toy() -> Hodor:
    """A network of this file alone: a `Segmenter` of another test would lay its weights out anew, and files want them
    as they were made."""
    torch.manual_seed(0)
    return build_model("toy")


@pytest.fixture
def saved(toy: Hodor, tmp_path: Path) -> Path:
    path = tmp_path / "toy.safetensors"
    save_checkpoint(path, toy, {"epochs": 3})
    return path


def header_of(model: Hodor, **changes: Any) -> dict[str, str]:
    """The header of a checkpoint whose configuration has these changes."""
    return {"format": "hodor", "format_version": "1", "config": json.dumps({**model.config.to_dict(), **changes})}


# --- round trip


def test_what_is_saved_comes_back_with_its_configuration_and_metadata(toy: Hodor, saved: Path) -> None:
    content = load_checkpoint(saved)
    assert content.config == toy.config
    assert content.metadata == {"epochs": 3}
    model = model_from_checkpoint(saved)
    assert not model.training
    assert model_fingerprint(model) == model_fingerprint(toy)
    assert os.listdir(saved.parent) == [saved.name]


def test_half_precision_halves_the_file_and_loads_as_single(toy: Hodor, saved: Path) -> None:
    half = saved.with_name("half.safetensors")
    save_checkpoint(half, toy, dtype=torch.float16)
    assert half.stat().st_size < 0.7 * saved.stat().st_size
    model = model_from_checkpoint(half)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, toy.state_dict()[name], rtol=1e-3, atol=1e-4)
    # What was rounded once is rounded no further.
    again = saved.with_name("again.safetensors")
    save_checkpoint(again, model, dtype=torch.float16)
    assert model_fingerprint(model_from_checkpoint(again)) == model_fingerprint(model)


def test_the_fingerprint_tells_weights_and_architectures_apart(toy: Hodor) -> None:
    assert len(model_fingerprint(toy)) == 64
    torch.manual_seed(1)
    other = build_model("toy")
    assert model_fingerprint(other) != model_fingerprint(toy)
    other.load_state_dict(toy.state_dict())
    assert model_fingerprint(other) == model_fingerprint(toy)
    renamed = build_model(msgspec.structs.replace(toy.config, min_dim=96))
    renamed.load_state_dict(toy.state_dict())
    assert model_fingerprint(renamed) != model_fingerprint(toy)


# --- parameters that do not fit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("encoder.fg_query_embed"), "is missing encoder.fg_query_embed"),
        (lambda state: state.update({"decoder.extra": torch.zeros(1)}), "has the unknown decoder.extra"),
        (
            lambda state: state.update({"decoder.stride4_conv.weight": torch.zeros(3, 2)}),
            "holds decoder.stride4_conv.weight as (3, 2) instead of (32, 24, 3, 3)",
        ),
    ],
    ids=["missing", "surplus", "misshapen"],
)
def test_a_parameter_that_does_not_fit_is_named(
    toy: Hodor, saved: Path, change: Callable[[dict[str, torch.Tensor]], Any], said: str
) -> None:
    state = load_file(saved)
    change(state)
    save_file(state, saved, metadata=header_of(toy))
    with pytest.raises(WeightsError) as caught:
        model_from_checkpoint(saved)
    text = one_sentence(caught)
    assert said in text and str(saved) in text and "'toy'" in text


def test_many_misfits_are_counted_instead_of_listed(toy: Hodor) -> None:
    with pytest.raises(WeightsError) as caught:
        load_parameters(build_model("toy"), {}, origin="nothing", architecture="toy")
    assert f"and {len(toy.state_dict()) - 4} more" in one_sentence(caught)


def test_a_failed_load_leaves_the_model_as_it_was(toy: Hodor) -> None:
    model = build_model("toy")
    before = model_fingerprint(model)
    state = dict(toy.state_dict())
    del state["encoder.fg_query_embed"]
    with pytest.raises(WeightsError):
        load_parameters(model, state, origin="half of it", architecture="toy")
    assert model_fingerprint(model) == before


def test_weights_of_another_architecture_are_refused(saved: Path, toy: Hodor) -> None:
    wider = build_model(msgspec.structs.replace(toy.config, name="wider", mask_channels=64))
    with pytest.raises(WeightsError, match=r"architecture 'wider'.*instead of \(64,") as caught:
        load_parameters(wider, load_checkpoint(saved).state_dict, origin=saved, architecture="wider")
    assert "made for it" in one_sentence(caught)


# --- damaged files


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint file .*gone\.safetensors"):
        load_checkpoint(tmp_path / "gone.safetensors")


def damaged_copies(content: bytes) -> dict[str, bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return {
        "empty": b"",
        "a text": b"once upon a time there was no checkpoint",
        "cut in the header": content[: length // 2],
        "cut in the tensors": content[: len(content) // 2],
        "one byte short": content[:-1],
        "header of another length": struct.pack("<Q", length + 64) + content[8:],
        "an absurd length": struct.pack("<Q", 2**60) + content[8:],
        "header overwritten": content[:8] + b"{" + b"\0" * (length - 1) + content[8 + length :],
    }


@pytest.mark.parametrize("kind", list(damaged_copies(struct.pack("<Q", 4) + b"{}  ")))
def test_a_damaged_file_is_refused_by_name(saved: Path, kind: str) -> None:
    saved.write_bytes(damaged_copies(saved.read_bytes())[kind])
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_checkpoint(saved)
    assert str(saved) in one_sentence(caught)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "not hodor's"),
        ({"format": "hodor-clicks"}, "is a click network"),
        ({"iteration": "3"}, "use the last.safetensors next to it"),
        ({"format": "hodor", "format_version": "99"}, "has another format"),
        ({"format": "hodor", "format_version": "1"}, "damaged or newer header"),
        ({"format": "hodor", "format_version": "1", "config": "{"}, "damaged or newer header"),
        ({"format": "hodor", "format_version": "1", "config": "[1]"}, "damaged or newer header"),
        ({"format": "hodor", "format_version": "1", "config": '{"backbone": {"kind": "swin"}, "z": 1}'}, "'z'"),
    ],
    ids=[
        "another program's",
        "clicks",
        "state of a run",
        "newer",
        "no configuration",
        "broken JSON",
        "no mapping",
        "unknown field",
    ],
)
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, header: dict[str, str] | None, said: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=header)
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path)
    text = one_sentence(caught)
    assert said in text and str(path) in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"norm_groups": 5}, "norm_groups"),
        ({"channels": "many"}, "channels"),
        ({"head_channels": 0}, "head_channels"),
        ({"encoder_layers": 10**6}, "encoder_layers"),
        ({"backbone": {"kind": "mobilenet-v2", "groups": [[1, 8, 1, 1]]}}, "does not describe a network"),
        # Widths within the limits, tens of GB together: the tensors in the file are compared before any is made.
        ({"encoder_ffn_channels": 8192, "channels": 8192, "encoder_layers": 64}, r"it has \d+ of \d{9,} numbers"),
    ],
)
def test_a_configuration_that_makes_no_network_is_refused(
    toy: Hodor, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "odd.safetensors"
    save_file(toy.state_dict(), path, metadata=header_of(toy, **changes))
    with pytest.raises(WeightsError, match=said) as caught:
        model_from_checkpoint(path)
    assert str(path) in one_sentence(caught)


@pytest.mark.parametrize("part", ["config", "metadata"])
def test_a_header_of_deep_json_is_refused(toy: Hodor, tmp_path: Path, part: str) -> None:
    path = tmp_path / "deep.safetensors"
    save_file(toy.state_dict(), path, metadata={**header_of(toy), part: "[" * 100_000})
    with pytest.raises(WeightsError, match="damaged or newer header") as caught:
        load_checkpoint(path)
    assert len(one_sentence(caught)) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite_are_refused_by_the_parameter(
    toy: Hodor, tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    path, spoilt = tmp_path / "spoilt.safetensors", build_model("toy")
    spoilt.load_state_dict(toy.state_dict())
    with torch.no_grad():
        spoilt.decoder.bg_query_proj.weight[-1, -1] = value
    save_checkpoint(path, spoilt, dtype=dtype)
    with pytest.raises(WeightsError, match=r"non-finite values in decoder\.bg_query_proj\.weight") as caught:
        load_model(path)
    assert str(path) in one_sentence(caught)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float64])
def test_parameters_of_another_type_are_refused_unless_they_are_finite_floats(
    toy: Hodor, tmp_path: Path, dtype: torch.dtype
) -> None:
    name = "encoder.fg_query_embed"
    state = {**toy.state_dict(), name: torch.ones_like(toy.state_dict()[name], dtype=dtype)}
    if dtype == torch.float64:
        state[name][0] = 1e300  # finite there, but not in float32
    save_file(state, tmp_path / "typed.safetensors", metadata=header_of(toy))
    with pytest.raises(WeightsError, match=r"encoder\.fg_query_embed"):
        load_model(tmp_path / "typed.safetensors")


def test_text_from_a_file_is_shown_without_control_characters_and_cut(toy: Hodor, tmp_path: Path) -> None:
    save_file(
        {**toy.state_dict(), "\x1b[31mred\n" + "x" * 1000: torch.zeros(1)}, tmp_path / "a", metadata=header_of(toy)
    )
    with pytest.raises(WeightsError) as caught:
        load_model(tmp_path / "a")
    text = one_sentence(caught)
    assert "\x1b" not in text and r"\x1b[31mred\n" in text and len(text) < 700


def test_a_loaded_network_is_its_own_copy_and_trains(toy: Hodor, saved: Path) -> None:
    model = model_from_checkpoint(saved)
    saved.write_bytes(b"\0" * saved.stat().st_size)  # in place: nothing of the file is mapped into memory
    assert model_fingerprint(model) == model_fingerprint(toy)
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    assert not [name for name, value in model.named_buffers() if value.is_meta]


# --- writing


def test_on_windows_nothing_holds_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a file that is mapped into memory, as safetensors maps it, cannot be replaced."""
    monkeypatch.setattr(tensor_files, "WINDOWS", True)
    save_file({"a": torch.ones(20_000)}, tmp_path / "w.safetensors")
    _, tensors = tensor_files.read_safetensors(tmp_path / "w.safetensors")
    with (tmp_path / "w.safetensors").open("r+b") as file:
        file.write(bytes((tmp_path / "w.safetensors").stat().st_size))
    assert tensors["a"].sum() == 20_000


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    toy: Hodor, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        save_checkpoint(saved, toy, {"epochs": 4})
    assert str(saved) in one_sentence(caught)
    assert os.listdir(saved.parent) == [saved.name]
    assert saved.read_bytes() == before


def test_an_interruption_while_writing_leaves_nothing_half_written(
    toy: Hodor, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Any, target: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, toy)
    assert os.listdir(saved.parent) == [saved.name]


def test_a_place_that_cannot_be_written_is_named(toy: Hodor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match=r"file/toy\.safetensors cannot be written"):
        save_checkpoint(tmp_path / "file" / "toy.safetensors", toy)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match=r"folder\.safetensors is a folder"):
        save_checkpoint(tmp_path / "folder.safetensors", toy)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.safetensors"]


def test_missing_folders_are_made(toy: Hodor, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first" / "toy.safetensors"
    save_checkpoint(path, toy)
    assert load_checkpoint(path).config == toy.config


# --- weights by name


@pytest.fixture
def bundle(toy: Hodor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of named weights in place of the package's own, with a "mini" and a "maxi" that are toys."""
    folder = tmp_path / "bundled"
    manifest = {}
    for name in ("mini", "maxi"):
        path = folder / f"{name}.safetensors"
        save_checkpoint(path, toy, {"name": name})
        manifest[name] = {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "description": f"the {name} one",
            "card": "CARD.md",
        }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(registry, "BUNDLED", folder)
    return folder


def test_named_weights_load_and_describe_themselves(bundle: Path, toy: Hodor) -> None:
    known = available_weights()
    assert list(known) == ["mini", "maxi"]
    assert known["maxi"].description == "the maxi one"
    assert model_fingerprint(load_model("maxi")) == model_fingerprint(toy)
    assert model_fingerprint(load_model()) == model_fingerprint(toy)


def test_an_unknown_name_is_answered_with_the_names_there_are(bundle: Path) -> None:
    with pytest.raises(WeightsError, match=r"'mnii'; the names are: mini, maxi; did you mean mini\?"):
        load_model("mnii")
    with pytest.raises(WeightsError, match=r"'zebra'; the names are: mini, maxi"):
        load_model("zebra")


def test_a_path_that_is_not_there_is_answered_as_a_path(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights file .*gone\.pth.*mini, maxi"):
        load_model(tmp_path / "gone.pth")


def test_a_folder_given_as_weights_names_those_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"is a folder; .*it holds none"):
        weights_path(tmp_path)
    for name in ("last.safetensors", "training_state.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"is a folder; name a weights file in it \(last\.safetensors\)"):
        weights_path(tmp_path)


def test_a_checksum_that_differs_is_named_before_anything_is_read(bundle: Path) -> None:
    path = bundle / "mini.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"mini\.safetensors is damaged \(its checksum differs\)"):
        load_model("mini")
    load_model("maxi")
    path.unlink()
    with pytest.raises(WeightsError, match=r"'mini' is missing: .*mini\.safetensors"):
        weights_path("mini")


def test_the_weights_in_this_installation_are_what_their_manifest_says() -> None:
    for info in available_weights().values():
        assert weights_path(info.name) == info.path
        assert info.path.stat().st_size <= 16 * 2**20
        content = load_checkpoint(info.path)
        assert content.config == preset(content.config.name)


def test_a_file_called_like_named_weights_does_not_stand_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mini", "own"):
        Path(name).touch()
    assert [name_in_record(name) for name in ("mini", "own", "gone", None)] == [
        "mini", str(tmp_path / "own"), "gone", "",
    ]  # fmt: skip
