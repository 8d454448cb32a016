"""What the page asks for is done here, one thing after the other, in one thread.

Edits are short. Jobs (tracking, adaptation, export) are long, tell how far they are, and end soon after `stop`; an edit
that comes while a job works ends it first. What changed is told by events: a dict for JSON, and bytes that follow it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from hodor_cli.annotate import messages as ask
from hodor_cli.annotate.export import EXPORTS, Exporter, Stopped
from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.history import ObjectEntry
from hodor_cli.annotate.project import Change, Project, edited_record
from hodor_cli.annotate.prompts import Clicks, Prompter
from hodor_cli.annotate.result import given_inputs, review_of, write_result
from hodor_cli.annotate.runs import pack_runs, unpack_runs
from hodor_cli.annotate.shapes import largest_piece, without_holes
from hodor_cli.annotate.tracking import Tracker, new_segmenter, ways
from hodor_cli.errors import InputError, UsageError
from hodor_cli.files import harmless
from hodor_cli.run.records import FrameRecord, ReviewItem
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.video.overlay import object_colours

if TYPE_CHECKING:
    from hodor_cli.engine.keyframes import OfflineSegmenter
    from hodor_cli.model.hodor import Hodor

Labels = NDArray[np.uint16]
Emit = Callable[[Mapping[str, Any], bytes], None]
#: What a page asks for in words, for the history.
_NAMES = {"fill": "fill holes", "largest": "keep the largest piece", "clear": "clear"}


class Session:
    """A project, its frames and the network, and what the page may do with them.

    load: gives the network, when it is first needed. emit: where events go. All methods but `stop`, `snapshot` and
    `stopping` belong to one thread.
    """

    def __init__(
        self,
        project: Project,
        reader: FrameReader,
        load: Callable[[], Hodor],
        settings: SegmentSettings,
        emit: Emit,
    ) -> None:
        self.project, self.reader, self.settings, self.emit = project, reader, settings, emit
        self._load = load
        self._model: Hodor | None = None
        self._segmenter: OfflineSegmenter | None = None
        self._prompter: Prompter | None = None
        self._clicks: Clicks | None = None
        self.stopping = threading.Event()
        self.dirty = False
        self._review = _review_items(review_of(project))
        self._do: dict[type[Any], Callable[[Any, bytes], None]] = {
            ask.Click: self._click, ask.Box: self._box, ask.Paint: self._paint, ask.Tidy: self._tidy,
            ask.AddObject: self._add, ask.Rename: self._rename, ask.Hide: self._hide,
            ask.DeleteObject: self._delete, ask.Merge: self._merge, ask.Swap: self._swap,
            ask.Undo: self._undo, ask.Redo: self._redo,
            ask.Track: self._track, ask.Adapt: self._adapt, ask.Export: self._export,
        }  # fmt: skip

    def do(self, asked: ask.Asked, payload: bytes = b"") -> None:
        """Do what a page asked for. Raises HodorError where that cannot be done; the project is whole then, too."""
        if not isinstance(asked, ask.Click | ask.Undo | ask.Redo):
            self._clicks = None
        frame = getattr(asked, "frame", None)
        if frame is not None and not self.reader.has(frame):
            raise UsageError(f"there is no frame {frame}; the video has {self.reader.start} to {self.reader.end - 1}")
        self._do[type(asked)](asked, payload)

    def snapshot(self) -> dict[str, Any]:
        """Everything a page needs when it opens."""
        source, reader = self.reader.source, self.reader
        return {
            "event": "hello",
            "name": harmless(source.name),
            "width": source.width,
            "height": source.height,
            "fps": source.fps,
            "start": reader.start,
            "end": reader.end,
            "folder": harmless(str(self.project.folder.root)),
            "warnings": [harmless(text) for text in source.warnings],
            "frames": [frame_state(record) for _, record in sorted(self.project.records.items())],
            "review": self._review,
            "exports": [{"kind": kind, "title": title} for kind, title in EXPORTS.items()],
            **self._objects_event(),
            **self._history_event(),
        }

    def warm(self) -> None:
        """Load the network, so that the first click does not wait for it."""
        if self._model is None:
            self._model = self._load()
            self._segmenter = new_segmenter(self._model, self.settings)
            self._prompter = Prompter(self.settings.device)
        self.emit({"event": "ready"}, b"")

    def save(self) -> None:
        """Bring the report up to date with the masks."""
        if self.dirty or not self.project.folder.report.is_file():
            self._review = _review_items(write_result(self.project, self.reader.source, self.settings, self._segmenter))
            self.dirty = False
            self.emit({"event": "review", "items": self._review}, b"")

    # Masks of one frame.

    def _click(self, asked: ask.Click, _: bytes) -> None:
        source = self.reader.source
        if not (0 <= asked.x < source.width and 0 <= asked.y < source.height):
            raise UsageError(
                f"the click {asked.x:.0f},{asked.y:.0f} is outside the {source.width}x{source.height} picture"
            )
        clicks = self._clicks
        if clicks is None or (clicks.frame, clicks.object_id) != (asked.frame, asked.object):
            clicks = Clicks(asked.frame, asked.object, self.project.labels(asked.frame) == asked.object)
        self._clicks = clicks
        clicks.points.append((asked.x, asked.y, asked.positive))
        try:
            mask = self._prompts().click(self.reader.read(asked.frame), clicks)
        except BaseException:
            clicks.points.pop()
            raise
        self._edit(asked.frame, asked.object, mask, "click", [list(point) for point in clicks.points])

    def _box(self, asked: ask.Box, _: bytes) -> None:
        image = self.reader.read(asked.frame)
        box = (asked.x, asked.y, asked.width, asked.height)
        mask = self._prompts().box(image, asked.frame, asked.object, box)
        self._edit(asked.frame, asked.object, mask, "box")

    def _paint(self, asked: ask.Paint, payload: bytes) -> None:
        source = self.reader.source
        if asked.x + asked.width > source.width or asked.y + asked.height > source.height:
            raise InputError(f"the drawing reaches outside the {source.width}x{source.height} picture")
        drawn = unpack_runs(payload, (asked.height, asked.width)) != 0
        mask = self.project.labels(asked.frame) == asked.object
        part = mask[asked.y : asked.y + asked.height, asked.x : asked.x + asked.width]
        part[:] = part | drawn if asked.add else part & ~drawn
        self._edit(asked.frame, asked.object, mask, "paint" if asked.add else "erase")

    def _tidy(self, asked: ask.Tidy, _: bytes) -> None:
        self._entry(asked.object)
        mask = self.project.labels(asked.frame) == asked.object
        if asked.how == "clear":
            mask[:] = False
        else:
            mask = without_holes(mask) if asked.how == "fill" else largest_piece(mask)
        self._edit(asked.frame, asked.object, mask, _NAMES[asked.how])

    def _edit(self, frame: int, object_id: int, mask: NDArray[np.bool_], label: str, points: Any = None) -> None:
        """Make `mask` the object's mask in a frame; it takes the place of other objects under it."""
        before = self.project.labels(frame)
        labels = np.where(before == object_id, 0, before).astype(np.uint16)
        labels[mask] = object_id
        record = edited_record(self._record(frame), labels, [object_id])
        with self.project.change(label) as change:
            change.put(record, labels)
        self._tell_frame(frame, labels, clicks=points or [])
        self._changed()

    # Objects.

    def _add(self, _: ask.AddObject, __: bytes) -> None:
        new = self.project.free_id()
        with self.project.change("new object"):
            self.project.objects[new] = ObjectEntry(new)
        self._changed(select=new)

    def _rename(self, asked: ask.Rename, _: bytes) -> None:
        name = harmless(" ".join(asked.name.split()))
        with self.project.change("rename"):
            self.project.objects[asked.object] = replace(self._entry(asked.object), name=name)
        self._changed()

    def _hide(self, asked: ask.Hide, _: bytes) -> None:
        """How the page looks is no change of the masks, so it is not undone."""
        self.project.objects[asked.object] = replace(self._entry(asked.object), hidden=asked.hidden)
        self.project.save_objects()
        self._changed()

    def _delete(self, asked: ask.DeleteObject, _: bytes) -> None:
        self._entry(asked.object)
        with self.project.change("delete object") as change:
            self._relabel(change, {asked.object: 0})
            self.project.objects.pop(asked.object)
        self._tell_frames(change.frames)

    def _merge(self, asked: ask.Merge, _: bytes) -> None:
        self._pair(asked.object, asked.other)
        with self.project.change("merge") as change:
            self._relabel(change, {asked.other: asked.object})
            self.project.objects.pop(asked.other)
        self._tell_frames(change.frames, select=asked.object)

    def _swap(self, asked: ask.Swap, _: bytes) -> None:
        self._pair(asked.object, asked.other)
        with self.project.change("swap") as change:
            self._relabel(change, {asked.object: asked.other, asked.other: asked.object}, asked.start)
        self._tell_frames(change.frames)

    def _relabel(self, change: Change, to: Mapping[int, int], start: int = 0) -> None:
        """Give objects other ids in all frames from `start` on; 0 removes one."""
        for index, record in sorted(self.project.records.items()):
            if index < start or not (set(record.objects) | set(record.given) | set(record.removed)) & set(to):
                continue
            table = np.arange(65_536, dtype=np.uint16)
            table[list(to)] = list(to.values())
            labels = table[self.project.labels(index)]

            def renamed(ids: Any) -> tuple[int, ...]:
                return tuple(sorted({to.get(key, key) for key in ids} - {0}))

            objects: dict[int, Any] = {}
            for key, entry in record.objects.items():
                new = to.get(key, key)
                if new and (new not in objects or objects[new].lost):
                    objects[new] = entry
            given = renamed(record.given)
            base = replace(record, objects=objects, given=given, removed=renamed(record.removed), boxes={}, review=())
            change.put(edited_record(base, labels, given, by_hand=False), labels)

    def _entry(self, object_id: int) -> ObjectEntry:
        entry = self.project.objects.get(object_id)
        if entry is None:
            raise UsageError(f"there is no object {object_id} any more; reload the page")
        return entry

    def _pair(self, one: int, other: int) -> None:
        self._entry(one), self._entry(other)
        if one == other:
            raise UsageError(f"object {one} cannot be joined or swapped with itself; choose another")

    # History.

    def _undo(self, _: ask.Undo, __: bytes) -> None:
        self._moved(self.project.undo(), -1)

    def _redo(self, _: ask.Redo, __: bytes) -> None:
        self._moved(self.project.redo(), +1)

    def _moved(self, step: Any, way: int) -> None:
        if step is None:
            return
        clicks, points = self._clicks, None
        if way < 0 and step.label == "click" and clicks and step.frames[0][0] == clicks.frame and clicks.points:
            clicks.points.pop()
            points = [list(point) for point in clicks.points]
        else:
            self._clicks = None
        frames = [index for index, _, _ in step.frames]
        word = "undid" if way < 0 else "redid"
        self.emit({"event": "moved", "text": f"{word} {step.label}", "frame": min(frames, default=None)}, b"")
        if len(frames) == 1:
            self._tell_frame(frames[0], self.project.labels(frames[0]), clicks=points or [])
            self._changed()
        else:
            self._tell_frames(frames)

    # Jobs.

    def _track(self, asked: ask.Track, _: bytes) -> None:
        everywhere = asked.direction == "both" and bool(self.project.given_frames())
        if not everywhere and not self.project.labels(asked.frame).any():
            raise UsageError("there is no mask in this frame to track from; click an object first")
        self.warm()
        assert self._segmenter is not None
        tracker = Tracker(self.project, self.reader, self._segmenter, self.stopping)
        parts = ways(self.reader, asked.frame, asked.direction)
        clock = _Clock(self.emit, "track", sum(len(way) - 1 for way in parts))
        found = chain.from_iterable(tracker.from_frame(way) for way in parts)
        if everywhere:
            found, clock.total = tracker.everywhere(), _frames_to_visit(self.project, self.reader)
        with self.project.change("tracking") as change:
            for record, labels in found:
                change.put(record, labels)
                clock.advance()
                self._tell_frame(record.frame, labels, streamed=True)
        self._changed()
        self.emit({"event": "done", "job": "track", "stopped": self.stopping.is_set(), "text": clock.text()}, b"")

    def _adapt(self, asked: ask.Adapt, _: bytes) -> None:
        from hodor_cli.run.adapting import adapted_to_given

        self.warm()
        assert self._model is not None

        def progress(state: Any) -> None:
            if self.stopping.is_set():
                raise Stopped
            left = (1 - state.share) * asked.seconds
            self.emit({"event": "progress", "job": "adapt", "share": float(state.share), "left": left}, b"")

        if not self.project.given_frames():
            raise UsageError("there is no mask made by hand to adapt to; click an object first")
        try:
            model, settings = adapted_to_given(
                self._load(), self.reader.source, given_inputs(self.project), f"{asked.seconds}s", self.settings,
                progress=progress,
            )  # fmt: skip
        except Stopped:
            self.emit({"event": "done", "job": "adapt", "stopped": True, "text": "adaptation stopped"}, b"")
            return
        self._model, self._segmenter = model, new_segmenter(model, settings)
        self.emit({"event": "done", "job": "adapt", "stopped": False, "text": "adapted; track again to use it"}, b"")

    def _export(self, asked: ask.Export, _: bytes) -> None:
        self.save()
        exporter = Exporter(self.project, self.reader.source, self.stopping)
        clock = _Clock(self.emit, "export", self.reader.end - self.reader.start)
        try:
            path: Path = exporter.write(asked.kind, clock.advance)
        except Stopped:
            self.emit({"event": "done", "job": "export", "stopped": True, "text": "export stopped"}, b"")
            return
        done = {"event": "done", "job": "export", "stopped": False, "kind": asked.kind, "name": harmless(path.name)}
        self.emit({**done, "text": f"wrote {harmless(str(path))}"}, b"")

    # Events.

    def _prompts(self) -> Prompter:
        self.warm()
        assert self._prompter is not None
        return self._prompter

    def _record(self, index: int) -> FrameRecord:
        known = self.project.records.get(index)
        time_of = round(index / (self.reader.source.fps or 25.0), 6)
        return known or FrameRecord(index, self.reader.name(index), time_of, {})

    def _tell_frame(self, index: int, labels: Labels, *, streamed: bool = False, clicks: Any = None) -> None:
        record = self.project.records.get(index)
        state = frame_state(record) if record else [index, [], []]
        event: dict[str, Any] = {"event": "frame", "frame": index, "state": state, "streamed": streamed}
        if clicks is not None:
            event["clicks"] = clicks
        self.emit(event, pack_runs(labels))

    def _tell_frames(self, frames: list[int], **more: Any) -> None:
        known = self.project.records
        states = [frame_state(known[index]) if index in known else [index, [], []] for index in frames]
        self.emit({"event": "frames", "states": states}, b"")
        self._changed(**more)

    def _changed(self, **more: Any) -> None:
        self.dirty = True
        self.emit({"event": "changed", **self._objects_event(), **self._history_event(), **more}, b"")

    def _objects_event(self) -> dict[str, Any]:
        entries = self.project.entries()
        colours = object_colours(np.array([entry.id for entry in entries], dtype=np.int64)).tolist()
        objects = [
            {"id": entry.id, "name": entry.name, "hidden": entry.hidden, "colour": colour}
            for entry, colour in zip(entries, colours, strict=True)
        ]
        return {"objects": objects}

    def _history_event(self) -> dict[str, Any]:
        undo, redo = self.project.history.labels()
        return {"undo": undo, "redo": redo}


