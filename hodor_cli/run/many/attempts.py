"""The folders for the results of a video while they are incomplete.

    OUT/NAME/                      complete results, moved there by one rename
    OUT/.unfinished/NAME/ATTEMPT/  the results of one attempt so far

Every attempt has its own folder, because a worker that seems dead may still be running (on a node cut off from its
cluster) and must not write into the files of its replacement. A new attempt takes over an earlier folder that no
process is writing to, so that only seconds of work are lost; the first attempt to finish wins.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from hodor_cli.errors import OutputError
from hodor_cli.files import put_in_place, writing
from hodor_cli.locks import locked_folder
from hodor_cli.run.output import OutputFolder, remove_if_empty

UNFINISHED = ".unfinished"


class VideoAttempts:
    """The result folder of the video `name` in `out`, and the folders of its attempts."""

    def __init__(self, out: Path, name: str) -> None:
        self.out = out
        self.final = out / name
        self.unfinished = out / UNFINISHED / name

    def begin(self, *, resume: bool) -> Path:
        """The folder of a new attempt; with `resume`, an idle folder of an earlier attempt is renamed to it, if any.

        Raises OutputError if `out` cannot be written to.
        """
        attempt = self.unfinished / uuid.uuid4().hex[:12]
        with writing(self.out):
            for earlier in self._folders():
                if resume and not attempt.exists() and _is_idle(earlier):
                    os.rename(earlier, attempt)
                else:
                    shutil.rmtree(earlier, ignore_errors=True)
            attempt.mkdir(parents=True, exist_ok=True)
        return attempt

    def publish(self, attempt: Path, *, overwrite: bool) -> None:
        """Move complete results to their place and remove the folders of other attempts.

        If another attempt was faster, its results stay. overwrite: replace the results of an earlier run, but no other
        files. Raises OutputError if something else is in the way, or `out` cannot be written to.
        """
        with writing(self.out):
            if replaces := overwrite and self.final.exists():
                with locked_folder(self.final, advice="wait until it ends, then run again with `resume`"):
                    OutputFolder(self.final).remove_results()
            remove_if_empty(self.final)  # Windows cannot rename onto a folder, not even onto an empty one
            if replaces and self.final.exists():  # other files are in it, or it is a link
                all_but = shutil.ignore_patterns("report.json")  # which makes the result complete
                shutil.copytree(attempt, self.final, ignore=all_but, copy_function=put_in_place, dirs_exist_ok=True)
                put_in_place(attempt / "report.json", self.final / "report.json")
                self.clear()
                return
            try:
                os.rename(attempt, self.final)
            except OSError:
                if not self.final.exists():
                    raise
                if OutputFolder(self.final).state() != "finished":
                    raise OutputError(f"{self.final} is in the way of the results; move it, then `resume`") from None
            self.clear()

    def clear(self) -> None:
        shutil.rmtree(self.unfinished, ignore_errors=True)
        remove_if_empty(self.unfinished.parent)

    def drop_if_empty(self, attempt: Path) -> None:
        """Remove the folder of an attempt that failed before it wrote anything."""
        for folder in (attempt, self.unfinished, self.unfinished.parent):
            remove_if_empty(folder)

    def frames_done(self) -> int:
        """How many frames the furthest attempt has written: the lines of its journal."""
        most = 0
        for folder in self._folders():
            with suppress(OSError):
                most = max(most, OutputFolder(folder).journal.read_bytes().count(b"\n"))
        return most

    def _folders(self) -> list[Path]:
        with suppress(OSError):
            return [folder for folder in self.unfinished.iterdir() if folder.is_dir()]
        return []


def _is_idle(attempt: Path) -> bool:
    try:
        with locked_folder(attempt, advice=""):
            return True
    except OutputError:
        return False
