"""The folder of a run: what lies in it, who may write to it, and what may be removed from it.

OUT/training_state.safetensors   everything that --resume needs
OUT/last.safetensors             the newest checkpoint, for `--weights`
OUT/best.safetensors             the best by validation, if there is one
OUT/metrics.csv                  a line per iteration
OUT/run.json                     the settings and the data, to be read by people and by --resume
OUT/sheets/000500.png            predictions, drawn
OUT/tensorboard/                 events, if TensorBoard is installed
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hodor_cli.errors import OutputError
from hodor_cli.locks import WriterLock
from hodor_cli.training.checkpointing import STATE_FILE, write_atomically
from hodor_cli.training.loop import BEST_FILE, LAST_FILE, METRICS_FILE

_RUN_FILE = "run.json"
_LOCK_FILE = ".lock"
_FILES = (STATE_FILE, LAST_FILE, BEST_FILE, METRICS_FILE, _RUN_FILE)
_MADE = (*(f".{name}.*.tmp" for name in _FILES), "sheets/*.png", "sheets/.*.tmp", "tensorboard/events.out.tfevents.*")


class RunFolder:
    """The files of one run under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.last = root / LAST_FILE
        self.best = root / BEST_FILE
        self.sheets = root / "sheets"
        self.events = root / "tensorboard"

    def lock(self) -> WriterLock:
        """Makes the folder if need be; hold it while writing. Raises OutputError where nothing can be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the folder {self.root} cannot be made ({error.strerror}); choose another with -o"
            ) from error
        advice = "wait until it ends, or train into another folder with -o"
        return WriterLock(self.root, self.root / _LOCK_FILE, advice=advice)

    @property
    def has_run(self) -> bool:
        """Whether a run was begun here."""
        return any((self.root / name).is_file() for name in _FILES)

    def require_free(self, *, resume: bool, overwrite: bool) -> None:
        """Raise OutputError if the folder has a run that is neither to go on nor to be replaced, or strange files."""
        if self.has_run:
            if not resume and not overwrite:
                raise OutputError(
                    f"{self.root} holds a run already; go on with it by --resume, replace it by --overwrite, or choose"
                    " another folder with -o"
                )
        elif any(entry.name != _LOCK_FILE for entry in self.root.iterdir()):
            raise OutputError(f"{self.root} is a folder with other files in it; choose another with -o")

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
                f"the earlier run in {self.root} cannot be removed ({error.strerror}); choose another folder with -o"
            ) from error

    def made(self, file: Path) -> bool:
        """Whether `remove_run` would remove this file."""
        return file.is_file() and any(path.is_file() and path.samefile(file) for path in self._made())

    def _made(self) -> list[Path]:
        return [self.root / name for name in _FILES] + [path for pattern in _MADE for path in self.root.glob(pattern)]

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write run.json."""
        text = json.dumps({"format": "hodor-run", **facts}, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.root / _RUN_FILE, text.encode())

    def read_facts(self) -> dict[str, Any]:
        """What `write_facts` wrote; empty if there is none that can be read."""
        try:
            facts = json.loads((self.root / _RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) and facts.get("format") == "hodor-run" else {}
