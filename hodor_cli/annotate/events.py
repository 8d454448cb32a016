"""The events that a page receives: a dict for JSON, and optional bytes that follow it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from hodor_cli.annotate.messages import pack_runs
from hodor_cli.annotate.project import Labels, Project
from hodor_cli.annotate.result import Advice
from hodor_cli.images.paths import plural
from hodor_cli.records import FrameRecord
from hodor_cli.video.overlay import colour_of

Emit = Callable[[Mapping[str, Any], bytes], None]
Item = TypeVar("Item")


class EventSender:
    """Sends events about changes to a project. dirty: whether it has changed since the report was written.

    wording: turns a sentence with parameters in backticks into one for the user.
    """

    def __init__(self, project: Project, emit: Emit, wording: Callable[[str], str] = str) -> None:
        self._project, self._emit, self.wording = project, emit, wording
        self.dirty = False

    def send(self, event: str, payload: bytes = b"", **fields: Any) -> None:
        self._emit({"event": event, **fields}, payload)

    def notice(self, text: str, frames: Collection[int] = ()) -> None:
        """Show a message about a change in these frames."""
        self.send("notice", text=text, first=min(frames, default=None), last=max(frames, default=None))

    def frame(self, index: int, labels: Labels, *, streamed: bool = False, clicks: Any = None) -> None:
        """Send the label map of one frame. streamed: whether a job made it. clicks: the clicks that made it, if any."""
        more = {} if clicks is None else {"clicks": clicks}
        self.send("frame", pack_runs(labels), frame=index, state=self._state(index), streamed=streamed, **more)

    def frames(self, frames: Iterable[int], **more: Any) -> None:
        """Send the states of several frames, without their label maps, and the objects."""
        self.send("frames", states=[self._state(index) for index in frames])
        self.changed(**more)

    def changed(self, **more: Any) -> None:
        """Send the objects and whether undo and redo are possible. more: `select`, the object to make current."""
        self.dirty = True
        self.send("changed", **self.objects(), **more)

    def objects(self) -> dict[str, Any]:
        """The objects as the page lists them, the next new object, and whether undo and redo are possible."""
        objects = [
            {"id": entry.id, "name": entry.name, "hidden": entry.hidden, "colour": colour_of(entry.id)}
            for entry in self._project.entries()
        ]
        new_id, (undo, redo) = self._project.free_id(), self._project.history.available()
        return {"objects": objects, "fresh": {"id": new_id, "colour": colour_of(new_id)}, "undo": undo, "redo": redo}

    def _state(self, index: int) -> list[Any]:
        record = self._project.records.get(index)
        return [index, [], [], []] if record is None else frame_state(record)


class Stopped(Exception):  # noqa: N818  # not an error: the user asked for it
    """The user stopped a job."""


class JobProgress:
    """Sends a job's progress: fraction done, frames per second, seconds left. Raises Stopped once `stop` is set."""

    def __init__(self, events: EventSender, job: str, total: int, stop: threading.Event) -> None:
        self._events, self._job, self._total, self._stop = events, job, max(1, total), stop
        self._began, self._sent, self._done = time.monotonic(), 0.0, 0

    def advance(self) -> None:
        self.at(self._done + 1, self._total)

    def at(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self._done, self._total = done, max(1, total)
        now = time.monotonic()
        if now - self._sent < 0.1 and self._done < self._total:
            return
        self._sent = now
        rate = self._done / max(1e-6, now - self._began)
        left = (self._total - self._done) / rate
        share = min(1.0, self._done / self._total)
        self._events.send("progress", job=self._job, share=share, rate=rate, left=left)

    def counting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, counting each as one frame done."""
        for item in items:
            yield item
            self.advance()

    def text(self, frames: int) -> str:
        """A sentence about the result, for a number of tracked frames."""
        seconds = max(1e-6, time.monotonic() - self._began)
        return f"tracked {plural(frames, 'frame')} in {seconds:.1f} s ({frames / seconds:.1f} per second)"


def advice_state(advice: Advice) -> dict[str, Any]:
    """The frames to review and to mask next, as the page lists them."""
    items, suggest = advice
    review = [
        {"object": item.object_id, "reason": item.reason, "first": item.first_frame, "last": item.last_frame,
         "detail": item.detail}
        for item in items
    ]  # fmt: skip
    return {"review": review, "suggest": [{"frame": one.frame, "gain": one.gain} for one in suggest]}


def frame_state(record: FrameRecord) -> list[Any]:
    """A frame as the timeline shows it: its index, the ids made by hand, [id, confidence] of each object (-1: lost),
    and the ids that are absent from this frame on."""
    seen = [[key, -1 if entry.lost else round(entry.confidence, 3)] for key, entry in record.objects.items()]
    return [record.frame, list(record.given), seen, list(record.removed)]