class _Clock:
    """Tells how far a job is: frames done, frames per second, seconds left."""

    def __init__(self, emit: Emit, job: str, total: int) -> None:
        self._emit, self._job, self.total = emit, job, max(1, total)
        self._began, self._told, self.done = time.monotonic(), 0.0, 0

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self._told < 0.1 and self.done < self.total:
            return
        self._told = now
        rate = self.done / max(1e-6, now - self._began)
        left = (self.total - self.done) / rate
        share = min(1.0, self.done / self.total)
        self._emit({"event": "progress", "job": self._job, "share": share, "rate": rate, "left": left}, b"")

    def text(self) -> str:
        seconds = max(1e-6, time.monotonic() - self._began)
        word = "frame" if self.done == 1 else "frames"
        return f"tracked {self.done} {word} in {seconds:.1f} s ({self.done / seconds:.1f} per second)"


def _frames_to_visit(project: Project, reader: FrameReader) -> int:
    """How many frames `Tracker.everywhere` yields: all, and those before the last mask that have none yet."""
    last = max(project.given_frames())
    return reader.end - reader.start + sum(index not in project.records for index in range(reader.start, last))


def _review_items(items: Iterable[ReviewItem]) -> list[dict[str, Any]]:
    """Frames to review as the page lists them."""
    return [
        {"object": item.object_id, "reason": item.reason, "first": item.first_frame, "last": item.last_frame,
         "detail": item.detail}
        for item in items
    ]  # fmt: skip


def frame_state(record: FrameRecord) -> list[Any]:
    """What the timeline shows of a frame: its index, the ids made by hand, and [id, confidence] of each object, where
    -1 stands for one that is lost."""
    seen = [[key, -1 if entry.lost else round(entry.confidence, 3)] for key, entry in record.objects.items()]
    return [record.frame, list(record.given), seen]
