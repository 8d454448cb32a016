"""Options of a run, its callbacks, and its result."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from hodor_cli.errors import UsageError
from hodor_cli.images.paths import as_path
from hodor_cli.settings import about, check_settings

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor

#: Not `1h30`, which could be minutes or seconds.
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h(?![\d.]+$))?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def seconds_in(text: str, called: str) -> float:
    """A time such as 9m, 90s or 1h30m in seconds. Raises UsageError, naming the setting as `called`."""
    match = _TIME.fullmatch(text.strip().lower())
    hours, minutes, seconds = (0.0, 0.0, 0.0) if match is None else (float(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise UsageError(f"`{called}` cannot be '{text}'; write 9m, 90s or 1h30m")
    return total


@dataclass(frozen=True)
class RunOptions:
    """Where a run writes, how often, and when it stops."""

    out: Annotated[Path | None, about("The run's folder.  [default: runs/PRESET, or runs/PRESET-MODE]")] = None
    resume: Annotated[bool, about("Continue the run in the folder, or start one if there is none.")] = False
    overwrite: Annotated[bool, about("Replace the run in the folder.")] = False
    time_limit: Annotated[
        str | None,
        about(
            "Stop cleanly after 9m, 90s or 1h30m; the run can then be resumed. The learning rate still follows the"
            " iterations: set fewer of them to let it decay in this time."
        ),
    ] = None
    save_every: Annotated[int, about("Iterations between saved states to resume from.", least=1)] = 200
    val_every: Annotated[int, about("Iterations between validations.", least=1)] = 1000
    sheet_every: Annotated[int, about("Iterations between sheets of predictions.", least=1)] = 500
    workers: Annotated[int, about("Processes that make samples; 0 makes them in the training process.", least=0)] = 2

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", as_path(self.out, "`out`"))  # callers may pass text
        check_settings(self)
        if self.resume and self.overwrite:
            raise UsageError("`resume` continues a run and `overwrite` replaces it; give one of them")
        self.seconds  # noqa: B018 (refuses a text that is not a time)

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds, or None. Raises UsageError for a text that is not a time."""
        return None if self.time_limit is None else seconds_in(self.time_limit, "time_limit")


@dataclass(frozen=True)
class LaunchSettings:
    """How the work is distributed.

    The processes share each batch evenly. Their number changes only random draws inside the network, such as dropout.
    """

    device: Annotated[str, about("Device to run on: auto, cpu, cuda, cuda:N or mps.")] = "auto"
    precision: Annotated[Literal["auto", "fp32", "bf16"], about("Arithmetic; auto: bf16 if the hardware has it.")] = (
        "auto"
    )
    gpus: Annotated[int, about("CUDA devices per machine.", least=1)] | None = None
    processes: Annotated[int, about("Processes on the CPU instead of GPUs.", least=1)] | None = None
    nodes: Annotated[int, about("Number of machines; detected under torchrun and SLURM.", least=1)] = 1

    def __post_init__(self) -> None:
        check_settings(self)
        gpus, processes, device = self.gpus, self.processes, self.device
        if gpus is not None and processes is not None:
            raise UsageError("`gpus` computes on GPUs and `processes` on the CPU; give one of them")
        if gpus is not None and device not in ("auto", "cuda"):
            raise UsageError(f"`gpus={gpus}` contradicts `device={device}`; give one of them")
        if processes is not None and device not in ("auto", "cpu"):
            raise UsageError(f"`processes={processes}` computes on the CPU, which contradicts `device={device}`")


class TrainingProgress(NamedTuple):
    """How far a run is: `iteration` of `iterations` done, losses of the last one, and the speed.

    seconds_left: to the last iteration or, if `limited`, to the time limit, which comes first. loader_wait: the share
    of the time spent waiting for batches.
    """

    iteration: int
    iterations: int
    loss: float
    cross_entropy: float
    dice: float
    iou: float
    learning_rate: float
    samples_per_second: float
    seconds_left: float
    loader_wait: float
    limited: bool = False


def _silent(text: str) -> None:
    """Ignore a remark."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls, all optional. With several processes they are pickled.

    progress: called after every iteration; if it is also a context manager, the process that calls it enters it.
    note, warn: called with remarks, one sentence each.
    checking: called with (done, total) while the data are checked.
    validate: called every `val_every` iterations with the network that would be saved; returns a score (higher is
        better), by which the best checkpoint is chosen, or NaN if there is none.
    benchmark: what `validate` measures on, in words; a run is not resumed with another.
    """

    progress: Callable[[TrainingProgress], None] | None = None
    note: Callable[[str], None] = _silent
    warn: Callable[[str], None] = _silent
    checking: Callable[[int, int], None] | None = None
    validate: Callable[[Hodor], float] | None = None
    benchmark: str = ""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run.

    last, best: the newest checkpoint, and the best by validation. iterations: done so far, of `wanted`. score: the best
    by validation. before, after: mean IoU on held-out pictures at the start and at the end, 0..1. is_first: whether
    this process writes the files; False in the others that torchrun or SLURM started.
    """

    folder: Path
    last: Path
    best: Path | None
    iterations: int
    wanted: int
    score: float | None
    before: float | None = None
    after: float | None = None
    is_first: bool = True
