"""The result folder of a run: its files, its journal, its state, and the removal of results.

OUT/masks/NAME.png      one label map per frame
OUT/box_masks/*.png     the masks made from boxes and clicks
OUT/overlay.mp4, OUT/review.html
OUT/annotations.json    the COCO file of version 0.1, and of its option --coco; removed with the other results
OUT/export/FORMAT/      the masks in the formats of other tools
OUT/report.json         written last: a folder with a report is finished
OUT/.progress/          exists while a run is unfinished; holds the data for resuming
OUT/.hodor.lock         exists while a run writes, or after it was killed

`resume.py` says how an unfinished run is continued.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from hodor_cli.errors import OutputError, UsageError
from hodor_cli.files import put_in_place, remove_leftovers, require_empty, require_replaceable, writing
from hodor_cli.formats.writing import is_export, remove_export
from hodor_cli.locks import LOCK_FILE
from hodor_cli.records import (
    FrameRecord,
    MadeFrame,
    MadeFrames,
    ReportHead,
    decode,
    is_report,
    read_record,
    require_inside,
)
from hodor_cli.run.settings import RunOutput


def read_journal(path: Path, to_byte: int | None = None, way_out: str = "delete it") -> Iterator[FrameRecord]:
    """Yield the journal's records up to an offset; an incomplete last line is skipped.

    Raises OutputError, with the way out, for a line that hodor did not write.
    """
    for line in _lines(path, 0, to_byte):
        yield decode(line, FrameRecord, str(path), way_out)


def read_made_frames(journal: Path, from_byte: int = 0) -> Iterator[MadeFrame]:
    """Yield what determines the frames' files, from an offset of the journal on; damaged lines are skipped.

    Raises OutputError for a name that leads outside the folder.
    """
    for line in _lines(journal, from_byte, None):
        try:
            frame = msgspec.json.decode(line, type=MadeFrame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        require_inside(frame.name, str(journal))
        yield frame


def _lines(path: Path, from_byte: int, to_byte: int | None) -> Iterator[bytes]:
    """Yield the complete lines between two offsets."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(from_byte)
        position = from_byte
        for line in file:
            position += len(line)
            if to_byte is not None and position > to_byte:
                return
            if line.endswith(b"\n"):
                yield line


def damaged(path: Path) -> OutputError:
    """The error for a damaged file that is needed for resuming."""
    return OutputError(f"{path} is damaged, so the run cannot be resumed; start it again with `overwrite`")


State = Literal["new", "unfinished", "finished"]


