"""The result folder of a run: where everything lies, what state it is in, and what may be removed from it.

OUT/masks/NAME.png      one label map per frame
OUT/box_masks/*.png     masks made from boxes
OUT/overlay.mp4, OUT/annotations.json
OUT/report.json         written last: a folder with a report is finished
OUT/.progress/          exists while a run is unfinished; holds all that resuming needs
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hodor_cli.errors import OutputError
from hodor_cli.files import writing

REPORT_FORMAT = "hodor-report"
State = Literal["new", "unfinished", "finished"]


class OutputFolder:
    """The files of one run under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.masks = root / "masks"
        self.box_masks = root / "box_masks"
        self.overlay = root / "overlay.mp4"
        self.annotations = root / "annotations.json"
        self.report = root / "report.json"
        self.progress = root / ".progress"
        self.run = self.progress / "run.json"
        self.journal = self.progress / "journal.jsonl"
        self.checkpoint = self.progress / "checkpoint.npz"
        #: The report of a run that is being replaced; it lists what is still to be removed.
        self.replaced = self.progress / "replaced-report.json"

    def mask(self, name: str) -> Path:
        return self.masks / f"{name}.png"

    def box_mask(self, name: str, object_id: int) -> Path:
        return self.box_masks / f"{name}_id{object_id}.png"

    def piece(self, number: int) -> Path:
        """The closed piece `number` (from 0) of the overlay video."""
        return self.progress / f"overlay-{number:06d}.mp4"

    def state(self) -> State:
        """What is there. Raises OutputError for a file, or a folder with things in it that no run made."""
        if not self.root.exists():
            return "new"
        if not self.root.is_dir():
            raise OutputError(f"{self.root} is a file; choose another folder with -o")
        if is_report(self.report):
            return "finished"
        if self.progress.is_dir():
            return "unfinished"
        if any(self.root.iterdir()):
            raise OutputError(f"{self.root} is a folder with other files in it; choose another folder with -o")
        return "new"

    def remove_results(self) -> None:
        """Remove what an earlier run made, finished or not, and nothing else. Can be interrupted and called again."""
        with writing(self.root):
            if is_report(self.report):
                # Out of its place first: a folder that has lost masks must not look finished.
                self.progress.mkdir(exist_ok=True)
                os.replace(self.report, self.replaced)
            for name, boxes in self._made_frames():
                self.mask(name).unlink(missing_ok=True)
                for object_id in boxes:
                    self.box_mask(name, object_id).unlink(missing_ok=True)
            self.overlay.unlink(missing_ok=True)
            self.annotations.unlink(missing_ok=True)
            self.remove_leftovers()
            for folder in (self.masks, self.box_masks):
                remove_if_empty(folder)
            if self.progress.is_dir():
                shutil.rmtree(self.progress)

    def remove_after(self, journal_bytes: int) -> None:
        """Remove the masks of frames past the checkpoint, which are about to be made again, from an unfinished run."""
        if not self.journal.is_file() or self.journal.stat().st_size < journal_bytes:
            raise OutputError(f"{self.journal} is damaged, so the run cannot go on; start it again with --overwrite")
        with self.journal.open("rb") as file:
            file.seek(journal_bytes)
            for line in file:
                record = parse_line(line)
                if record is not None:
                    self.mask(record["name"]).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove mask files that a kill left half-written under their temporary names."""
        for path in self.masks.glob(".*.png.*.tmp"):
            path.unlink(missing_ok=True)

    def remove_root(self) -> None:
        """Remove the folder itself if nothing is left in it."""
        remove_if_empty(self.root)

    def _made_frames(self) -> Iterator[tuple[str, list[int]]]:
        """Name and box ids of every frame for which files were written."""
        if self.replaced.is_file():
            for frame in json.loads(self.replaced.read_text(encoding="utf-8"))["frames"]:
                yield frame["name"], [int(key) for key in frame.get("boxes", {})]
        if self.journal.is_file():
            with self.journal.open("rb") as file:
                for line in file:
                    frame = parse_line(line)
                    if frame is not None:
                        yield frame["name"], [int(key) for key in frame.get("boxes", {})]


def is_report(path: Path) -> bool:
    """Whether this is a report that a run of `segment` wrote."""
    try:
        with path.open("rb") as file:
            return f'"{REPORT_FORMAT}"'.encode() in file.read(200)
    except OSError:
        return False


def parse_line(line: bytes) -> dict[str, Any] | None:
    """One record of the journal; None for a line that was cut off by a kill."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "name" in record else None


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    try:
        folder.rmdir()
    except OSError:
        pass
