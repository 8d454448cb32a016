"""Weights by name (in the package, with checksums), by path, or by address, cached on this machine:
`hf://OWNER/NAME[@REVISION][/FILE]` and `https://...[#sha256=HEX]`.

Fetched files are read by the same strict rules as any other file: nothing in them is executed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from hodor_cli.errors import HodorError, InputError, UsageError, WeightsError, closest, extra
from hodor_cli.images.paths import as_path, listed
from hodor_cli.weights.tensor_files import file_sha256

if TYPE_CHECKING:
    import torch
    from huggingface_hub import HfApi

    from hodor_cli.model.hodor import Hodor

#: The folder of the package's own weights, their manifest and their model cards.
BUNDLED = Path(__file__).parent / "bundled"
#: The name that is used when none is given.
DEFAULT_WEIGHTS = "mini"
#: The file of a repository that is used when none is named, as is usual on the hub.
HUB_FILE = "model.safetensors"
#: Endings of files that can hold a network.
SUFFIXES = (".safetensors", ".pth")
#: Called with the number of bytes received so far and in all (None if unknown).
Progress = Callable[[int, "int | None"], None]

_HUB = re.compile(r"hf://(?P<repo>[^/@#\s]+/[^/@#\s]+)(?:@(?P<revision>[^/@#\s]+))?(?:/(?P<file>[^@#\s]+))?")
_OFFLINE = "check the network, or give the path of a file on this machine"


@dataclass(frozen=True)
class WeightsInfo:
    """Weights that can be loaded by name: the file, its SHA-256 (hex), a one-line description, and the model card."""

    name: str
    path: Path
    sha256: str
    description: str
    card: Path


def available_weights() -> dict[str, WeightsInfo]:
    """All named weights in the package."""
    manifest = json.loads((BUNDLED / "manifest.json").read_text(encoding="utf-8"))
    return {
        name: WeightsInfo(name, BUNDLED / entry["file"], entry["sha256"], entry["description"], BUNDLED / entry["card"])
        for name, entry in manifest.items()
    }


def load_model(name_or_path: str | Path = DEFAULT_WEIGHTS, device: str | torch.device = "cpu") -> Hodor:
    """The network of named weights, of a checkpoint file (ours or the authors' `.pth`), or of one at an address
    (`hf://OWNER/NAME[@REVISION][/FILE]`, `https://...[#sha256=HEX]`), in evaluation mode.

        model = load_model("mini", device="cuda")

    Raises WeightsError for an unknown name, listing the known ones, and for damaged, unfit or unreachable files.
    """
    import torch

    from hodor_cli.runtime.device import choose_device
    from hodor_cli.weights.checkpoint import model_from_checkpoint

    path = weights_path(name_or_path)
    with torch.inference_mode(False):  # parameters made in inference mode cannot be used outside it
        return model_from_checkpoint(path).to(choose_device(device))


def weights_path(name_or_path: str | Path, progress: Progress | None = None) -> Path:
    """The file for a name (its checksum verified), a path, or an address, from the cache if it was fetched before.

    `hf://` files are kept in the hub's own cache and follow its environment variables (`HF_HOME`, `HF_HUB_OFFLINE`,
    `HF_ENDPOINT`, `HF_TOKEN`); `https://` files are kept in a `cache_folder`. A file without a pinned hash is fetched
    once and used until it is removed from there. progress: called while an `https://` address is fetched.

    Raises InputError or WeightsError if there is no such file, it cannot be fetched, or its hash is not the pinned one,
    UsageError for another kind of address or if huggingface_hub is missing.
    """
    path, address = as_path(name_or_path, "`weights`"), str(name_or_path)
    if address.startswith("hf://"):
        return _from_hub(address)
    if address.startswith(("https://", "http://")):
        from hodor_cli.weights.download import download

        return download(address, cache_folder("weights"), progress)
    if re.match(r"[a-z][a-z0-9+.-]*://", address, re.IGNORECASE):
        raise UsageError(f"{address} is no address of weights; give hf://OWNER/NAME[@REVISION][/FILE] or https://")
    known = available_weights()
    if address in known:
        info = known[address]
        if not info.path.is_file():
            raise WeightsError(f"the file of the weights '{info.name}' is missing: {info.path}; install hodor again")
        if file_sha256(info.path) != info.sha256:
            raise WeightsError(f"the weights file {info.path} is damaged (its checksum differs); install hodor again")
        return info.path
    if path.is_file():
        return path
    if path.is_dir():
        files = {file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES}
        held = sorted(files - {"training_state.safetensors"})  # saved next to a training's weights
        raise InputError(f"{path} is a folder; name a weights file in it ({listed(held, 5) or 'it holds none'})")
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"there is no weights file {path}; check the path, or name one of: {', '.join(known)}")
    names = f"{', '.join(known)}{closest(address, known)}"
    raise WeightsError(f"there are no weights named '{address}'; the names are: {names}")


def name_in_record(weights: str | Path | None) -> str:
    """Weights as a record names them: the absolute path of a file, a name or an address as it is, or "" for none."""
    if weights is None or str(weights) in available_weights() or not Path(weights).is_file():
        return str(weights or "")
    return str(Path(weights).absolute())


def cache_folder(kind: str) -> Path:
    """Where files of a kind are kept: in `HODOR_CACHE_DIR`, or in `hodor` in the user's cache folder."""
    if own := os.environ.get("HODOR_CACHE_DIR"):
        return Path(own).expanduser() / kind
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".cache") / "hodor" / kind


