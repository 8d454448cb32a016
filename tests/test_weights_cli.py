"""`hodor weights`: list, describe, verify, average."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import hodor, refused
from typer.testing import CliRunner

from hodor_cli.cli import app
from hodor_cli.model import Hodor, build_model
from hodor_cli.weights import model_fingerprint, model_from_checkpoint, registry, save_checkpoint
from hodor_cli.weights.tensor_files import file_sha256, read_safetensors, write_safetensors

TRAINING = {"training": {"learning_rate": 0.0001, "data": ["stills", "clips"], "iterations": 2900}, "J&F": 0.71}


@pytest.fixture
def bundle(toy: Hodor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Named weights of a test: "mini" with a card in the manifest that is not written yet."""
    folder = tmp_path / "bundled"
    path = folder / "mini.safetensors"
    save_checkpoint(path, toy, TRAINING, dtype=torch.float16)
    entry = {"file": path.name, "sha256": file_sha256(path), "description": "a toy", "card": "MODEL_CARD.md"}
    (folder / "manifest.json").write_text(json.dumps({"mini": entry}))
    monkeypatch.setattr(registry, "BUNDLED", folder)
    return folder


def weights(*arguments: object, code: int = 0) -> tuple[str, str]:
    """What the command prints on stdout and stderr; its exit code must be `code`."""
    result = hodor("weights", *arguments, code=code)
    return result.stdout, result.stderr


def weights_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(weights(*arguments, "--json", code=code)[0])


def test_list_names_the_weights_their_size_and_the_default(bundle: Path) -> None:
    size = (bundle / "mini.safetensors").stat().st_size
    assert weights("list")[0] == f"mini  a toy ({size / 2**20:.1f} MiB, the default)\n"
    (bundle / "mini.safetensors").unlink()
    assert "file missing" in weights("list")[0]


def test_describe_says_what_is_in_the_file(bundle: Path, toy: Hodor) -> None:
    facts = weights_json("describe", "mini")
    assert facts["architecture"] == "toy" and facts["name"] == "mini"
    assert facts["parameters"] == sum(value.numel() for value in toy.state_dict().values())
    assert facts["stored_as"] == ["float16"]
    assert facts["metadata"] == TRAINING
    assert facts["config"] == json.loads(json.dumps(toy.config.to_dict()))
    assert facts["sha256"] == file_sha256(bundle / "mini.safetensors")
    assert "model_card" not in facts
    text = weights("describe", "mini")[0]
    for part in ("architecture", "toy", "mobilenet-v2", "learning_rate", '["stills", "clips"]', "0.71", "64, longer"):
        assert part in text, part


def test_describe_says_how_good_the_bundled_network_is() -> None:
    text = weights("describe", "mini")[0]
    assert "J&F" in text and "On new sequences it is worse" in text


def test_describe_shows_the_model_card_where_there_is_one(bundle: Path) -> None:
    (bundle / "MODEL_CARD.md").write_text("# The card\n\nTrained on [stills].\n")
    assert weights("describe", "mini")[0].endswith("\n\n# The card\n\nTrained on [stills].\n")
    (bundle / "MODEL_CARD.md").write_text("# The card\n\nFor tests.\n\n## Training\n\nHundreds of lines.\n")
    assert "For tests." in (text := weights("describe", "mini")[0]) and "Hundreds" not in text
    facts = weights_json("describe", "mini")
    assert "Hundreds of lines." in facts["model_card_text"]
    assert facts["model_card"] == str(bundle / "MODEL_CARD.md")
    assert facts["model_card_text"].startswith("# The card")


def test_a_file_is_described_and_verified_like_a_name(bundle: Path, toy: Hodor, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, toy)
    facts = weights_json("describe", str(path))
    assert "name" not in facts and facts["file"] == str(path) and facts["metadata"] == {}
    assert "saved with the weights\n  nothing" in weights("describe", str(path))[0]
    said = weights("verify", str(path))[0]
    assert said == f"{path}: intact (parameters), fingerprint {model_fingerprint(toy)}\n"


