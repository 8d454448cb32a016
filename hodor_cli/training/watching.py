"""What accompanies the loop of a run: TensorBoard events, sheets of predictions, validation on a benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hodor_cli.model.hodor import Hodor
from hodor_cli.training.hooks import TrainingHooks, TrainingProgress
from hodor_cli.training.run_folder import RunFolder
from hodor_cli.training.sheets import SheetWriter

ProgressCallback = Callable[[TrainingProgress], None]
NoteCallback = Callable[[str], None]

#: Iterations between two entries in the TensorBoard events.
_EVENTS_EVERY = 10


@dataclass(frozen=True)
class WatchSettings:
    """validation: a benchmark in the DAVIS layout or another that `hodor evaluate` reads; the best J&F is kept."""

    validation: Path | None = None
    validate_every: int = 1000
    sheet_every: int = 500


class Events:
    """TensorBoard events, if it is installed; otherwise nothing."""

    def __init__(self, folder: Path, first: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except (ImportError, AttributeError, TypeError):  # absent, or at odds with the protobuf beside it
            return
        self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def progress(self, progress: TrainingProgress) -> None:
        """Note the losses and the speed of an iteration, every tenth."""
        if self._writer is None or progress.iteration % _EVENTS_EVERY:
            return
        for name in ("loss", "cross_entropy", "dice", "iou", "learning_rate", "samples_per_second", "loader_wait"):
            self._writer.add_scalar(name, getattr(progress, name), progress.iteration)

    def score(self, iteration: int, score: float) -> None:
        """Note J&F."""
        if self._writer is not None:
            self._writer.add_scalar("J&F", score, iteration)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


class Validation:
    """J&F of a model on a benchmark, in 0..1."""

    def __init__(self, dataset: Path, device: torch.device, precision: str, events: Events, note: NoteCallback) -> None:
        self.dataset, self.device, self.precision = dataset, device, precision
        self.events, self.note = events, note

    def __call__(self, model: Hodor, iteration: int) -> float:
        """Run the model on every sequence; -1 if nothing could be scored."""
        from hodor_cli.evaluation import evaluate_davis

        result = evaluate_davis(model, self.dataset, device=str(self.device), precision=self.precision)
        for name, fault in result.failed.items():
            self.note(f"{name} was left out of the validation: {fault}")
        score = float(result.jf)
        if math.isnan(score):
            return -1.0
        self.events.score(iteration, score)
        self.note(f"iteration {iteration}: J&F {100 * score:.1f} on {self.dataset}")
        return score


def follow(settings: WatchSettings) -> TrainingHooks:
    """The hooks of the other processes: nothing but to know when the first one validates."""
    validate = None if settings.validation is None else (lambda model, iteration: -1.0)
    return TrainingHooks(validate=validate, validate_every=settings.validate_every)


@contextmanager
def watch(
    folder: RunFolder,
    settings: WatchSettings,
    *,
    first: int,
    device: torch.device,
    precision: str,
    progress: ProgressCallback | None,
    note: NoteCallback,
) -> Iterator[TrainingHooks]:
    """The hooks of a run that begins after iteration `first`, for the process that writes the files.

    progress: called after every iteration; if it is a context manager too, it is entered here, in this process.
    """
    events = Events(folder.events, first)
    with ExitStack() as stack:
        stack.callback(events.close)
        if isinstance(progress, AbstractContextManager):
            stack.enter_context(progress)

        def tell(report: TrainingProgress) -> None:
            events.progress(report)
            if progress is not None:
                progress(report)

        validation = settings.validation
        yield TrainingHooks(
            progress=tell,
            sheet=SheetWriter(folder.sheets),
            sheet_every=settings.sheet_every,
            validate=None if validation is None else Validation(validation, device, precision, events, note),
            validate_every=settings.validate_every,
        )
