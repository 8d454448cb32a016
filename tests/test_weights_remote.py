"""Weights from elsewhere: addresses on the hub and of files, against stand-ins on the loopback address."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import hodor
from hub_fakes import FakeServer, fake_server
from safetensors.torch import save
from training_fakes import make_blobs

from hodor_cli import errors, pretrain
from hodor_cli.cli import terminal
from hodor_cli.errors import HodorError, UsageError, WeightsError
from hodor_cli.model import Hodor
from hodor_cli.training.options import RunOptions
from hodor_cli.training.recipe import Recipe
from hodor_cli.weights import download, load_model, model_fingerprint, save_checkpoint, weights_path

PATH = "/weights/toy.safetensors"


@pytest.fixture
def checkpoint(toy: Hodor, tmp_path: Path) -> bytes:
    save_checkpoint(tmp_path / "toy.safetensors", toy)
    return (tmp_path / "toy.safetensors").read_bytes()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """The stand-in, with empty caches and no proxy between."""
    monkeypatch.setenv("HODOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    with fake_server() as running:
        yield running


@pytest.fixture
def hub(server: FakeServer, checkpoint: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """The stand-in as a hub that holds one model."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from huggingface_hub import constants

    files = {"README.md": b"# birds\n", "model.safetensors": checkpoint}
    server.repositories["me/birds"] = {"main": files, "v2": {"other.safetensors": checkpoint, "notes.txt": b""}}
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    return server


def refused(address: str, kind: type[HodorError] = WeightsError) -> str:
    """The one sentence that says why an address gives no weights."""
    with pytest.raises(kind) as caught:
        weights_path(address)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Addresses of files


def test_a_file_is_fetched_once_and_then_read_from_the_cache(server: FakeServer, checkpoint: bytes, toy: Hodor) -> None:
    server.files[PATH] = checkpoint
    assert model_fingerprint(load_model(server.url + PATH)) == model_fingerprint(toy)
    assert len(server.requests) == 1
    assert weights_path(server.url + PATH).read_bytes() == checkpoint
    assert len(server.requests) == 1


def test_an_address_may_have_any_letters(server: FakeServer, checkpoint: bytes) -> None:
    server.files["/gr%C3%B6%C3%9Fe%20v%202.safetensors"] = checkpoint
    for address in ("/größe v%202.safetensors", "/gr%C3%B6%C3%9Fe%20v%202.safetensors"):
        assert weights_path(server.url + address).read_bytes() == checkpoint


def test_a_wrong_hash_is_refused_and_nothing_is_kept(server: FakeServer, checkpoint: bytes, tmp_path: Path) -> None:
    server.files[PATH] = checkpoint
    digest = hashlib.sha256(checkpoint).hexdigest()
    message = refused(f"{server.url}{PATH}#sha256={'0' * 64}")
    assert digest in message and "not the pinned one" in message
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert weights_path(f"{server.url}{PATH}#sha256={digest.upper()}").read_bytes() == checkpoint


def test_a_file_replaced_at_its_address_is_fetched_anew_for_its_new_pin(server: FakeServer, checkpoint: bytes) -> None:
    server.files[PATH] = save({})
    weights_path(server.url + PATH)
    server.files[PATH] = checkpoint
    pinned = f"{server.url}{PATH}#sha256={hashlib.sha256(checkpoint).hexdigest()}"
    assert weights_path(pinned).read_bytes() == checkpoint


def test_a_download_that_broke_off_leaves_nothing(server: FakeServer, checkpoint: bytes, tmp_path: Path) -> None:
    server.files[PATH], server.break_after = checkpoint, 1000
    assert "run the same again" in refused(server.url + PATH)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert weights_path(server.url + PATH).read_bytes() == checkpoint


def test_what_a_killed_download_left_is_removed(server: FakeServer, checkpoint: bytes) -> None:
    server.files[PATH] = checkpoint
    file = weights_path(server.url + PATH)
    file.rename(file.with_name(f".{file.name}.123456.tmp"))
    assert weights_path(server.url + PATH).read_bytes() == checkpoint
    assert list(file.parent.iterdir()) == [file]


