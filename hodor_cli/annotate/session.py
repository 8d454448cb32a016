"""Carries out the page's requests one at a time, in one thread.

Edits are short. Jobs (tracking, adaptation, export) are long; an edit that arrives during a job first stops the job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hodor_cli.annotate import messages
from hodor_cli.annotate.change import edited_record
from hodor_cli.annotate.events import Emit, EventSender, advice_state, frame_state
from hodor_cli.annotate.export import EXPORTS
from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.history import ChangeKind
from hodor_cli.annotate.jobs import Jobs
from hodor_cli.annotate.messages import unpack_runs
from hodor_cli.annotate.objects import Objects
from hodor_cli.annotate.project import Labels, Project
from hodor_cli.annotate.prompts import Clicks, Point, Prompter, found, mostly_taken
from hodor_cli.annotate.result import advice_of, write_project_report
from hodor_cli.clicks.shapes import largest_piece, without_enclosed, without_holes, without_unclicked
from hodor_cli.errors import InputError, UsageError
from hodor_cli.files import harmless
from hodor_cli.model.hodor import Hodor
from hodor_cli.run.settings import SegmentSettings

#: How to tidy -> the function that makes the new mask from the old one, and the kind of the change.
_TIDYING: dict[str, tuple[Callable[[NDArray[np.bool_]], NDArray[np.bool_]], ChangeKind]] = {
    "fill": (without_holes, ChangeKind.FILL),
    "largest": (largest_piece, ChangeKind.LARGEST),
    "clear": (np.zeros_like, ChangeKind.CLEAR),
}


class Session:
    """A project with its frames and networks, and the page's operations on them.

    emit: sends an event to the page. wording: see `EventSender`. All methods except `snapshot` must be called from the
    same thread.
    """

    def __init__(
        self,
        project: Project,
        reader: FrameReader,
        model: Hodor,
        settings: SegmentSettings,
        emit: Emit,
        wording: Callable[[str], str] = str,
    ) -> None:
        self.project, self.reader, self._settings = project, reader, settings
        self._events = EventSender(project, emit, wording)
        self._objects = Objects(project, self._events)
        self._jobs = Jobs(project, reader, self._events, model, settings)
        self._prompter: Prompter | None = None
        self._clicks: Clicks | None = None
        #: (frame, object id) -> the positive clicks on objects clicked earlier, some of which may have changed since.
        self._clicked: dict[tuple[int, int], list[Point]] = {}
        self._advice, self._overlay_reported = advice_state(advice_of(project)), False
        objects, jobs = self._objects, self._jobs
        self._edits: dict[type[Any], Callable[[Any], None]] = {
            messages.Click: self._click, messages.Box: self._box, messages.Tidy: self._tidy,
            messages.AddObject: objects.add, messages.Rename: objects.rename, messages.Hide: objects.hide,
            messages.DeleteObject: objects.delete, messages.Merge: objects.merge, messages.Swap: objects.swap,
            messages.Undo: lambda _: self._travel(-1), messages.Redo: lambda _: self._travel(1),
        }  # fmt: skip
        self._long: dict[type[Any], Callable[[Any, threading.Event], None]] = {
            messages.Track: jobs.track, messages.Adapt: jobs.adapt, messages.Export: jobs.export,
        }  # fmt: skip

    @property
    def dirty(self) -> bool:
        """Whether something has changed since the report was written."""
        return self._events.dirty

    def do(self, request: messages.Request, payload: bytes = b"", stop: threading.Event | None = None) -> None:
        """Carry out a request; a job ends soon after `stop` is set.

        Raises HodorError if the request is not possible; the project stays consistent.
        """
        if not isinstance(request, messages.Click | messages.Undo | messages.Redo | messages.Hide | messages.Rename):
            self._clicks = None
        frame = getattr(request, "frame", None)
        if frame is not None and not self.reader.has(frame):
            raise UsageError(f"there is no frame {frame}; the video has {self.reader.start} to {self.reader.end - 1}")
        if isinstance(request, messages.Export):
            self._overlay_reported |= request.kind == "overlay"
            self.save()
        if isinstance(request, messages.Paint):
            self._paint(request, payload)
        elif type(request) in self._edits:
            self._edits[type(request)](request)
        else:
            self._long[type(request)](request, stop or threading.Event())

    def snapshot(self) -> dict[str, Any]:
        """The state that a newly opened page shows."""
        source, reader = self.reader.source, self.reader
        return {
            "event": "hello",
            "name": harmless(source.name),
            "width": source.width,
            "height": source.height,
            "fps": reader.fps,
            "start": reader.start,
            "end": reader.end,
            "folder": harmless(str(self.project.folder.root)),
            "frames": [frame_state(record) for _, record in sorted(self.project.records.items())],
            "exports": [{"kind": kind, "title": title, "about": about} for kind, (title, about) in EXPORTS.items()],
            "ready": self._prompter is not None,
            **self._advice,
            **self._events.objects(),
        }

    def warm(self) -> None:
        """Load the networks and see the frame that the page shows first, so that the first click does not wait."""
        self._jobs.warm()
        prompter, first = self._prompts(), min(self.project.records, default=self.reader.start)
        self._events.send("ready")
        prompter.show(self.reader.read(first), first)

    def save(self) -> None:
        """Update the report if the masks have changed."""
        if self.dirty or not self.project.folder.report.is_file():
            advice = write_project_report(self.project, self.reader.source, self._settings, self._jobs.segmenter)
            self._advice, self._events.dirty = advice_state(advice), False
            self._events.send("advice", **self._advice)
        if self.project.edited and not self._overlay_reported and self.project.folder.overlay.is_file():
            self._overlay_reported = True
            self._events.notice("overlay.mp4 still shows the earlier masks; Export updates it")

    # Masks of one frame.

    def _click(self, request: messages.Click) -> None:
        source = self.reader.source
        if not (0 <= request.x < source.width and 0 <= request.y < source.height):
            raise UsageError(f"{request.x:.0f},{request.y:.0f} is outside the {source.width}x{source.height} picture")
        clicks, labels = self._clicks, self.project.labels(request.frame)
        if clicks is None or (clicks.frame, clicks.object_id) != (request.frame, request.object):
            on_others = [
                point
                for (frame, object_id), points in self._clicked.items()
                if frame == request.frame and object_id != request.object
                for point in points
                if labels[int(point[1]), int(point[0])] == object_id
            ]
            clicks = Clicks(request.frame, request.object, labels == request.object, others=on_others)
        self._clicks = clicks
        clicks.points.append((request.x, request.y, request.positive))
        try:
            others = (labels != 0) & (labels != request.object)
            mask = self._prompts().click(self.reader.read(request.frame), clicks)
            mask = found(without_unclicked(mask, others, clicks.points), "click closer to its middle, or draw a box")
        except BaseException:
            clicks.points.pop()
            raise
        self._clicked[request.frame, request.object] = [point for point in clicks.points if point[2]]
        if np.array_equal(mask, labels == request.object):
            place = "in" if mask[int(request.y), int(request.x)] else "outside"
            what = f"that click {place} the mask of {self._objects.title(request.object)}"
            self._events.notice(f"{what} changed nothing; use the brush or the eraser instead")
        # A click that moves a piece of another object to this one corrects both.
        shrunk = np.intersect1d(labels[mask & others], labels[~mask]).tolist()
        points = [list(point) for point in clicks.points]
        self._edit(request.frame, [request.object, *shrunk], mask, ChangeKind.CLICK, labels, points)
        taken = mostly_taken(mask, labels, request.object)
        if taken and len(points) == 1 and not clicks.start.any():
            took = f"{self._objects.title(request.object)} took most of {self._objects.title(taken)}"
            self._events.notice(f"{took}; if it is only a part of that, undo and draw a box around the part")

    def _box(self, request: messages.Box) -> None:
        image = self.reader.read(request.frame)
        box = (request.x, request.y, request.width, request.height)
        labels = self.project.labels(request.frame)
        mask = self._prompts().box(image, request.frame, request.object, box)
        mask = found(mask, "draw the box tightly around the object, or click the object")
        mask = without_enclosed(mask, labels, request.object)
        if not mask.any():
            raise UsageError("another object is already there; select it to correct it, or delete it")
        self._edit(request.frame, [request.object], mask, ChangeKind.BOX, labels)

    def _paint(self, request: messages.Paint, payload: bytes) -> None:
        source = self.reader.source
        if request.x + request.width > source.width or request.y + request.height > source.height:
            raise InputError(f"the drawing extends outside the {source.width}x{source.height} picture")
        drawn = unpack_runs(payload, (request.height, request.width)) != 0
        labels = self.project.labels(request.frame)
        mask = labels == request.object
        part = mask[request.y : request.y + request.height, request.x : request.x + request.width]
        part[:] = part | drawn if request.add else part & ~drawn
        self._edit(request.frame, [request.object], mask, ChangeKind.PAINT if request.add else ChangeKind.ERASE, labels)

    def _tidy(self, request: messages.Tidy) -> None:
        self._objects.entry(request.object)
        labels = self.project.labels(request.frame)
        tidied, kind = _TIDYING[request.how]
        self._edit(request.frame, [request.object], tidied(labels == request.object), kind, labels)
        if request.how == "clear":
            absent = f"{self._objects.title(request.object)} is absent from frame {request.frame} on"
            self._events.notice(f"{absent}, until its next mask made by hand; tracking removes the masks in between")

    def _edit(
        self,
        frame: int,
        objects: list[int],
        mask: NDArray[np.bool_],
        kind: ChangeKind,
        before: Labels,
        points: Any = (),
    ) -> None:
        """Make `mask` the mask of the first of `objects` in a frame; it covers other objects.

        objects: the objects that now count as made by hand. before: the label map so far. points: the clicks behind it.
        """
        # Without a mask, these would make the object absent from this frame on.
        if kind in (ChangeKind.ERASE, ChangeKind.FILL, ChangeKind.LARGEST) and objects[0] not in before:
            raise UsageError("the object has no mask in this frame, so there is nothing to change; click it first")
        labels = np.where(before == objects[0], 0, before).astype(np.uint16)
        labels[mask] = objects[0]
        record = self.project.records.get(frame) or self.reader.blank(frame)
        edited = edited_record(record, labels, objects)
        # Undo also takes back a click that changed nothing, because the next one adds to it.
        if kind is ChangeKind.CLICK or edited != record or not np.array_equal(labels, before):
            with self.project.change(kind) as change:
                change.put(edited, labels)
        self._events.frame(frame, labels, clicks=points)
        self._events.changed()

    # History.

    def _travel(self, way: Literal[-1, 1]) -> None:
        step = self.project.travel(way)
        if step is None:
            self._events.changed()
            return
        clicks, points = self._clicks, None
        if way < 0 and step.kind is ChangeKind.CLICK and clicks and step.frames[0][0] == clicks.frame and clicks.points:
            clicks.points.pop()
            points = [list(point) for point in clicks.points]
        else:
            self._clicks = None
        frames = [index for index, _, _ in step.frames]
        word = "undid" if way < 0 else "redid"
        self._events.notice(f"{word} {step.kind.value}", frames)
        if len(frames) == 1:
            self._events.frame(frames[0], self.project.labels(frames[0]), clicks=points or [])
            self._events.changed()
        else:
            self._events.frames(frames)

    def _prompts(self) -> Prompter:
        if self._prompter is None:
            self._prompter = Prompter(self._settings.device)
        return self._prompter
