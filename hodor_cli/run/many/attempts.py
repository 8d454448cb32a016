"""The folders in which the results of a video are made, before they are moved to their place.

    OUT/NAME/                      complete results, moved there by one rename
    OUT/.unfinished/NAME/ATTEMPT/  the results of one attempt so far

Every attempt has a folder of its own, because a worker that seems dead may live on (on a node cut off from its
cluster) and must not write into the files of the one that replaces it. The first to finish wins. A new attempt begins
with a copy of the earlier one that got furthest, so that at most some seconds of work are lost.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from hodor_cli.errors import OutputError
from hodor_cli.files import writing
from hodor_cli.locks import locked_folder
from hodor_cli.run.output import OutputFolder, remove_if_empty
from hodor_cli.run.resume import load_run_state

UNFINISHED = ".unfinished"


class VideoAttempts:
    """The result folder of the video `name` under `out`, and the folders of attempts at it."""

    def __init__(self, out: Path, name: str) -> None:
        self.out = out
        self.final = out / name
        self.unfinished = out / UNFINISHED / name

    def begin(self, *, resume: bool) -> Path:
        """A new attempt's folder; with `resume` it holds a copy of what the furthest earlier attempt had done.

        Raises OutputError if the disk refuses.
        """
        with writing(self.out):
            attempt = self.unfinished / uuid.uuid4().hex[:12]
            earlier = {}  # attempts, and the frames that their checkpoints cover
            for folder in self._folders():
                checkpoint = None
                with suppress(OutputError):  # damaged
                    checkpoint = load_run_state(OutputFolder(folder).checkpoint)
                earlier[folder] = checkpoint.progress.done if checkpoint is not None else 0
            attempt.mkdir(parents=True)
            if resume and earlier:
                furthest = max(earlier, key=lambda folder: earlier[folder])
                try:
                    _copy_attempt(OutputFolder(furthest), OutputFolder(attempt))
                except OSError:  # its worker lives after all, and has just finished or moved on
                    shutil.rmtree(attempt, ignore_errors=True)
                    attempt.mkdir(parents=True)
            for folder in earlier:
                shutil.rmtree(folder, ignore_errors=True)
        return attempt

    def publish(self, attempt: Path, *, overwrite: bool) -> None:
        """Move complete results to their place and remove the folders of other attempts.

        If another attempt was faster, its results stay. overwrite: replace the results of an earlier run.
        Raises OutputError if something else is in the way, or the disk refuses.
        """
        with writing(self.out):
            if overwrite and self.final.exists():
                with locked_folder(self.final, advice="wait until it ends, then run the same again with `resume`"):
                    OutputFolder(self.final).remove_results()
                remove_if_empty(self.final)
            try:
                os.rename(attempt, self.final)
            except OSError:
                if not self.final.exists():
                    raise
                if OutputFolder(self.final).state() != "finished":
                    raise OutputError(
                        f"{self.final} is in the way of the results; move it, then run the same again with `resume`"
                    ) from None
            self.clear()

    def clear(self) -> None:
        shutil.rmtree(self.unfinished, ignore_errors=True)
        remove_if_empty(self.unfinished.parent)

    def drop_if_empty(self, attempt: Path) -> None:
        """Remove the folder of an attempt that failed before it wrote anything."""
        for folder in (attempt, self.unfinished, self.unfinished.parent):
            remove_if_empty(folder)

    def frames_done(self) -> int:
        """How many frames the furthest attempt has written, which are the lines of its journal."""
        most = 0
        for folder in self._folders():
            with suppress(OSError):
                most = max(most, OutputFolder(folder).journal.read_bytes().count(b"\n"))
        return most

    def _folders(self) -> list[Path]:
        with suppress(OSError):
            return [folder for folder in self.unfinished.iterdir() if folder.is_dir()]
        return []


def _copy_attempt(earlier: OutputFolder, new: OutputFolder) -> None:
    """Copy an attempt that may still be written to: the checkpoint first, for what it covers was there before it."""
    if not earlier.checkpoint.exists():
        return
    new.progress.mkdir(parents=True)
    new.masks.mkdir()
    for file in (earlier.checkpoint, earlier.run, earlier.journal, *sorted(earlier.progress.glob("overlay-*.mp4"))):
        shutil.copyfile(file, new.progress / file.name)
    for folder, copy in ((earlier.masks, new.masks), (earlier.box_masks, new.box_masks)):
        if folder.is_dir():
            copy.mkdir(exist_ok=True)
            for file in folder.iterdir():
                if not file.name.startswith("."):
                    shutil.copyfile(file, copy / file.name)
