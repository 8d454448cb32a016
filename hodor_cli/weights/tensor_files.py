"""Files of tensors: safetensors, and pickles that hold nothing but tensors."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hodor_cli.errors import InputError, WeightsError
from hodor_cli.files import WINDOWS, harmless, write_whole, writing_file
from hodor_cli.images.paths import listed

#: Messages of torch's safe loader about pickles that ask for more than tensors; damaged pickles cause other messages.
_CARRIES_CODE = re.compile(
    r"unsupported (global|class|operand)|allowed global|unrecognized function|can only build|trying to (call|inst)",
    re.IGNORECASE,
)


def kind_of(path: Path) -> Literal["safetensors", "pickle", ""]:
    """The kind of file by its first bytes, or "" for neither. A pickle is a zip (torch's format) or a bare pickle."""
    with path.open("rb") as file:
        head = file.read(9)
    zipped = head.startswith(b"PK\x03\x04")
    if head[8:] == b"{" and not zipped:  # the JSON header of safetensors starts at the ninth byte
        return "safetensors"
    return "pickle" if zipped or head.startswith(b"\x80") else ""


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle. Raises InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"there is no checkpoint file {path}; check the path")
    return kind_of(path) == "pickle"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hex; cached until the file changes."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_safetensors(
    path: Path, what: str = "checkpoint", way_out: str = "fetch or copy it again"
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a safetensors file. Raises WeightsError if it is damaged or not a `what`."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if WINDOWS:  # the tensors are views of the mapped file, which could not be replaced while one exists
                tensors = {name: tensor.clone() for name, tensor in tensors.items()}
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged or not a {what} ({shown(error)}); {way_out}") from error


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    header: dict[str, str],
    dtype: torch.dtype | None = None,
    way_out: str = "free its disk or choose another",
) -> None:
    """Write tensors and the metadata `header` as one file, atomically. dtype: converts floats; None keeps them.

    Raises OutputError, with `way_out`, if it cannot be written.
    """

    def plain(value: Tensor) -> Tensor:
        value = value.detach().cpu()
        return (value.to(dtype) if dtype is not None and value.is_floating_point() else value).contiguous()

    data = save({name: plain(value) for name, value in tensors.items()}, metadata=header)
    with writing_file(path, way_out):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The state dict in a pickle, on its own or under "model" or "state_dict"; no code is run.

    Raises WeightsError if the file is damaged, carries anything but tensors, or holds no state dict.
    """
    try:
        # An open file, because torch judges a path by its suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols that torch does not write
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of error for damaged files
        if _CARRIES_CODE.search(str(error)):
            raise WeightsError(f"{path} is a pickle that carries code or objects; use plain tensors") from error
        raise WeightsError(f"{path} is damaged or not a checkpoint; fetch or copy it again") from error
    for key in ("model", "state_dict"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise WeightsError(f"{path} holds no state dict (parameters by name); use weights saved as one")
    return content


def fault_of(name: str, value: Tensor | None, wanted: Tensor) -> str | None:
    """Why a tensor cannot become the parameter `wanted`, as the end of a sentence; None if it can."""
    if value is None:
        return f"is missing {shown(name)}"
    if value.shape != wanted.shape:
        return f"holds {shown(name)} as {tuple(value.shape)} instead of {tuple(wanted.shape)}"
    if not value.is_floating_point() or value.layout != torch.strided or value.device.type != "cpu":
        kind = str(value.dtype).removeprefix("torch.")
        return f"holds {shown(name)} as {kind} ({value.layout}, on {value.device.type}) instead of plain floats"
    return None


def load_parameters(module: nn.Module, tensors: Mapping[str, Tensor], *, origin: str | Path, architecture: str) -> None:
    """Load a state dict into a network, as float32.

    Raises WeightsError naming the parameters of `origin` that are missing, unknown, misshapen or not finite.
    """
    own = module.float().state_dict()  # PyTorch's default dtype may be another
    faults = [fault for name, value in own.items() if (fault := fault_of(name, tensors.get(name), value))]
    faults += [f"has the unknown {shown(name)}" for name in tensors if name not in own]
    if faults:
        raise WeightsError(
            f"{origin} does not fit the architecture '{architecture}': it {listed(faults, 4)}; use weights made for it"
        )
    module.load_state_dict(as_float32(tensors, origin))


def as_float32(values: Mapping[str, Tensor], origin: str | Path) -> dict[str, Tensor]:
    """Copies in float32. Raises WeightsError, naming the parameter, for values that are not finite in float32."""
    made = {name: value.to(torch.float32, copy=True) for name, value in values.items()}
    broken = [name for name, value in made.items() if not bool(value.isfinite().all())]
    if broken:
        more = f" and {len(broken) - 1} more parameters" if len(broken) > 1 else ""
        raise WeightsError(f"{origin} has non-finite values in {shown(broken[0])}{more}; train or fetch it again")
    return made


def shown(text: object) -> str:
    """Text from a file made safe to show in a message: control characters escaped, at most 300 characters."""
    plain = harmless(str(text)[:301])
    return plain if len(plain) <= 300 else f"{plain[:297]}..."
