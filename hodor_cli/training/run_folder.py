"""The folder of a run: its files, its lock, and what may be removed from it.

OUT/training_state.safetensors   everything that is needed to resume
OUT/last.safetensors             the newest checkpoint, for `--weights`
OUT/best.safetensors             the best by validation, if there is one
OUT/metrics.csv                  a line per iteration
OUT/run.json                     the settings and the data, to be read by people and to resume
OUT/sheets/000500.png            predictions, drawn
OUT/tensorboard/                 events, if TensorBoard is installed
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

import msgspec

from hodor_cli.errors import DataError, OutputError
from hodor_cli.files import replacing, write_whole, writing_file
from hodor_cli.locks import WriterLock
from hodor_cli.training.options import ClipOptions, TrainingProgress
from hodor_cli.training.state import DISK, STATE_FILE

_LOCK_FILE = ".lock"
_COLUMNS = (
    "iteration", "loss", "cross_entropy", "dice", "iou", "learning_rate", "samples_per_second", "loader_wait",
)  # fmt: skip


class DataRecord(msgspec.Struct):
    """A data set of a run, with its place and its number of samples when the run began."""

    folder: str
    weight: float = 1.0
    annotations: str | None = None
    samples: int | None = None


class RunRecord(msgspec.Struct):
    """run.json: what a run began with. settings: as `TrainConfig.to_dict` gives them."""

    kind: Literal["pretrain", "finetune"]
    settings: dict[str, Any]
    #: Versions before 0.2 wrote "hodor-run", as runs of the segmenter did.
    format: Literal["hodor-training", "hodor-run"] = "hodor-training"
    hodor: str = ""
    preset: str = ""
    data: list[DataRecord] = msgspec.field(default_factory=list)
    clips: ClipOptions | None = None
    weights: str = ""
    backbone: str = ""
    processes: int = 1


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

    def lock(self) -> WriterLock:
        """Makes the folder if need be; hold it while writing. Raises OutputError where nothing can be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the folder {self.root} cannot be made ({error.strerror}); choose another with `out`"
            ) from error
        advice = "wait until it ends, or train into another folder with `out`"
        return WriterLock(self.root, self.root / _LOCK_FILE, advice=advice)

    def require_free(self, *, resume: bool, overwrite: bool) -> None:
        """Raise OutputError for a run that is neither resumed nor replaced, and for a folder with other files."""
        if any(path.is_file() for path in self._files):
            if not resume and not overwrite:
                raise OutputError(
                    f"{self.root} holds a run already; continue it with `resume`, replace it with `overwrite`, or"
                    " choose another folder with `out`"
                )
        elif any(entry.name != _LOCK_FILE for entry in self.root.iterdir()):
            raise OutputError(f"{self.root} is a folder with other files in it; choose another with `out`")

    def remove_run(self) -> None:
        """Remove what a run made, and nothing else; the state first, so that half a run never looks like a whole."""
        try:
            for path in self._made():
                path.unlink(missing_ok=True)
            for folder in (self.sheets, self.events):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        except OSError as error:
            raise OutputError(
                f"the earlier run in {self.root} cannot be removed ({error.strerror}); choose another folder with `out`"
            ) from error

    def made(self, file: Path) -> bool:
        """Whether `remove_run` would remove this file."""
        return file.is_file() and any(path.is_file() and path.samefile(file) for path in self._made())

    def _made(self) -> list[Path]:
        patterns = [f".{path.name}.*.tmp" for path in self._files]
        patterns += ["sheets/*.png", "sheets/.*.tmp", "tensorboard/events.out.tfevents.*"]
        return [*self._files, *(path for pattern in patterns for path in self.root.glob(pattern))]

    def write_record(self, record: RunRecord) -> None:
        """Write run.json. Raises OutputError."""
        with writing_file(self.record, DISK):
            write_whole(self.record, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")

    def read_record(self) -> RunRecord | None:
        """What `write_record` wrote; None if there is none. Raises DataError for a file that is something else."""
        if not self.record.is_file():
            return None
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=RunRecord)
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise DataError(
                f"{self.record} is not the record of a training run ({error}); put it back, remove it and name `data`"
                " again, or train into another folder with `out`"
            ) from error


class MetricsFile:
    """`metrics.csv`, one line per iteration; lines beyond the iteration that is resumed from are dropped first."""

    def __init__(self, path: Path, *, keep: int) -> None:
        kept: list[dict[str, str]] = []
        if keep and path.is_file():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                lines = (line.replace("\0", "") for line in file)
                kept = [row for row in csv.DictReader(lines) if (row.get("iteration") or "").isdecimal()]
            kept = [row for row in kept if int(row["iteration"]) <= keep]
        self.path = path
        with writing_file(path, DISK):
            with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", restval="")
                writer.writeheader()
                writer.writerows(kept)
            self._file = path.open("a", newline="", buffering=1, encoding="utf-8")
        self._writer = csv.DictWriter(self._file, _COLUMNS, extrasaction="ignore")

    def write(self, progress: TrainingProgress) -> None:
        """Add the line of an iteration. Raises OutputError when the disk is full."""
        values = progress._asdict()
        with writing_file(self.path, DISK):
            self._writer.writerow({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in values.items()})

    def close(self) -> None:
        """No more lines."""
        self._file.close()
