"""Carries out the page's requests one after the other, in one thread.

Edits are short. Jobs (tracking, adaptation, export) are long; an edit that arrives during a job stops it first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hodor_cli.annotate import messages as ask
from hodor_cli.annotate.change import edited_record
from hodor_cli.annotate.export import EXPORTS
from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.history import ChangeKind
from hodor_cli.annotate.jobs import Jobs
from hodor_cli.annotate.messages import unpack_runs
from hodor_cli.annotate.objects import Objects
from hodor_cli.annotate.project import Labels, Project
from hodor_cli.annotate.prompts import Clicks, Point, Prompter, found
from hodor_cli.annotate.result import advice_of, write_project_report
from hodor_cli.annotate.telling import Emit, Teller, advice_state, frame_state
from hodor_cli.clicks.shapes import largest_piece, without_enclosed, without_holes, without_unclicked
from hodor_cli.errors import InputError, UsageError
from hodor_cli.files import harmless
from hodor_cli.run.records import FrameRecord
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor

_TIDYING = {"fill": ChangeKind.FILL, "largest": ChangeKind.LARGEST, "clear": ChangeKind.CLEAR}


class Session:
    """A project with its frames and networks, and the operations of the page on them.

    emit: sends an event to the page. All methods except `snapshot` must be called in the same thread.
    """

    def __init__(
        self,
        project: Project,
        reader: FrameReader,
        model: Hodor,
        settings: SegmentSettings,
        emit: Emit,
    ) -> None:
        self.project, self.reader, self._settings = project, reader, settings
        self._teller = Teller(project, emit)
        self._objects = Objects(project, self._teller)
        self._jobs = Jobs(project, reader, self._teller, model, settings)
        self._prompter: Prompter | None = None
        self._clicks: Clicks | None = None
        #: Positive clicks by frame and object, of those clicked before.
        self._clicked: dict[tuple[int, int], list[Point]] = {}
        self._advice, self._overlay_told = advice_state(advice_of(project)), False
        objects, jobs = self._objects, self._jobs
        self._edits: dict[type[Any], Callable[[Any], None]] = {
            ask.Click: self._click, ask.Box: self._box, ask.Tidy: self._tidy,
            ask.AddObject: objects.add, ask.Rename: objects.rename, ask.Hide: objects.hide,
            ask.DeleteObject: objects.delete, ask.Merge: objects.merge, ask.Swap: objects.swap,
            ask.Undo: lambda _: self._travel(-1), ask.Redo: lambda _: self._travel(1),
        }  # fmt: skip
        self._long: dict[type[Any], Callable[[Any, threading.Event], None]] = {
            ask.Track: jobs.track, ask.Adapt: jobs.adapt, ask.Export: jobs.export,
        }  # fmt: skip

    @property
    def dirty(self) -> bool:
        """Whether something changed since the report was written."""
        return self._teller.dirty

    def do(self, asked: ask.Asked, payload: bytes = b"", stop: threading.Event | None = None) -> None:
        """Carry out a request; a job ends soon after `stop` is set.

        Raises HodorError if that is not possible; the project stays consistent.
        """
        if not isinstance(asked, ask.Click | ask.Undo | ask.Redo | ask.Hide | ask.Rename):
            self._clicks = None
        frame = getattr(asked, "frame", None)
        if frame is not None and not self.reader.has(frame):
            raise UsageError(f"there is no frame {frame}; the video has {self.reader.start} to {self.reader.end - 1}")
        if isinstance(asked, ask.Export):
            self._overlay_told |= asked.kind == "overlay"
            self.save()
        if isinstance(asked, ask.Paint):
            self._paint(asked, payload)
        elif type(asked) in self._edits:
            self._edits[type(asked)](asked)
        else:
            self._long[type(asked)](asked, stop or threading.Event())

    def snapshot(self) -> dict[str, Any]:
        """The state that a page shows when it opens."""
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
            **self._teller.objects(),
        }

    def warm(self) -> None:
        """Load the networks, so that the first click need not wait."""
        self._jobs.warm()
        self._prompts()
        self._teller.tell("ready")

    def save(self) -> None:
        """Update the report if the masks have changed."""
        if self.dirty or not self.project.folder.report.is_file():
            advice = write_project_report(self.project, self.reader.source, self._settings, self._jobs.segmenter)
            self._advice, self._teller.dirty = advice_state(advice), False
            self._teller.tell("advice", **self._advice)
        if self.project.edited and not self._overlay_told and self.project.folder.overlay.is_file():
            self._overlay_told = True
            self._teller.notice("overlay.mp4 still shows the earlier masks; Export writes it anew")

    # Masks of one frame.

    def _click(self, asked: ask.Click) -> None:
        source = self.reader.source
        if not (0 <= asked.x < source.width and 0 <= asked.y < source.height):
            raise UsageError(
                f"the click {asked.x:.0f},{asked.y:.0f} is outside the {source.width}x{source.height} picture"
            )
        clicks, labels = self._clicks, self.project.labels(asked.frame)
        if clicks is None or (clicks.frame, clicks.object_id) != (asked.frame, asked.object):
            on_others = self._on_others(asked.frame, asked.object)
            clicks = Clicks(asked.frame, asked.object, labels == asked.object, others=on_others)
        self._clicks = clicks
        clicks.points.append((asked.x, asked.y, asked.positive))
        try:
            others = (labels != 0) & (labels != asked.object)
            mask = self._prompts().click(self.reader.read(asked.frame), clicks)
            mask = found(without_unclicked(mask, others, clicks.points), "click nearer to its middle, or draw a box")
        except BaseException:
            clicks.points.pop()
            raise
        self._clicked[asked.frame, asked.object] = [point for point in clicks.points if point[2]]
        if np.array_equal(mask, labels == asked.object):
            self._teller.notice("that click changed nothing; the brush and the eraser change any place")
        # Whoever says that a piece of an object belongs to another one corrects both.
        shrunk = np.intersect1d(labels[mask & others], labels[~mask]).tolist()
        points = [list(point) for point in clicks.points]
        self._edit(asked.frame, [asked.object, *shrunk], mask, ChangeKind.CLICK, labels, points)

    def _on_others(self, frame: int, object_id: int) -> list[Point]:
        others = (points for (at, other), points in self._clicked.items() if at == frame and other != object_id)
        return [point for points in others for point in points]

    def _box(self, asked: ask.Box) -> None:
        image = self.reader.read(asked.frame)
        box = (asked.x, asked.y, asked.width, asked.height)
        labels = self.project.labels(asked.frame)
        mask = self._prompts().box(image, asked.frame, asked.object, box)
        mask = found(mask, "draw the box close around the object, or click the object")
        mask = without_enclosed(mask, labels, asked.object)
        if not mask.any():
            raise UsageError("another object is there already; select that one to correct it, or delete it")
        self._edit(asked.frame, [asked.object], mask, ChangeKind.BOX, labels)

    def _paint(self, asked: ask.Paint, payload: bytes) -> None:
        source = self.reader.source
        if asked.x + asked.width > source.width or asked.y + asked.height > source.height:
            raise InputError(f"the drawing reaches outside the {source.width}x{source.height} picture")
        drawn = unpack_runs(payload, (asked.height, asked.width)) != 0
        labels = self.project.labels(asked.frame)
        mask = labels == asked.object
        part = mask[asked.y : asked.y + asked.height, asked.x : asked.x + asked.width]
        part[:] = part | drawn if asked.add else part & ~drawn
        self._edit(asked.frame, [asked.object], mask, ChangeKind.PAINT if asked.add else ChangeKind.ERASE, labels)

    def _tidy(self, asked: ask.Tidy) -> None:
        self._objects.entry(asked.object)
        labels = self.project.labels(asked.frame)
        mask = labels == asked.object
        if asked.how == "clear":
            mask[:] = False
        else:
            mask = without_holes(mask) if asked.how == "fill" else largest_piece(mask)
        self._edit(asked.frame, [asked.object], mask, _TIDYING[asked.how], labels)
        if asked.how == "clear":
            name = self._objects.title(asked.object)
            self._teller.notice(f"{name} is absent from frame {asked.frame} on, until its next mask by hand")

    def _edit(
        self,
        frame: int,
        objects: list[int],
        mask: NDArray[np.bool_],
        kind: ChangeKind,
        before: Labels,
        points: Any = (),
    ) -> None:
        """Make `mask` the mask of the first of `objects` in a frame; it replaces other objects under it.

        objects: those that are made by hand from now on. before: the label map so far. points: clicks that did it.
        """
        labels = np.where(before == objects[0], 0, before).astype(np.uint16)
        labels[mask] = objects[0]
        with self.project.change(kind) as change:
            change.put(edited_record(self._record(frame), labels, objects), labels)
        self._teller.frame(frame, labels, clicks=points)
        self._teller.changed()

    # History.

    def _travel(self, way: Literal[-1, 1]) -> None:
        step = self.project.travel(way)
        self._clicked.clear()
        if step is None:
            self._teller.changed()
            return
        clicks, points = self._clicks, None
        if way < 0 and step.kind is ChangeKind.CLICK and clicks and step.frames[0][0] == clicks.frame and clicks.points:
            clicks.points.pop()
            points = [list(point) for point in clicks.points]
        else:
            self._clicks = None
        frames = [index for index, _, _ in step.frames]
        word = "undid" if way < 0 else "redid"
        self._teller.notice(f"{word} {step.kind.value}", frames)
        if len(frames) == 1:
            self._teller.frame(frames[0], self.project.labels(frames[0]), clicks=points or [])
            self._teller.changed()
        else:
            self._teller.frames(frames)

    def _prompts(self) -> Prompter:
        if self._prompter is None:
            self._prompter = Prompter(self._settings.device)
        return self._prompter

    def _record(self, index: int) -> FrameRecord:
        return self.project.records.get(index) or self.reader.blank(index)
