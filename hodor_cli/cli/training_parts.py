"""Parts of `hodor pretrain` and `hodor finetune`: validation on a benchmark, and the progress line."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.terminal import duration, new_console, note
from hodor_cli.errors import DataError

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor
    from hodor_cli.training.options import TrainingProgress


@dataclass(frozen=True)
class Validation:
    """J&F of a network on a folder of clips with masks to score against, in a layout that `recognise` knows.

    benchmark: the layout, the numbers of sequences and frames, and the first and last sequence.
    """

    dataset: Path
    precision: str
    benchmark: str

    @staticmethod
    def of(dataset: Path, precision: str) -> Validation:
        """Raises InputError or DataError if no network can be measured on the folder."""
        from hodor_cli.datasets.dataset import recognise

        benchmark = recognise(dataset)
        if not benchmark.has_truth:
            raise DataError(f"`val` {dataset} has no annotations to measure against")
        if not any(sequence.images for sequence in benchmark.sequences.values()):
            raise DataError(f"`val` {dataset} has masks but no images to run the network on; add them")
        note(f"validation on {benchmark.describe()}")
        names = " to ".join(dict.fromkeys((min(benchmark.sequences), max(benchmark.sequences))))
        return Validation(dataset, precision, f"{benchmark.describe().removeprefix(f'{benchmark.root}: ')}, {names}")

    def __call__(self, model: Hodor) -> float:
        """Run the network on every sequence; NaN if nothing could be scored."""
        from hodor_cli.evaluation.runner import evaluate
        from hodor_cli.evaluation.settings import EvaluationSettings

        device = str(next(model.parameters()).device)
        settings = EvaluationSettings(device=device, precision=self.precision)
        result = evaluate(self.dataset, model=model, settings=settings)
        for name, fault in result.failed.items():
            note(f"{name} was left out of the validation: {fault}")
        note(f"J&F {100 * result.jf:.1f} on {self.dataset}")
        return float(result.jf)


#: Seconds between two lines if stderr is not a terminal, as in the log of a batch job.
_LOG_EVERY = 60.0


class LiveLine:
    """Prints the progress after every iteration; a context manager, entered by the process that prints.

    On a terminal, one line is kept up to date; elsewhere, a line is printed every minute.
    """

    def __init__(self) -> None:
        self._live: Any = None
        self._last = float("-inf")

    def __enter__(self) -> LiveLine:
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(console=new_console(stderr=True), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, progress: TrainingProgress) -> None:
        now = time.monotonic()
        final = progress.iteration == progress.iterations
        if now - self._last < (0.2 if self._live is not None else _LOG_EVERY) and not final:
            return
        self._last = now
        text = (
            f"{progress.iteration}/{progress.iterations}  loss {progress.loss:.3f}  IoU {progress.iou:.2f}  "
            f"{progress.samples_per_second:.1f} samples/s  data {100 * progress.loader_wait:.0f} %  "
            f"{duration(progress.seconds_left)} left{' of the time limit' if progress.limited else ''}"
        )
        if self._live is None:
            note(text)
            return
        from rich.text import Text

        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
