"""Weights by name: those in the package, described by a manifest with their checksums, and files by their path."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.errors import InputError, WeightsError
from hodor_cli.weights.remote import Progress, fetch_weights, is_remote
from hodor_cli.weights.tensor_files import file_sha256

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor

#: Where the package's own weights, their manifest and their model cards lie.
BUNDLED = Path(__file__).parent / "bundled"
#: The name that is used when none is given.
DEFAULT_WEIGHTS = "mini"


@dataclass(frozen=True)
class WeightsInfo:
    """Weights that can be loaded by name: the file, its SHA-256 (hex), and a one-line description."""

    name: str
    path: Path
    sha256: str
    description: str
    card: Path | None = None


def available_weights() -> dict[str, WeightsInfo]:
    """All named weights in the package."""
    manifest = json.loads((BUNDLED / "manifest.json").read_text(encoding="utf-8"))
    return {
        name: WeightsInfo(
            name=name,
            path=BUNDLED / entry["file"],
            sha256=entry["sha256"],
            description=entry["description"],
            card=BUNDLED / entry["card"] if "card" in entry else None,
        )
        for name, entry in manifest.items()
    }


def load_model(name_or_path: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> Hodor:
    """The network of named weights, of a checkpoint file (ours or the authors' `.pth`), or of one from elsewhere
    (`hf://OWNER/NAME[@REVISION][/FILE]`, `https://...[#sha256=HEX]`), in evaluation mode.

        model = load_model("mini", device="cuda")

    Raises WeightsError for an unknown name, naming those there are, and for damaged, unfit or unreachable files.
    """
    from hodor_cli.runtime.device import choose_device
    from hodor_cli.weights.checkpoint import model_from_checkpoint

    path = weights_path(name_or_path)
    return model_from_checkpoint(path).to(choose_device(device))


def weights_path(name_or_path: str | Path, progress: Progress | None = None) -> Path:
    """The file behind a name (its checksum verified), a path, or an address, which is fetched.

    progress: called while an `https://` address is fetched. Raises WeightsError, InputError or UsageError if there is
    none.
    """
    if is_remote(name_or_path):
        return fetch_weights(str(name_or_path), progress)
    known = available_weights()
    if str(name_or_path) in known:
        info = known[str(name_or_path)]
        verify(info)
        return info.path
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"there is no weights file {path}; check the path, or name one of: {', '.join(known)}")
    close = difflib.get_close_matches(str(name_or_path), known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise WeightsError(f"there are no weights named '{name_or_path}'; {hint}the names are: {', '.join(known)}")


def verify(info: WeightsInfo) -> None:
    """Raise WeightsError, naming the file, if it is absent or its checksum is not the manifest's."""
    if not info.path.is_file():
        raise WeightsError(f"the file of the weights '{info.name}' is missing: {info.path}; install hodor again")
    if file_sha256(info.path) != info.sha256:
        raise WeightsError(f"the weights file {info.path} is damaged (its checksum differs); install hodor again")
