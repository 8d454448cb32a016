"""Writes the page's exports next to the masks, under the names that `hodor segment` and `hodor export` use."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hodor_cli.annotate.project import Project, saving
from hodor_cli.errors import UsageError
from hodor_cli.files import replacing
from hodor_cli.formats.recognise import WRITERS
from hodor_cli.run.exporting import ExportOptions, export_result
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.h264 import VideoWriter
from hodor_cli.video.overlay import draw_on_video
from hodor_cli.video.sound import add_sound

#: Prefix of the kinds that are formats of `hodor export`.
_TO = "to-"
#: Kind -> its title on the page, and a description.
EXPORTS = {
    "masks": ("Masks", "one PNG for each frame, in a ZIP file"),
    "overlay": ("Overlay", "the video with the objects drawn over it"),
    **{f"{_TO}{writer.name}": (writer.name, writer.about) for writer in WRITERS.values()},
}
Advance = Callable[[], None]


def export_path(folder: OutputFolder, kind: str) -> Path:
    """The file to download for an export. Raises UsageError for an unknown kind."""
    own = folder.root / ".annotate"
    paths = {"masks": own / "masks.zip", "overlay": folder.overlay}
    if kind in paths:
        return paths[kind]
    if kind not in EXPORTS:
        raise UsageError(f"there is no export called {kind[:40]!r}; choose one of {', '.join(EXPORTS)}")
    name = kind.removeprefix(_TO)
    files = _files_in(folder.exports / name)
    return files[0] if len(files) == 1 else own / f"{name}.zip"


def write_export(project: Project, source: FrameSource, kind: str, advance: Advance) -> Path:
    """Write an export and return its file or folder in the project; `export_path` is the file to download.

    Raises UsageError for an unknown kind or if there are no masks yet, OutputError if the disk is full.

    advance: called for each frame; raise from it to stop the export.
    """
    folder, path = project.folder, export_path(project.folder, kind)
    if not project.records:
        raise UsageError("there are no masks to export yet; click an object first")
    with saving(folder):
        if kind == "overlay":
            _write_overlay(project, source, advance)
            return folder.overlay
        if kind == "masks":
            masks = (folder.mask(record.name) for _, record in sorted(project.records.items()))
            _zip(path, (mask for mask in masks if mask.is_file()), folder.masks, advance)
            return folder.masks
        options = ExportOptions(overwrite=True, each=advance, warn=source.warn)
        (made,) = export_result(folder.root, [kind.removeprefix(_TO)], options).values()
        path = export_path(folder, kind)
        if not path.is_relative_to(made):  # several files: download them as a ZIP
            _zip(path, _files_in(made), made)
        return made


def _write_overlay(project: Project, source: FrameSource, advance: Advance) -> None:
    ids, first_time = len(project.objects) > 1, None
    with replacing(project.folder.overlay) as temporary:
        side = SegmentSettings.overlay_side
        with VideoWriter(temporary, source.fps, source.pixel_aspect, source.colours, side=side) as video:
            for frame in source:
                first_time = frame.time if first_time is None else first_time
                drawn = draw_on_video(video, frame.picture, project.labels(frame.index), ids=ids)
                video.write(drawn, time=frame.time, duration=frame.duration)
                advance()
        if source.sound is not None:
            source.warn(add_sound(temporary, source.sound, first_time or 0.0))


def _zip(path: Path, files: Iterable[Path], root: Path, advance: Advance = lambda: None) -> None:
    """Pack files below `root` into a ZIP file."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as packed:
        for file in files:
            packed.write(file, file.relative_to(root))
            advance()


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
