"""Checkpoint files: our own (safetensors with the configuration in its header) and the authors' `.pth`."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hodor_cli.config import ModelConfig, preset
from hodor_cli.errors import InputError, WeightsError
from hodor_cli.files import replacing, writing_file
from hodor_cli.model.hodor import Hodor, build_model
from hodor_cli.weights.authors import from_authors, is_authors_state_dict

#: Version of our checkpoint layout, written into every file.
FORMAT_VERSION = "1"

#: What torch's safe reader says of a pickle that asks for more than tensors; of a damaged one it says other things.
_CARRIES_CODE = re.compile(
    r"unsupported (global|class|operand)|allowed global|unrecognized function|can only build|trying to (call|inst)",
    re.IGNORECASE,
)


class Checkpoint(NamedTuple):
    """What a checkpoint file holds: the configuration, parameters under our names, and free metadata."""

    config: ModelConfig
    state_dict: dict[str, Tensor]
    metadata: dict[str, Any]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file: `.safetensors` as `save_checkpoint` writes it, or the authors' `.pth`.

    Raises InputError if there is no such file, WeightsError if it is damaged, carries code, or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint file {path}; check the path")
    with path.open("rb") as file:
        head = file.read(9)
    # A zip (torch's format), or a bare pickle of any protocol; safetensors has its JSON header at the ninth byte.
    is_pickle = head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[8:] != b"{")
    return _load_pickle(path) if is_pickle else _load_safetensors(path)


def save_checkpoint(
    path: str | Path, model: Hodor, metadata: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None
) -> None:
    """Write parameters, configuration and JSON metadata as one safetensors file, atomically.

    `dtype` converts floating-point parameters (float16 halves the file); None keeps them. Raises OutputError when the
    file cannot be written.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if dtype is not None:
        tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    header = {
        "format": "hodor",
        "format_version": FORMAT_VERSION,
        "config": json.dumps(model.config.to_dict()),
        "metadata": json.dumps(dict(metadata or {})),
    }
    with writing_file(path, "free its disk or choose another"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(save(tensors, metadata=header))


def model_from_checkpoint(path: str | Path) -> Hodor:
    """The network of a checkpoint file, in evaluation mode, float32 on the CPU. Raises as `load_checkpoint` does."""
    checkpoint = load_checkpoint(path)
    try:
        model = build_model(checkpoint.config)
    except (ArithmeticError, AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"the configuration in {path} makes no network ({error}); fetch or copy it again") from error
    load_parameters(model, checkpoint.state_dict, origin=str(path))
    return model


def load_parameters(model: Hodor, state_dict: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy parameters into a model. Raises WeightsError naming what is missing, surplus or misshapen in `origin`."""
    own = model.state_dict()
    faults = [f"lacks {name}" for name in own if name not in state_dict]
    faults += [f"has the unknown {name}" for name in state_dict if name not in own]
    faults += [
        f"holds {name} as {tuple(state_dict[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in state_dict and state_dict[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 4} more such parameters" if len(faults) > 4 else ""
        raise WeightsError(
            f"{origin} does not fit the architecture '{model.config.name}': it {', '.join(faults[:4])}{more};"
            " use weights of the same architecture"
        )
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in state_dict.items()})


def model_fingerprint(model: Hodor) -> str:
    """SHA-256, as hex, of the architecture and all parameters: the same for equal networks, whatever their file."""
    config = model.config.to_dict()
    del config["adapted_min_dim"]  # how runs are made, not what the network is
    # Parts that version 0.1 did not know change nothing where they are off, so files of that version still fit.
    for part in ("position_codes", "cue_gate", "deform_channels", "upsampled_channels"):
        if not config[part]:
            del config[part]
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state_dict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or no checkpoint ({error}); fetch or copy it again") from error
    if header.get("format") != "hodor":
        raise WeightsError(f"{path} is safetensors but not hodor's; use a file that hodor wrote or the authors' .pth")
    if header.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{path} has checkpoint format {header.get('format_version')} and this version reads {FORMAT_VERSION};"
            " use the hodor version that wrote it"
        )
    try:
        config = ModelConfig.from_dict(json.loads(header["config"]))
        metadata = json.loads(header.get("metadata", "{}"))
    except (KeyError, json.JSONDecodeError, WeightsError) as error:
        raise WeightsError(f"{path} has a damaged or newer header ({error}); fetch it again or update hodor") from error
    return Checkpoint(config, state_dict, metadata)


def _load_pickle(path: Path) -> Checkpoint:
    try:
        # An open file, because torch judges a path by its suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch does not write; the error says enough
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files; none of them may reach the user
        if _CARRIES_CODE.search(str(error)):
            raise WeightsError(
                f"{path} is a pickle that carries code or objects other than tensors, so it is refused;"
                " use weights from a source you trust, saved as plain tensors"
            ) from error
        raise WeightsError(f"{path} is damaged or no checkpoint; fetch or copy it again") from error
    state_dict = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise WeightsError(f"{path} holds no state dict under 'model'; use one of the authors' checkpoints")
    if not is_authors_state_dict(state_dict):
        raise WeightsError(f"{path} is not one of the authors' checkpoints (no 'feature_extractor.' parameters)")
    return Checkpoint(preset("swin-tiny"), from_authors(state_dict), {"source": path.name})