def test_a_malformed_address_is_refused() -> None:
    assert "https://[x/a.pth is not a web address" in refused("https://[x/a.pth", UsageError)
    assert "https://www..org/a.pth cannot be reached" in refused("https://www..org/a.pth")


def test_an_endless_file_is_refused(server: FakeServer, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files[PATH] = checkpoint
    monkeypatch.setattr(download, "MOST_BYTES", 2000)
    assert "larger than" in refused(server.url + PATH)


def test_a_page_instead_of_a_file_is_told_and_not_kept(server: FakeServer, checkpoint: bytes) -> None:
    server.files[PATH] = b"<!doctype html><title>log in</title>"
    assert "is not a checkpoint; give the address of the file itself" in refused(server.url + PATH)
    server.files[PATH] = checkpoint
    assert weights_path(server.url + PATH).read_bytes() == checkpoint


def test_a_damaged_file_is_told_and_not_kept(server: FakeServer, checkpoint: bytes) -> None:
    for damaged in (checkpoint[:-100], b"PK\x03\x04 half a pickle"):
        server.files[PATH] = damaged
        assert refused(server.url + PATH).startswith(f"{server.url}{PATH} is damaged or not a checkpoint")
    server.files[PATH] = checkpoint
    assert weights_path(server.url + PATH).read_bytes() == checkpoint


def test_no_file_and_no_network_are_told_apart(server: FakeServer) -> None:
    assert "404" in refused(server.url + "/nothing.safetensors")
    server.server_close()
    server.shutdown()
    message = refused(server.url + PATH)
    assert "cannot be reached" in message and "fetch it yourself" in message


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://example.org/w.safetensors", "plain http"),
        ("https://example.org/w.zip", "ends in .safetensors or .pth"),
        ("https://example.org/w.pth#sha256=12", "64 hexadecimal digits"),
        ("ftp://example.org/w.pth", "is no address of weights"),
        ("hf://birds", "hf://OWNER/NAME"),
        ("hf://me/birds/../../x.pth", "hf://OWNER/NAME"),
        ("hf://me/birds/pytorch_model.bin", "ends in .safetensors or .pth"),
    ],
)
def test_addresses_that_cannot_be_are_refused_before_anything_is_fetched(address: str, said: str) -> None:
    assert said in refused(address, UsageError)


def test_the_command_prints_the_hash_to_pin(
    server: FakeServer, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[PATH] = checkpoint
    result = hodor("weights", "verify", server.url + PATH)
    assert f"{server.url}{PATH}#sha256={hashlib.sha256(checkpoint).hexdigest()}" in result.stderr
    monkeypatch.setattr(terminal, "progress_bar", None)  # it would be shown, although nothing is fetched
    assert hodor("weights", "verify", server.url + PATH).stderr == ""


def test_a_run_takes_weights_by_their_address(server: FakeServer) -> None:
    result = hodor(
        "segment", "none.mp4", "--mask", "m.png", "--weights", server.url + PATH, code=WeightsError.exit_code
    )
    assert "404" in result.stderr


# The hub


def test_a_model_on_the_hub_loads_by_its_name(hub: FakeServer, toy: Hodor) -> None:
    for address in ("hf://me/birds", "hf://me/birds@main/model.safetensors", "hf://me/birds@v2/other.safetensors"):
        assert model_fingerprint(load_model(address)) == model_fingerprint(toy), address


def test_without_a_network_the_hubs_cache_is_used(hub: FakeServer, checkpoint: bytes) -> None:
    assert weights_path("hf://me/birds").read_bytes() == checkpoint
    hub.shutdown()
    hub.server_close()
    assert weights_path("hf://me/birds").read_bytes() == checkpoint
    message = refused("hf://me/fish")
    assert "cannot be reached" in message and "me/fish/model.safetensors is not in its cache" in message


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://me/fish", "the hub has no model me/fish"),
        ("hf://me/birds@v9", "me/birds has no revision v9"),
        ("hf://me/birds/best.pth", "me/birds has no file best.pth; its weights files are model.safetensors"),
        ("hf://me/birds@v2", "has no file model.safetensors; its weights files are other.safetensors"),
    ],
)
def test_what_the_hub_does_not_have_is_one_sentence(hub: FakeServer, address: str, said: str) -> None:
    assert said in refused(address)


