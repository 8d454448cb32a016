"""Checkpoint files, our own (safetensors with the configuration in its header) and the authors' `.pth`; averaging."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from hodor_cli.config import ModelConfig
from hodor_cli.errors import UsageError, WeightsError
from hodor_cli.model import Hodor, build_model
from hodor_cli.presets import preset
from hodor_cli.weights.published import from_authors
from hodor_cli.weights.registry import available_weights
from hodor_cli.weights.tensor_files import (
    file_sha256,
    is_pickle,
    load_parameters,
    read_pickle,
    read_safetensors,
    shown,
    write_safetensors,
)

#: Version of our checkpoint layout, written into every file.
FORMAT_VERSION = "1"


class Checkpoint(NamedTuple):
    """What a checkpoint file holds: the configuration, parameters under our names, and free metadata."""

    config: ModelConfig
    state_dict: dict[str, Tensor]
    metadata: dict[str, Any]


#: What another file of hodor is, and what to do, by its format.
_OTHERS = {
    "hodor-clicks": "a click network, which only `hodor evaluate-clicks`, `hodor train-clicks` and `Clicker` read",
    "hodor-projection": "a projection; give it as `projection`, and a network as `weights`",
    "state": "the state of a run; use the last.safetensors next to it",
}


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file: `.safetensors` as `save_checkpoint` writes it, or the authors' `.pth`.

    Raises InputError if there is no such file, WeightsError if it is damaged, carries code, or is not a checkpoint.
    """
    path = Path(path)
    if is_pickle(path):
        state_dict = read_pickle(path)
        if not any(name.startswith("feature_extractor.") for name in state_dict):
            raise WeightsError(f"{path} is not one of the authors' .pth files; use one, or a file that hodor wrote")
        return Checkpoint(preset("swin-tiny"), from_authors(state_dict), {"source": path.name})
    header, state_dict = read_safetensors(path)
    if header.get("format") != "hodor":
        other = "state" if "iteration" in header else header.get("format", "")
        what = _OTHERS.get(other, "safetensors but not hodor's; use a file that hodor wrote or the authors' .pth")
        raise WeightsError(f"{path} is {what}")
    if header.get("format_version") != FORMAT_VERSION:
        raise WeightsError(f"{path} has another format than {FORMAT_VERSION}; use the hodor version that wrote it")
    try:
        config = ModelConfig.from_dict(msgspec.json.decode(header["config"]))
        metadata = json.loads(header.get("metadata", "{}"))  # free-form, may hold NaN
        if not isinstance(metadata, dict):
            raise WeightsError("its metadata is not a JSON object")
    except (LookupError, RecursionError, ValueError, msgspec.MsgspecError, WeightsError) as error:
        raise WeightsError(
            f"{path} has a damaged or newer header ({shown(error)}); fetch it again or update hodor"
        ) from error
    return Checkpoint(config, state_dict, metadata)


def save_checkpoint(
    path: str | Path, model: Hodor, metadata: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None
) -> None:
    """Write parameters, configuration and JSON metadata as one safetensors file, atomically.

    `dtype` converts floating-point parameters (float16 halves the file); None keeps them. Raises OutputError when the
    file cannot be written.
    """
    header = {
        "format": "hodor",
        "format_version": FORMAT_VERSION,
        "config": json.dumps(model.config.to_dict()),
        "metadata": json.dumps(dict(metadata or {})),
    }
    write_safetensors(Path(path), model.state_dict(), header, dtype)


def model_from_checkpoint(path: str | Path) -> Hodor:
    """The network of a checkpoint file, in evaluation mode, float32 on the CPU. Raises as `load_checkpoint` does."""
    return network_of(load_checkpoint(path), path)


def network_of(checkpoint: Checkpoint, path: str | Path) -> Hodor:
    """The network of a checkpoint that was read from `path`, as `model_from_checkpoint` returns it.

    Raises WeightsError if its parameters do not fit its configuration, or are not finite.
    """
    count, least = sum(v.numel() for v in checkpoint.state_dict.values()), checkpoint.config.parameters_at_least()
    if count < least:  # checked before building the network takes memory and time
        raise WeightsError(
            f"{path} does not fit '{checkpoint.config.name}': it has {count} of {least} numbers; fetch it again"
        )
    try:
        model = build_model(checkpoint.config)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not describe a network ({shown(error)}); fetch or copy it again") from error
    load_parameters(model, checkpoint.state_dict, origin=path, architecture=checkpoint.config.name)
    return model


def bundled_origin(path: Path) -> str | None:
    """The bundled weights that a checkpoint is, was trained from or averaged with, also through other checkpoints.

    None if it is another file and its metadata names none.
    """
    saved = load_checkpoint(path).metadata
    of = saved.get("mean_of")
    sources = [saved.get("run"), *(of if isinstance(of, list) else [])]
    names = [source.get(key) for source in sources if isinstance(source, dict) for key in ("weights", "origin")]
    known, digest = available_weights(), file_sha256(path)
    return next((name for name, info in known.items() if name in names or info.sha256 == digest), None)


def model_fingerprint(model: Hodor) -> str:
    """SHA-256, as hex, of the architecture and all parameters: equal for equal networks, whichever file they are in."""
    config = model.config.to_dict()
    for name in ("adapted_min_dim", "tiny_min_dim", "small_min_dim", "medium_min_dim", "fitted_steps"):
        del config[name]  # settings of runs, not of the network
    if config["matching"] is not None:
        del config["matching"]["colours"]
    # Parts added since version 0.1 are left out if they are off, so that networks of that version keep theirs.
    for part in ("position_codes", "places", "cue_gate", "deform_channels", "upsampled_channels"):
        if not config[part]:
            del config[part]
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def average_models(
    models: Sequence[Hodor], shares: Sequence[float] | None = None, *, origins: Sequence[str | Path] | None = None
) -> Hodor:
    """A new network, float32, with the weighted mean of the given networks' parameters ("model soup", Wortsman et al.,
    ICML 2022).

    Networks fine-tuned from the same start lie in one valley of the loss, and their mean often follows objects better
    than any of them; the mean of networks with different starts is useless. The first one's configuration is kept.

    Args:
        models: two or more networks of one architecture.
        shares: the weight of each, above 0; they are divided by their sum. None: equal shares.
        origins: what to call the networks in errors, such as their files.
    Raises:
        UsageError for fewer than two networks or shares that do not fit; WeightsError if the architectures differ.
    """
    if len(models) < 2:
        raise UsageError("a mean needs at least two networks; name another checkpoint")
    shares = [1.0] * len(models) if shares is None else list(shares)
    if len(shares) != len(models):
        raise UsageError(f"{len(models)} networks need {len(models)} shares, not {len(shares)}")
    if not (all(share > 0 for share in shares) and math.isfinite(sum(shares))):
        given = ", ".join(f"{share:g}" for share in shares)
        raise UsageError(f"shares must be numbers above 0 with a finite sum, not {given}")
    mean, states = copy.deepcopy(models[0]).float(), [model.state_dict() for model in models]
    for number, state in enumerate(states):
        origin = origins[number] if origins else f"network {number + 1}"
        load_parameters(mean, state, origin=origin, architecture=mean.config.name)
    parts = [share / sum(shares) for share in shares]
    mean.load_state_dict(
        {key: sum(part * state[key].float() for part, state in zip(parts, states, strict=True)) for key in states[0]}
    )
    return mean.eval()
