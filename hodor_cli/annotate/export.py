"""Writes the page's exports beside the masks, under the same names as `hodor segment` and `hodor export`."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

from hodor_cli.annotate.project import Project
from hodor_cli.errors import UsageError
from hodor_cli.files import replacing, writing
from hodor_cli.formats.recognise import WRITERS
from hodor_cli.run.exporting import ExportOptions, export_result
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.h264 import VideoWriter
from hodor_cli.video.overlay import draw_on_video
from hodor_cli.video.sound import add_sound

#: Kind -> its title on the page. The formats of `hodor export` are kinds, too, with the prefix TO.
EXPORTS = {
    "masks": "Masks: one PNG for each frame, in a ZIP file",
    "overlay": "Overlay: the video with the objects drawn over it",
}
TO = "to-"
Advance = Callable[[], None]


def all_exports() -> dict[str, str]:
    """All kinds with their titles on the page."""
    return EXPORTS | {f"{TO}{writer.name}": f"{writer.name}: {writer.about}" for writer in WRITERS.values()}


class Stopped(Exception):  # noqa: N818  # no error: the user asked for it
    """The user ended a job."""


class Exporter:
    """Writes one kind of export at a time. Raises Stopped as soon as `stop` is set, OutputError for a full disk."""

    def __init__(self, project: Project, source: FrameSource, stop: threading.Event) -> None:
        self._project, self._source, self._stop = project, source, stop
        self._files = project.folder

    def path(self, kind: str) -> Path:
        """The file of an export. Raises UsageError for an unknown kind."""
        own = self._files.root / ".annotate"
        paths = {"masks": own / "masks.zip", "overlay": self._files.overlay}
        if kind in paths:
            return paths[kind]
        if kind not in all_exports():
            raise UsageError(f"there is no export called {kind[:40]!r}; choose one of {', '.join(all_exports())}")
        name = kind.removeprefix(TO)
        files = _files_in(self._files.exports / name)
        return files[0] if len(files) == 1 else own / f"{name}.zip"

    def write(self, kind: str, advance: Advance) -> Path:
        """Write an export and return its file; `advance` is called for each frame."""
        path = self.path(kind)
        with writing(self._files.root):
            if kind not in EXPORTS:
                return self._other_tool(kind, advance)
            {"masks": self._masks, "overlay": self._overlay}[kind](path, advance)
        return path

    def _other_tool(self, kind: str, advance: Advance) -> Path:
        """Write a folder below export/, as `hodor export` does. Returns its only file, or a ZIP file of all."""
        options = ExportOptions(overwrite=True, each=lambda: self._next(advance), warn=self._source.warn)
        (folder,) = export_result(self._files.root, [kind.removeprefix(TO)], options).values()
        files, path = _files_in(folder), self.path(kind)
        if len(files) != 1:
            with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as packed:
                for file in files:
                    packed.write(file, file.relative_to(folder))
        return path

    def _masks(self, path: Path, advance: Advance) -> None:
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
            for index in sorted(self._project.records):
                mask = self._files.mask(self._project.records[index].name)
                if mask.is_file():
                    file.write(mask, mask.name)
                self._next(advance)

    def _overlay(self, path: Path, advance: Advance) -> None:
        ids = len(self._project.objects) > 1
        first_time = None
        with replacing(path) as temporary:
            source = self._source
            with VideoWriter(temporary, source.fps, source.pixel_aspect, source.colours) as video:
                for frame in self._source:
                    first_time = frame.time if first_time is None else first_time
                    labels = self._project.labels(frame.index)
                    drawn = draw_on_video(video, frame.picture, labels, ids=ids)
                    video.write(drawn, time=frame.time, duration=frame.duration)
                    self._next(advance)
            if self._source.sound is not None:
                self._source.warn(add_sound(temporary, self._source.sound, first_time or 0.0))

    def _next(self, advance: Advance) -> None:
        if self._stop.is_set():
            raise Stopped
        advance()


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
