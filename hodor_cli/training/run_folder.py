"""The folder of a training run: its files, its lock, its state, and what may be removed from it.

OUT/training_state.safetensors   everything that is needed to resume
OUT/last.safetensors             the newest checkpoint, for `--weights`
OUT/best.safetensors             the best by validation, if there is one
OUT/metrics.csv                  a line per iteration
OUT/run.json                     the settings and the data, for people to read and to resume
OUT/sheets/000500.png            drawings of predictions
OUT/tensorboard/                 events, if TensorBoard is installed

The state holds parameters, optimiser moments and averages of one iteration in one file, because a process killed
between two files would leave parts of two iterations. It needs no random state, because each iteration has its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from hodor_cli.errors import DataError, OutputError, UsageError, WeightsError
from hodor_cli.files import remove_leftovers, require_empty, write_whole, writing_file
from hodor_cli.locks import locked_folder
from hodor_cli.samples.settings import ClipOptions, DataSource
from hodor_cli.training.learner import Learner
from hodor_cli.weights.tensor_files import read_safetensors, write_safetensors

STATE_FILE = "training_state.safetensors"
#: Advice for a file of a run that cannot be written.
DISK = "free or change its disk, then `resume`"
#: Advice for a damaged state.
_DAMAGED = "so the run cannot be resumed; start over with `overwrite`, or elsewhere with `weights` last.safetensors"
_LOCK_FILE = ".lock"


class RunRecord(msgspec.Struct):
    """The content of run.json: what a run began with. settings: from `TrainConfig.to_dict`."""

    kind: Literal["pretrain", "finetune"]
    settings: dict[str, Any]
    format: Literal["hodor-training"] = "hodor-training"
    hodor: str = ""
    preset: str = ""
    data: list[DataSource] = msgspec.field(default_factory=list)
    clips: ClipOptions | None = None
    weights: str = ""
    backbone: str = ""
    #: The bundled weights that `weights` are or continue; "" for none.
    origin: str = ""
    #: What the best checkpoint was chosen on, from `Callbacks`.
    benchmark: str = ""
    processes: int = 1

    def shareable(self) -> dict[str, Any]:
        """The record for a checkpoint, which may be given away: names of files and folders without their paths."""
        record: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        for source in record["data"]:
            source |= {key: source[key] and Path(source[key]).name for key in ("folder", "annotations")}
        for key in ("weights", "backbone"):
            if Path(record[key]).is_absolute():
                record[key] = Path(record[key]).name
        return record


class RunFolder:
    """The files of one run under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / STATE_FILE
        self.last = root / "last.safetensors"
        self.best = root / "best.safetensors"
        self.metrics = root / "metrics.csv"
        self.record = root / "run.json"
        self.sheets = root / "sheets"
        self.events = root / "tensorboard"
        self._files = (self.state, self.last, self.best, self.metrics, self.record)

    def require_free(self, *, resume: bool, overwrite: bool) -> None:
        """Raise OutputError for a run that is neither resumed nor replaced, and for a folder with other files."""
        there = any(path.is_file() for path in self._files)
        if there and not resume and not overwrite:
            raise OutputError(f"{self.root} already holds a run; add `resume` or `overwrite`, or choose another `out`")
        if not there and os.access(self.root, os.R_OK):
            require_empty(self.root, _LOCK_FILE)

    @contextmanager
    def held(self, record: RunRecord, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold the folder's lock inside the block, and write run.json; with `overwrite`, remove an earlier run first.

        Only files that a run made are removed. Raises UsageError if the new run starts from one of them, OutputError
        like `require_free`.
        """
        advice = "wait until it ends, or train into another folder with `out`"
        with locked_folder(self.root, advice=advice, name=_LOCK_FILE):
            self.require_free(resume=resume, overwrite=overwrite)
            with writing_file(self.root, DISK):
                for file in (*self._files, self.sheets / "*"):
                    remove_leftovers(file.parent, file.name)
            if overwrite:
                self._remove_run(record)
            with writing_file(self.record, DISK):
                text = msgspec.json.format(msgspec.json.encode(record, enc_hook=str), indent=2)
                write_whole(self.record, text + b"\n")
            yield

    def _remove_run(self, record: RunRecord) -> None:
        """Remove a run's files, the state first, so that an incomplete run never looks complete."""
        patterns = ("sheets/*.png", "tensorboard/events.out.tfevents.*")
        made = [*self._files, *(path for pattern in patterns for path in self.root.glob(pattern))]
        for name, file in (("weights", record.weights), ("backbone", record.backbone)):
            if Path(file).is_file() and any(path.is_file() and path.samefile(file) for path in made):
                raise UsageError(f"`overwrite` would remove `{name}={file}`; choose another folder with `out`")
        try:
            for path in made:
                path.unlink(missing_ok=True)
            for folder in (self.sheets, self.events):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        except OSError as error:
            raise OutputError(
                f"the earlier run in {self.root} cannot be removed ({error.strerror}); choose another folder with `out`"
            ) from error

    def read_record(self) -> RunRecord | None:
        """The content of run.json, None if there is none. Raises DataError for a file that is something else."""
        if not self.record.is_file():
            return None
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=RunRecord, dec_hook=lambda kind, text: kind(text))
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise DataError(
                f"{self.record} is not a training run's record ({error}); restore it, or choose another `out`"
            ) from error


