"""What a run leaves behind so that it can go on: one file, written atomically, that holds everything at once.

`training_state.safetensors` holds parameters, optimiser moments and averages of one iteration together: a kill between
two files could otherwise leave parts of two iterations. The random state is none: each iteration seeds its own.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hodor_cli.errors import WeightsError
from hodor_cli.files import write_whole, writing_file
from hodor_cli.training.optimiser import WeightAverage

STATE_FILE = "training_state.safetensors"


class RunState(NamedTuple):
    """The iteration that comes next, and free values (settings, best score)."""

    iteration: int
    values: dict[str, Any]


def save_run(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage | None,
    state: RunState,
) -> None:
    """Write the state of a run. Raises OutputError when it cannot be written; the earlier one then survives."""
    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.values.items()}
    for number, moments in optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimiser/{number}/{key}"] = torch.as_tensor(value)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"iteration": str(state.iteration), "values": json.dumps(state.values)}
    write_atomically(folder / STATE_FILE, save(tensors, metadata=header))


def read_run(folder: Path) -> RunState | None:
    """Where a run stopped, or None if the folder holds no run."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
        return RunState(int(header["iteration"]), json.loads(header["values"]))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is damaged ({error}); remove it to begin anew") from error


def restore_run(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: WeightAverage | None
) -> None:
    """Put a run's parameters, moments and averages back."""
    moments: dict[int, dict[str, Tensor]] = {}
    parameters: dict[str, Tensor] = {}
    with safe_open(folder / STATE_FILE, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            kind, _, rest = name.partition("/")
            if kind == "model":
                parameters[rest] = file.get_tensor(name)
            elif kind == "average" and average is not None and rest in average.values:
                average.values[rest].copy_(file.get_tensor(name))
            elif kind == "optimiser":
                number, _, key = rest.partition("/")
                moments.setdefault(int(number), {})[key] = file.get_tensor(name)
    try:
        model.load_state_dict(parameters)
    except RuntimeError as error:
        raise WeightsError(f"{folder / STATE_FILE} is of another architecture than the run's settings say") from error
    places = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, values in moments.items():
        # Saved row by row; the fused step reads moments and parameter in the same order, so they must lie alike.
        like = places[number]
        for key, value in values.items():
            if value.shape == like.shape:
                values[key] = torch.empty_like(like, dtype=value.dtype, device="cpu").copy_(value)
    state = optimiser.state_dict()
    state["state"] = moments
    optimiser.load_state_dict(state)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is on the disk, whole, when this returns. Raises OutputError; the old file then survives."""
    with writing_to(path):
        write_whole(path, content)


def writing_to(path: Path) -> AbstractContextManager[None]:
    """Turn the system's refusal to write a file of a run into an OutputError that names it."""
    return writing_file(path, "free or change its disk, then --resume")