def require_suffix(file: str, address: str) -> None:
    """Raise UsageError for a file that cannot hold a network, before it is fetched."""
    if not file.lower().endswith(SUFFIXES):
        raise UsageError(f"{address} is not a weights file; name one that ends in {' or '.join(SUFFIXES)}")


def _from_hub(address: str) -> Path:
    """A file of a repository on the hub, through its own client and cache."""
    found = _HUB.fullmatch(address)
    if found is None or ".." in (found["file"] or "").split("/"):
        raise UsageError(f"{address} is not an address on the hub; give hf://OWNER/NAME[@REVISION][/FILE]")
    file = found["file"] or HUB_FILE
    require_suffix(file, address)
    with extra("hub", "`weights` from the hub"):
        from huggingface_hub import HfApi, constants

    endpoint = os.environ.get("HF_ENDPOINT")
    parts, offline = urlsplit(endpoint or constants.ENDPOINT), False
    if not getproxies().get(parts.scheme):  # a proxy resolves names itself
        try:
            socket.getaddrinfo(parts.hostname, parts.port or 443)
        except OSError:  # no network; the client would keep trying for half a minute
            offline = True
    api, log = HfApi(endpoint=endpoint, library_name="hodor"), logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # what it warns of is reported below
    try:
        return Path(api.hf_hub_download(found["repo"], file, revision=found["revision"], local_files_only=offline))
    except Exception as error:  # also errors of the underlying HTTP library, which differs between versions
        raise _explained(error, api, found, file) from error
    finally:
        log.setLevel(level)


def _explained(error: Exception, api: HfApi, asked: re.Match[str], file: str) -> HodorError:
    """An error of the hub's client as one sentence with a way out."""
    from huggingface_hub import errors

    repo = asked["repo"]
    if isinstance(error, errors.RepositoryNotFoundError):  # also raised if the owner must grant access first
        return WeightsError(f"the hub has no model {repo}; check the name, or get access and run `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(f"{repo} has no revision {asked['revision']}; name a branch, a tag or a commit of it")
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        return WeightsError(f"the hub cannot be reached and {repo}/{file} is not in its cache; {_OFFLINE}")
    if isinstance(error, errors.EntryNotFoundError):
        with suppress(Exception):  # this only adds to another error
            names = api.list_repo_files(repo, revision=asked["revision"])
            if fit := sorted(name for name in names if name.lower().endswith(SUFFIXES)):
                return WeightsError(f"{repo} has no file {file}; its weights files are {', '.join(fit[:6])}")
        return WeightsError(f"{repo} has no file {file}; it has no weights that hodor can read")
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"{repo} is not a valid name on the hub; give hf://OWNER/NAME[@REVISION][/FILE]")
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return WeightsError(f"{repo}/{file} cannot be fetched from the hub ({reason}); try again, or {_OFFLINE}")