def test_describe_says_that_parameters_are_missing(toy: Hodor, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, toy)
    header, tensors = read_safetensors(path)
    del tensors["encoder.fg_query_embed"]
    write_safetensors(path, tensors, header)
    out, err = weights("describe", str(path), code=4)
    assert "architecture in detail" in out
    assert err.startswith(f"error: {path} does not fit the architecture 'toy': it is missing encoder.fg_query_embed;")
    assert err.count("\n") == 1
    assert json.loads(weights("describe", str(path), "--json", code=4)[0])["architecture"] == "toy"


def test_verify_checks_all_named_weights_by_default(bundle: Path) -> None:
    assert weights("verify")[0].startswith("mini: intact (checksum and parameters), fingerprint ")
    path = bundle / "mini.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    out, err = weights("verify", code=4)
    assert not out and err.startswith("error: ") and "checksum differs" in err and err.count("\n") == 1
    assert str(path) in err


def test_verify_reports_every_file_and_ends_with_the_fault(bundle: Path, toy: Hodor, tmp_path: Path) -> None:
    broken, cut = tmp_path / "nan.safetensors", tmp_path / "cut.safetensors"
    torch.manual_seed(1)
    model = build_model("toy")
    with torch.no_grad():
        model.encoder.fg_query_embed[3] = float("nan")
    save_checkpoint(broken, model)
    save_checkpoint(cut, toy)
    cut.write_bytes(cut.read_bytes()[:-100])
    out, err = weights("verify", "mini", str(broken), str(cut), code=4)
    lines = out.splitlines()
    assert lines[0].startswith("mini: intact")
    assert "non-finite values in encoder.fg_query_embed" in lines[1]
    assert "is damaged" in lines[2]
    assert "2 of 3 weights cannot be used" in err


def test_unknown_weights_are_one_line_and_an_exit_code(bundle: Path, tmp_path: Path) -> None:
    for command in ("describe", "verify"):
        assert weights(command, "mino", code=4)[1] == (
            "error: there are no weights named 'mino'; the names are: mini; did you mean mini?\n"
        )
        gone = tmp_path / "gone.pth"
        assert f"no weights file {gone}" in weights(command, str(gone), code=3)[1]


def test_the_group_without_a_command_shows_its_help() -> None:
    out = CliRunner().invoke(app, ["weights"]).output
    assert out.startswith("Usage: ") and all(f"\n  {name} " in out for name in ("describe", "verify", "list"))


def test_average_writes_the_mean_of_two_networks(bundle: Path, toy: Hodor, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other, output = build_model("toy"), tmp_path / "mean.safetensors"
    one_file, other_file = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_checkpoint(one_file, toy)
    save_checkpoint(other_file, other)

    weights("average", str(one_file), str(other_file), "-o", str(output), "--shares", "3,1")
    mean, one, two = model_from_checkpoint(output).state_dict(), toy.state_dict(), other.state_dict()
    for name, value in mean.items():
        torch.testing.assert_close(value, 0.75 * one[name] + 0.25 * two[name])
    shares = [source["share"] for source in weights_json("describe", str(output))["metadata"]["mean_of"]]
    assert shares == [3, 1]

    before = output.read_bytes()
    assert "--overwrite" in refused("weights", "average", "mini", one_file, "-o", output)
    assert output.read_bytes() == before
    weights("average", "mini", str(one_file), "-o", str(output), "--half", "--overwrite")
    assert output.stat().st_size < 0.7 * len(before)


@pytest.mark.parametrize(
    ("weights", "shares", "message"),
    [
        (["mini"], None, "at least two"),
        (["mini", "mini"], "1,2,3", "2 networks need 2 shares"),
        (["mini", "mini"], "1,-1", "above 0"),
        (["mini", "mini"], "1e308,1e308", "finite sum"),
        (["mini", "mini"], "half", "one number for each checkpoint"),
        (["mini", "small"], None, "use weights made for it"),
    ],
)
def test_average_says_why_there_is_no_mean(
    bundle: Path, tmp_path: Path, weights: list[str], shares: str | None, message: str
) -> None:
    small = tmp_path / "small.safetensors"
    save_checkpoint(small, build_model("mini"))
    names = [str(small) if name == "small" else name for name in weights]
    output = tmp_path / "mean.safetensors"
    options = [] if shares is None else ["--shares", shares]
    assert message in refused("weights", "average", *names, "-o", output, *options)
    assert not output.exists()