class TrainingState(msgspec.Struct):
    """The state of a run: iterations done, its settings, the best score, the network's configuration.

    config, model: from `to_dict`; that of a click network has no model. before, after: mean IoU on held-out pictures.
    validated: the iteration of the last validation that was completed.
    """

    iteration: int
    config: dict[str, Any]
    best: float = -1.0
    model: dict[str, Any] | None = None
    before: float | None = None
    after: float | None = None
    validated: int = 0


def save_state(folder: Path, state: TrainingState, learner: Learner[Any]) -> None:
    """Write the state of a run. Raises OutputError if it cannot be written; the earlier one is then kept."""
    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in learner.model.state_dict().items()}
    if learner.average is not None:
        tensors |= {f"average/{name}": value for name, value in learner.average.named_parameters()}
    for number, moments in learner.optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimiser/{number}/{key}"] = torch.as_tensor(value)
    header = {"iteration": str(state.iteration), "values": msgspec.json.encode(state).decode()}
    write_safetensors(folder / STATE_FILE, tensors, header, way_out=DISK)


def read_state(folder: Path) -> TrainingState | None:
    """The saved state of a run, None if the folder holds none. Raises WeightsError if the file is damaged."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    header, _ = read_safetensors(path, "state of a run", _DAMAGED)
    try:
        values = msgspec.json.decode(header["values"], type=dict[str, Any])
        return msgspec.convert({**values, "iteration": int(header["iteration"])}, TrainingState)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is damaged ({error}), {_DAMAGED}") from error


def restore_state(folder: Path, learner: Learner[Any]) -> None:
    """Restore a run's parameters, moments and averages. Raises WeightsError if they do not fit the network."""
    path, optimiser = folder / STATE_FILE, learner.optimiser
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimiser": {}}
    _, tensors = read_safetensors(path, "state of a run", _DAMAGED)
    try:
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = value
        learner.model.load_state_dict(parts["model"])
        if learner.average is not None:  # its buffers, of which there is no average, are the model's
            learner.average.load_state_dict({**parts["model"], **parts["average"]})
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, _, key = name.partition("/")
            # The file holds contiguous values; the fused optimiser needs them in the parameter's memory format.
            like = parameters[int(number)]
            if value.shape == like.shape:
                value = torch.empty_like(like, dtype=value.dtype, device="cpu").copy_(value)
            moments.setdefault(int(number), {})[key] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}), {_DAMAGED}") from error
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the architecture in the run's settings, {_DAMAGED}") from error
