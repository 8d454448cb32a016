"""Opens a source and its project, and serves the page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hodor_cli.annotate.change import edited_record
from hodor_cli.annotate.events import Emit
from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.history import ChangeKind
from hodor_cli.annotate.project import Project
from hodor_cli.annotate.result import continued_settings, open_target, write_project_report
from hodor_cli.annotate.server import listen, serve
from hodor_cli.annotate.session import Session
from hodor_cli.errors import InputError, OutputError
from hodor_cli.formats.mask_arguments import Given, read_given
from hodor_cli.images.label_png import ids_in
from hodor_cli.locks import locked_folder
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.weights import load_model


@dataclass(frozen=True)
class AnnotateOptions:
    """out: the project folder. masks: masks to start from, in any supported format. host, port: where the server
    listens, by default only on this machine, on a free port. wording: see `EventSender`."""

    out: Path | None = None
    masks: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    wording: Callable[[str], str] = str


def annotate_source(
    source: str | Path, settings: SegmentSettings, options: AnnotateOptions, opened: Callable[[str, Path], Any]
) -> Path:
    """Serve the page for a video or a result until Ctrl-C. Returns the project folder.

    opened: called with the page's address and the folder as soon as the page can be opened. Raises HodorError before
    the server starts if the source or project cannot be opened, and OutputError after it stopped if the report cannot
    be written.
    """
    frames, folder = open_target(source, options.out)
    with frames, listen(options.host, options.port) as listening:
        settings = continued_settings(folder, settings)
        model = load_model(settings.weights)
        settings.segmenter(model)  # raises if the device is missing, before any file is written
        readers = FrameReader(frames), FrameReader(frames), FrameReader(frames, few=True)
        if options.masks is not None and any(folder.masks.glob("*.png")):
            way_out = "leave out `masks` to continue, or choose another `out`"
            raise OutputError(f"{folder.root} already holds masks; {way_out}")
        given = None if options.masks is None else read_given([str(options.masks)], frames)
        with locked_folder(folder.root, advice="it is open in another hodor annotate; close that first"):
            project = Project(folder, (frames.height, frames.width))
            if given is not None:
                _take_masks(project, readers[0], given)
            _list_painted(project, frames.warn)
            write_project_report(project, frames, settings, None)

            sessions: list[Session] = []

            def make(emit: Emit) -> Session:
                sessions.append(Session(project, readers[0], model, settings, emit, options.wording))
                return sessions[0]

            serve(make, (readers[1], readers[2]), listening, lambda url: opened(url, folder.root))
            for session in sessions:
                session.save()  # raises if the server could not save everything when it stopped
    return folder.root


def _take_masks(project: Project, reader: FrameReader, files: Given) -> None:
    """Put the given masks into the project, as one change."""
    with project.change(ChangeKind.MASKS) as change:
        for index, given in files.masks.items():
            change.put(edited_record(reader.blank(index), given.labels, given.object_ids), given.labels)
        for key, entry in project.objects.items():
            project.objects[key] = replace(entry, name=files.names.get(key, entry.name))


def _list_painted(project: Project, damaged: Callable[[str], None]) -> None:
    """List objects that another program has painted into masks since the report was written, as made by hand.

    damaged: called with a sentence about each of these masks that is damaged."""
    folder, found = project.folder, []
    since = folder.report.stat().st_mtime_ns if folder.report.is_file() else sys.maxsize
    for record in project.records.values():
        path = folder.mask(record.name)
        if path.is_file() and path.stat().st_mtime_ns >= since:  # reading all masks would take minutes
            try:
                labels = project.read(path)
            except InputError as error:
                damaged(str(error))
                continue
            if painted := set(ids_in(labels)).difference(record.objects):
                found.append(edited_record(record, labels, painted))
    if found:  # even an empty change would end redo
        with project.change(ChangeKind.MASKS) as change:
            for record in found:  # read again, because all label maps at once may not fit into memory
                change.put(record, project.labels(record.frame))
