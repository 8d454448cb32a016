"""What a run is resumed from: one file, written atomically, that holds everything at once.

`training_state.safetensors` holds parameters, optimiser moments and averages of one iteration together: a kill between
two files could otherwise leave parts of two iterations. No random state is saved, because each iteration has its seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hodor_cli.errors import WeightsError
from hodor_cli.files import write_whole, writing_file
from hodor_cli.training.optimiser import WeightAverage

STATE_FILE = "training_state.safetensors"
#: The way out where a file of a run cannot be written.
DISK = "free or change its disk, then `resume`"


class TrainingState(msgspec.Struct, frozen=True):
    """Where a run is: iterations done, its settings, the best score, the network's configuration.

    config, model: as `to_dict` gives them; states of older versions hold no model. before, after: mean IoU on held-out
    pictures.
    """

    iteration: int
    config: dict[str, Any]
    best: float = -1.0
    model: dict[str, Any] | None = None
    before: float | None = None
    after: float | None = None


def save_state(
    folder: Path,
    state: TrainingState,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> None:
    """Write the state of a run. Raises OutputError when it cannot be written; the earlier one then survives."""
    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.values.items()}
    for number, moments in optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimiser/{number}/{key}"] = torch.as_tensor(value)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"iteration": str(state.iteration), "values": msgspec.json.encode(state).decode()}
    with writing_file(folder / STATE_FILE, DISK):
        write_whole(folder / STATE_FILE, save(tensors, metadata=header))


def read_state(folder: Path) -> TrainingState | None:
    """Where a run stopped, or None if the folder holds no run. Raises WeightsError if the file is damaged."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
        values = msgspec.json.decode(header["values"], type=dict[str, Any])
        return msgspec.convert({**values, "iteration": int(header["iteration"])}, TrainingState)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def restore_state(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: WeightAverage | None
) -> None:
    """Put a run's parameters, moments and averages back. Raises WeightsError if they do not fit the network."""
    path = folder / STATE_FILE
    moments: dict[int, dict[str, Tensor]] = {}
    parameters: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                kind, _, rest = name.partition("/")
                if kind == "model":
                    parameters[rest] = file.get_tensor(name)
                elif kind == "average" and average is not None and rest in average.values:
                    average.values[rest].copy_(file.get_tensor(name))
                elif kind == "optimiser":
                    number, _, key = rest.partition("/")
                    moments.setdefault(int(number), {})[key] = file.get_tensor(name)
        model.load_state_dict(parameters)
        _load_moments(optimiser, moments)
    except (OSError, SafetensorError, KeyError, IndexError, ValueError) as error:
        raise _damaged(path, error) from error
    except RuntimeError as error:
        raise WeightsError(f"{path} is of another architecture than the run's settings say") from error


def _load_moments(optimiser: torch.optim.Optimizer, moments: dict[int, dict[str, Tensor]]) -> None:
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


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is damaged ({error or 'it is empty'}), so the run cannot be resumed; begin anew with `overwrite`, or"
        " in another folder from its checkpoint `weights` last.safetensors"
    )
