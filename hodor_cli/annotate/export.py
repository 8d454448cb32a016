"""What the page exports, written beside the masks: everything under the name that `hodor segment` gives it."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hodor_cli.annotate.project import Project
from hodor_cli.datasets.video_rle import VideoMask, encode_rle, write_video_annotations
from hodor_cli.errors import UsageError
from hodor_cli.files import replacing, writing
from hodor_cli.images.extent import box_of
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.h264 import Timeline, VideoWriter
from hodor_cli.video.overlay import draw_overlay
from hodor_cli.video.sound import add_sound

#: Kind -> what the page calls it.
EXPORTS = {
    "masks": "Masks: one PNG for each frame, in a ZIP file",
    "coco": "COCO video run lengths (annotations.json)",
    "overlay": "Overlay: the video with the objects drawn over it",
}
Advance = Callable[[], None]


class Stopped(Exception):  # noqa: N818  # no error: the user asked for it
    """The user ended a job."""


class Exporter:
    """Writes one kind of export at a time. Raises Stopped as soon as `stop` is set, OutputError for a full disk."""

    def __init__(self, project: Project, source: FrameSource, stop: threading.Event) -> None:
        self._project, self._source, self._stop = project, source, stop
        self._files = project.folder

    def path(self, kind: str) -> Path:
        """Where an export lies. Raises UsageError for an unknown kind."""
        own = self._files.root / ".annotate"
        paths = {"masks": own / "masks.zip", "coco": self._files.annotations, "overlay": self._files.overlay}
        if kind not in paths:
            raise UsageError(f"there is no export called {kind[:40]!r}; choose one of {', '.join(paths)}")
        return paths[kind]

    def write(self, kind: str, advance: Advance) -> Path:
        """Write an export and return its file; `advance` is called for each frame."""
        path = self.path(kind)
        with writing(self._files.root):
            {"masks": self._masks, "coco": self._coco, "overlay": self._overlay}[kind](path, advance)
        return path

    def _masks(self, path: Path, advance: Advance) -> None:
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
            for index in sorted(self._project.records):
                mask = self._files.mask(self._project.records[index].name)
                if mask.is_file():
                    file.write(mask, mask.name)
                self._next(advance)

    def _coco(self, path: Path, advance: Advance) -> None:
        indices, known = sorted(self._project.records), self._project.records
        first = True

        def masks_of(object_id: int) -> Iterator[VideoMask | None]:
            nonlocal first
            for index in indices:
                mask = self._project.labels(index) == object_id if object_id in known[index].objects else None
                if mask is None or not mask.any():
                    yield None
                else:
                    box = box_of(mask) or (0, 0, 0, 0)
                    yield {"counts": encode_rle(mask)["counts"], "area": int(mask.sum()), "box": list(box)}
                if first:
                    self._next(advance)
                elif self._stop.is_set():
                    raise Stopped
            first = False

        write_video_annotations(
            path,
            name=self._source.name,
            size=self._project.size,
            file_names=(f"{known[index].name}.png" for index in indices),
            length=len(indices),
            object_ids=sorted({key for record in known.values() for key in record.objects}),
            frames_of=masks_of,
        )

    def _overlay(self, path: Path, advance: Advance) -> None:
        ids = len(self._project.objects) > 1
        timeline, ticks = Timeline(self._source.fps), None
        first_time = None
        with replacing(path) as temporary:
            with VideoWriter(temporary, self._source.fps, self._source.pixel_aspect) as video:
                for position, frame in enumerate(self._source):
                    first_time = frame.time if first_time is None else first_time
                    ticks = timeline.ticks(position, frame.time - first_time, ticks)
                    labels = self._project.labels(frame.index)
                    drawn = draw_overlay(np.ascontiguousarray(frame.image), labels, ids=ids)
                    video.write(drawn, ticks=ticks, duration=frame.duration)
                    self._next(advance)
            if self._source.sound is not None:
                self._source.warn(add_sound(temporary, self._source.sound, first_time or 0.0))

    def _next(self, advance: Advance) -> None:
        if self._stop.is_set():
            raise Stopped
        advance()
