"""The settings of an evaluation, and where its results go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hodor_cli.adaptation.settings import Budget
from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import as_path
from hodor_cli.settings import about

Progress = Callable[[int, int], None]
"""Called with the number of frames done so far and in total."""


@dataclass(frozen=True)
class Start:
    """The frame (H, W, 3) RGB in which a sequence's first objects appear, their masks (H, W), and the files of the
    frames that follow, in order."""

    frame: npt.NDArray[np.uint8]
    masks: Mapping[int, npt.NDArray[np.bool_]]
    following: Sequence[Path]


OnStart = Callable[[Any, Start], Any]
"""Called once per sequence, before the first step with objects; returns the segmenter to continue with."""


@runtime_checkable
class StepSegmenter(Protocol):
    """What an evaluation requires of a segmenter; `hodor_cli.engine.Segmenter` is one. `step` takes {id: (H, W) bool}
    in frames in which objects start, otherwise None, and returns a label map."""

    def step(self, frame: npt.NDArray[np.uint8], masks: Any = None) -> npt.NDArray[np.uint16]: ...

    def reset(self) -> None: ...


@dataclass(frozen=True)
class EvaluationSettings(SegmenterSettings):
    """What is evaluated, and how the network works; stored in the result and compared when resuming.

    sequences: names of sequences, or of one split; None: all. weights: what the network was loaded from, for the
    record.
    """

    sequences: tuple[str, ...] | None = None
    official: Annotated[bool, about("Also run the official DAVIS-2017 evaluation, if it is installed.")] = False
    workers: Annotated[int | None, about("Processes that score masks [default: one per core].", least=1)] = None
    weights: Annotated[str | None, about("Weights: a name (see `hodor weights list`) or a file.")] = None
    adapt: Annotated[str | None, about("Budget for adapting to each sequence's first masks.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapt is not None:
            Budget.parse(self.adapt)


@dataclass(frozen=True)
class EvaluationOutput:
    """Where results.json, CSV files, report.html, pictures and a model's masks are written.

    resume: keep the masks of sequences that an earlier run finished there with the same settings; all scores are
    recomputed. overwrite: replace the results of an earlier evaluation.
    """

    folder: Path
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", as_path(self.folder, "`folder`"))
        if self.resume and self.overwrite:
            raise UsageError("`resume` keeps finished sequences and `overwrite` replaces them; give one of them")