class OutputFolder:
    """The files of one run under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.masks = root / "masks"
        self.box_masks = root / "box_masks"
        self.overlay = root / "overlay.mp4"
        self.annotations = root / "annotations.json"
        self.review = root / "review.html"
        self.exports = root / "export"
        self.report = root / "report.json"
        self.progress = root / ".progress"
        self.run = self.progress / "run.json"
        self.journal = self.progress / "journal.jsonl"
        self.checkpoint = self.progress / "checkpoint.npz"
        #: Results of the passes backward, by frame.
        self.backward = self.progress / "backward"
        #: The complete overlay, until it is moved to its place.
        self.joined = self.progress / "overlay.mp4"
        #: The report of a run that is being replaced; it lists the files still to be removed.
        self.replaced = self.progress / "replaced-report.json"

    @cached_property
    def correction(self) -> OutputFolder:
        """The folder of a correction, until its results replace the earlier ones."""
        return OutputFolder(self.progress / "part")

    @property
    def can_be_continued(self) -> bool:
        """Whether there is an unfinished run or correction."""
        return self.run.exists() or self.correction.run.exists()

    def mask(self, name: str) -> Path:
        return self.masks / f"{name}.png"

    def box_mask(self, name: str, object_id: int) -> Path:
        return self.box_masks / f"{name}_id{object_id}.png"

    def piece(self, number: int) -> Path:
        return self.progress / f"overlay-{number:06d}.mp4"

    def state(self) -> State:
        """The state of the folder.

        Raises OutputError for a file, for a folder with files from elsewhere or a damaged report, and for links through
        which results would be written or removed outside it.
        """
        if not self.root.exists():
            return "new"
        if not self.root.is_dir():
            raise OutputError(f"{self.root} is a file; choose another folder with `out`")
        for folder in (self.masks, self.box_masks, self.progress, self.backward, self.correction.root):
            if folder.is_symlink():
                raise OutputError(f"{folder} is a link out of {self.root}; remove the link, or choose another `out`")
        own = (self.backward, self.correction.root)
        inside = [path for path in self.progress.iterdir() if path not in own] if self.progress.is_dir() else []
        for path in (self.report, self.overlay, self.annotations, self.review, *inside):
            require_replaceable(path)
        if is_report(self.report):
            # Raises if it is damaged. Without it, nothing says which files are the run's, so `overwrite` cannot help.
            read_record(self.report, ReportHead, f"move {self.root} away")
            return "finished"
        if self.progress.is_dir():
            return "unfinished"
        require_empty(self.root, LOCK_FILE)
        return "new"

    def require(self, output: RunOutput, source: Path | None = None) -> State:
        """The state of the folder before a run on a source. Raises OutputError for results if `output` does not allow
        them, and if the source is one of the results that `output` replaces."""
        if output.overwrite and output.resume:
            raise UsageError("`overwrite` and `resume` contradict each other; give one of them")
        state = self.state()
        if state != "new" and not output.overwrite and not output.resume:
            what = "results" if state == "finished" else "the results of an unfinished run"
            raise OutputError(f"{self.root} holds {what}; add `resume` or `overwrite`, or choose another `out`")
        made = [path.resolve() for path in (self.overlay, self.masks, self.exports)] if output.overwrite else []
        if source is not None and any(map(source.is_relative_to, made)):
            raise OutputError(f"{source} is one of the results in {self.root} to replace; choose another `out`")
        return state

    def remove_results(self, *, keep_backward: bool = False) -> None:
        """Remove the files of an earlier run, finished or not, and no others. Safe to repeat after an interruption.

        keep_backward: keep the results of the passes backward.

        Raises OutputError, before anything is removed, if the earlier run's files name something outside the folder.
        """
        with writing(self.root):
            if is_report(self.report):
                read_record(self.report, MadeFrames)
                # Move the report first, so that a folder that has lost masks does not look finished.
                self.progress.mkdir(exist_ok=True)
                put_in_place(self.report, self.replaced)
            made_frames = list(read_made_frames(self.journal))
            if self.replaced.is_file():
                made_frames += read_record(self.replaced, MadeFrames).frames
            for frame in made_frames:
                self.mask(frame.name).unlink(missing_ok=True)
                for object_id in (*frame.boxes, *frame.clicks):
                    self.box_mask(frame.name, object_id).unlink(missing_ok=True)
            for made in (self.overlay, self.review):
                made.unlink(missing_ok=True)
            self.remove_exports()
            self.remove_leftovers()
            for folder in (self.masks, self.box_masks):
                remove_if_empty(folder)
            for path in list(self.progress.iterdir()) if keep_backward else ():
                if path not in (self.backward, self.correction.root):
                    path.unlink()
            if self.progress.is_dir() and not keep_backward:
                shutil.rmtree(self.progress)

    def exported(self) -> list[str]:
        """The formats to which the masks were exported."""
        if self.exports.is_symlink() or not self.exports.is_dir():
            return []
        return sorted(entry.name for entry in self.exports.glob("[!.]*") if is_export(entry))

    def remove_exports(self) -> None:
        self.annotations.unlink(missing_ok=True)
        for name in self.exported():
            remove_export(self.exports / name)
        if not self.exports.is_symlink():
            for left in (*self.exports.glob(".*.tmp"), *self.exports.glob(".*.lock")):  # by a killed export
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            remove_if_empty(self.exports)

    def remove_after(self, journal_bytes: int) -> None:
        """Remove the masks of frames after the checkpoint, which are recomputed. Raises OutputError."""
        if not self.journal.is_file() or self.journal.stat().st_size < journal_bytes:
            raise damaged(self.journal)
        for frame in list(read_made_frames(self.journal, journal_bytes)):
            self.mask(frame.name).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove mask files that a kill left half-written under their temporary names."""
        for folder in (self.masks, self.box_masks):
            remove_leftovers(folder, "*.png")


def default_folder(name: str, source: str | os.PathLike[str]) -> Path:
    """The default folder for results: NAME.hodor in the working directory, or next to the source if that contains the
    working directory (as `.` does), so that results are not mixed with its files."""
    place = Path(source).resolve()
    return (place.parent if Path.cwd().is_relative_to(place) else Path()) / f"{name}.hodor"


def remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
