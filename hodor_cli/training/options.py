"""What both jobs of training can be told, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hodor_cli.errors import UsageError
from hodor_cli.training.launch import LaunchSettings
from hodor_cli.training.watching import NoteCallback, ProgressCallback

CheckCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class RunOptions:
    """What both jobs can be told.

    out: the run's folder; runs/PRESET by default.
    preset: a name in `hodor_cli.training.config.PRESETS`; by default the one for the architecture.
    model: the architecture, by name.
    settings: changes to the preset by dotted names, such as `{"iterations": 500, "learning_rate.peak": 1e-4}`.
    weights: where to start, a name or a file.
    backbone: ImageNet weights for the backbone of a network that is otherwise random.
    resume: go on with the run in `out`; begin if there is none. overwrite: replace it.
    save_every: iterations between two saved states. workers: processes that make samples.
    val: a benchmark to validate on, every `val_every` iterations. sheet_every: iterations between two sheets.
    time_limit: stop after so many seconds, or "9m", "1h30m", counted from the call; `resume` goes on.
    launch: devices, processes, machines, precision.
    progress: called after every iteration. note: called with remarks. With several processes both are pickled.
    checking: called with (done, total) while the data are checked.
    """

    out: str | Path | None = None
    preset: str | None = None
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str | Path | None = None
    backbone: str | Path | None = None
    resume: bool = False
    overwrite: bool = False
    save_every: int = 200
    workers: int = 2
    val: str | Path | None = None
    val_every: int = 1000
    sheet_every: int = 500
    time_limit: float | str | None = None
    launch: LaunchSettings = field(default_factory=LaunchSettings)
    progress: ProgressCallback | None = None
    note: NoteCallback | None = None
    checking: CheckCallback | None = None

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite replaces it; give one of them")
        if self.weights is not None and self.backbone is not None:
            raise UsageError("--weights holds a backbone already, which contradicts --backbone; give one of them")
        for flag, least in (("save_every", 1), ("val_every", 1), ("sheet_every", 1), ("workers", 0)):
            if getattr(self, flag) < least:
                raise UsageError(f"--{flag.replace('_', '-')} must be at least {least}, not {getattr(self, flag)}")


@dataclass(frozen=True)
class TrainingResult:
    """What a run left: its folder, the newest checkpoint, the best by validation, iterations done, best J&F (0..1).

    wanted: iterations of the whole run; more than were done if its time was limited.
    is_first: False in processes that torchrun or SLURM started beside the one that writes the files.
    """

    folder: Path
    last: Path
    best: Path | None
    iterations: int
    score: float | None
    wanted: int
    is_first: bool = True
