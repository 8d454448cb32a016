"""`metrics.csv`: one line per iteration, cut back to the saved state when a run resumes."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from hodor_cli.files import replacing
from hodor_cli.training.checkpointing import writing_to

if TYPE_CHECKING:
    from hodor_cli.training.hooks import TrainingProgress

COLUMNS = (
    "iteration", "loss", "cross_entropy", "dice", "iou", "learning_rate", "samples_per_second", "loader_wait",
)  # fmt: skip


class MetricsFile:
    """Appends to a CSV file, line by line, after dropping what lies beyond the iteration that is gone on from."""

    def __init__(self, path: Path, *, keep: int) -> None:
        kept: list[dict[str, str]] = []
        if keep and path.is_file():
            with path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if (row.get("iteration") or "").isdigit()]
            kept = [row for row in kept if int(row["iteration"]) <= keep]
        self.path = path
        with writing_to(path):
            with replacing(path) as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
                writer.writeheader()
                writer.writerows(kept)
            self._file: TextIO = path.open("a", newline="", buffering=1)
        self._writer = csv.DictWriter(self._file, COLUMNS, extrasaction="ignore")

    def write(self, progress: TrainingProgress) -> None:
        """Add the line of an iteration. Raises OutputError when the disk is full."""
        values = dataclasses.asdict(progress)
        with writing_to(self.path):
            self._writer.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in values.items()})

    def close(self) -> None:
        """No more lines."""
        self._file.close()