def test_a_pickle_from_the_hub_is_read_by_the_strict_rules(hub: FakeServer, tmp_path: Path) -> None:
    torch.save({"feature_extractor.x": Path}, tmp_path / "evil.pth")
    hub.repositories["me/birds"]["main"]["evil.pth"] = (tmp_path / "evil.pth").read_bytes()
    with pytest.raises(WeightsError, match="carries code"):
        load_model("hf://me/birds/evil.pth")


def test_a_missing_extra_is_told_with_how_to_install_it() -> None:
    with pytest.raises(UsageError, match=r"pip install 'hodor-cli\[hub\]'"), errors.extra("hub", "this"):
        import a_package_that_is_not_there  # noqa: F401


# A folder for the hub


def test_push_prepares_a_folder_that_the_hub_reads(toy: Hodor, tmp_path: Path) -> None:
    hub_package = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    save_checkpoint(tmp_path / "toy.safetensors", toy, {"J&F": 0.71}, dtype=torch.float16)
    out = tmp_path / "hub"
    command = ["weights", "push", str(tmp_path / "toy.safetensors"), "-o", str(out), "--name", "me/birds"]
    result = hodor(*command, "--license", "mit")
    assert f"hf upload me/birds {out}" in result.stdout and "hf://me/birds" in result.stdout
    card = hub_package.ModelCard.load(out / "README.md")
    assert card.data.license == "mit" and card.data.pipeline_tag == "image-segmentation"
    assert "hodor" in card.data.tags and '"J&F": 0.71' in card.text
    assert (out / "config.json").read_text().startswith("{")
    assert (out / "model.safetensors").stat().st_size == (tmp_path / "toy.safetensors").stat().st_size
    hodor(*command, code=errors.OutputError.exit_code)
    (out / "holiday.jpg").write_bytes(b"")
    said = hodor(*command, "--overwrite", code=errors.OutputError.exit_code).stderr
    assert "holds holiday.jpg, which would be uploaded too" in said
    (tmp_path / "file").write_bytes(b"")
    said = hodor(*command[:3], "-o", tmp_path / "file", code=errors.OutputError.exit_code).stderr
    assert "is a file or is inside one" in said


def test_push_refuses_a_licence_that_allows_more_than_the_weights_it_continues(toy: Hodor, tmp_path: Path) -> None:
    command = ["weights", "push", "-o", str(tmp_path / "hub")]
    refused = errors.UsageError.exit_code
    for saved in ({"run": {"weights": "mini"}}, {"mean_of": [{"weights": "mini"}, {"weights": "mine.safetensors"}]}):
        save_checkpoint(tmp_path / "tuned.safetensors", toy, saved)
        free = hodor(*command, tmp_path / "tuned.safetensors", "--license", "mit", code=refused)
        assert "continue mini, which forbids commercial use" in free.stderr and not (tmp_path / "hub").exists()
        for kept in ("cc-by-nc-4.0", "other"):
            hodor(*command, tmp_path / "tuned.safetensors", "--license", kept)
            shutil.rmtree(tmp_path / "hub")
    for name in "ab":
        save_checkpoint(tmp_path / f"{name}.safetensors", toy, {"run": {"weights": "mini"}})
    mean = tmp_path / "mean.safetensors"
    hodor("weights", "average", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "-o", mean)
    again = {"iterations": 1, "held_out": 0}
    recipe = Recipe("toy", weights=mean, changes=again)
    run = pretrain(make_blobs(tmp_path / "photos"), recipe, RunOptions(tmp_path / "run", workers=0))
    copy = shutil.copyfile(weights_path("mini"), tmp_path / "copy.safetensors")
    for file in (mean, run.last, "mini", copy):
        said = hodor(*command, file, "--license", "mit", code=refused).stderr
        assert "continue mini, which forbids commercial use" in said


def test_the_bundled_weights_keep_their_card_and_their_licence(tmp_path: Path) -> None:
    hodor("weights", "push", "mini", "-o", tmp_path / "hub")
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "license: other" in text and "# Model card: `mini`" in text


def test_without_a_name_server_nothing_is_tried_for_long(hub: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits to try again"))
    assert "cannot be reached" in refused("hf://me/birds")
