"""Files of the click network: safetensors with its configuration."""

from __future__ import annotations

import json
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


def save_click_net(path: Path, net: ClickNet, metadata: dict[str, Any]) -> None:
    """Write a click network, in float16, with its configuration and JSON metadata as one safetensors file.

    The file is complete or not there at all. Raises OutputError if it cannot be written.
    """
    config = msgspec.json.encode(net.config).decode()
    header = {"format": _FORMAT, "config": config, "metadata": json.dumps(metadata)}
    write_safetensors(path, net.state_dict(), header, torch.float16)


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
