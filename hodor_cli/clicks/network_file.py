"""Files of the click network: safetensors with its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from hodor_cli.clicks.network import ClickConfig, ClickNet
from hodor_cli.errors import InputError, WeightsError
from hodor_cli.images.paths import as_path
from hodor_cli.weights.registry import BUNDLED
from hodor_cli.weights.tensor_files import load_parameters, read_safetensors, shown, write_safetensors

#: The click network in the package.
CLICK_WEIGHTS = BUNDLED / "clicks.safetensors"
_FORMAT = "hodor-clicks"


def save_click_net(
    path: str | Path, net: ClickNet, metadata: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float16
) -> None:
    """Write a click network with its configuration and JSON metadata as one safetensors file, complete or not at all.

    Raises OutputError if it cannot be written.
    """
    header = {
        "format": _FORMAT,
        "config": msgspec.json.encode(net.config).decode(),
        "metadata": json.dumps(dict(metadata or {})),
    }
    write_safetensors(Path(path), net.state_dict(), header, dtype)


@torch.inference_mode(False)
def load_click_net(path: str | Path = CLICK_WEIGHTS) -> ClickNet:
    """Load a click network, by default the one in the package, in evaluation mode, float32 on the CPU.

    Raises InputError if the file is missing, WeightsError if it is damaged or holds another network.
    """
    path = as_path(path, "`net`")
    if not path.is_file():
        raise InputError(f"there is no weights file {path}; check the path")
    header, tensors = read_safetensors(path)
    if header.get("format") != _FORMAT:
        raise WeightsError(f"{path} is not a click network; use a file that `hodor train-clicks` wrote")
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it is
            net = ClickNet(msgspec.json.decode(header.get("config", ""), type=ClickConfig))
    except (msgspec.MsgspecError, ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise WeightsError(f"the configuration in {path} makes no network ({shown(error)}); fetch it again") from error
    load_parameters(net, tensors, origin=path, architecture="click network")
    return net.eval().requires_grad_(False)
