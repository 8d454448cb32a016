"""Long jobs: tracking, adaptation and export. They report progress and end soon after `stop` is set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

from hodor_cli.adaptation.settings import AdaptProgress
from hodor_cli.annotate import messages
from hodor_cli.annotate.events import EventSender, JobProgress, Stopped
from hodor_cli.annotate.export import export_path, write_export
from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.history import ChangeKind
from hodor_cli.annotate.project import Project, tracker_of
from hodor_cli.annotate.result import inputs_by_hand
from hodor_cli.annotate.tracking import Tracked, Tracker, ways
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.errors import UsageError
from hodor_cli.files import harmless
from hodor_cli.model.hodor import Hodor
from hodor_cli.run.correcting import ChangedPart
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.resume import run_identity
from hodor_cli.run.runner import adapted_to_given
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.weights.checkpoint import model_fingerprint

#: How long the network is fine-tuned.
_ADAPT_SECONDS = 60


class Jobs:
    """The jobs of a session. segmenter: tracks the objects; None until `warm` is called."""

    def __init__(
        self, project: Project, reader: FrameReader, events: EventSender, model: Hodor, settings: SegmentSettings
    ) -> None:
        self._project, self._reader, self._events = project, reader, events
        self._model, self._settings = model, settings
        self.segmenter: OfflineSegmenter | None = None

    def warm(self) -> OfflineSegmenter:
        """The segmenter that tracks; created by the first call."""
        if self.segmenter is None:
            self.segmenter = self._settings.offline(self._model)
        return self.segmenter

    def track(self, request: messages.Track, stop: threading.Event) -> None:
        """Track the objects. Masks found before the job is stopped are kept; one undo removes them all."""
        project, reader = self._project, self._reader
        everywhere = request.direction == "both" and bool(project.given_frames())
        parts = ways(reader, request.frame, request.direction)
        total = _frames_to_visit(project, reader) if everywhere else sum(len(way) - 1 for way in parts)
        if not total:
            raise UsageError(f"there are no frames to track in this direction from frame {request.frame}")
        if not everywhere and not project.labels(request.frame).any():
            raise UsageError("this frame has no mask to track from; click an object first")
        tracker, change, tracked_by = Tracker(project, reader, self.warm()), None, ""
        if everywhere:
            tracked_by = tracker_of(run_identity(reader.source, RunInputs(), self._settings, self.warm()))
            change = self._changed_since(tracked_by)
        clock = JobProgress(self._events, "track", total, stop)
        found: Iterator[Tracked | None]
        if change is not None:
            found = tracker.again(change, clock.at)
        elif everywhere:
            found = clock.counting(tracker.everywhere())
        else:
            found = clock.counting(chain.from_iterable(map(tracker.from_frame, parts)))
        kind = ChangeKind.TRACK if change is None else ChangeKind.TRACK_AGAIN
        with suppress(Stopped), project.change(kind) as made:
            for tracked in found:
                if tracked is not None:
                    record, labels = tracked
                    made.put(record, labels)
                    self._events.frame(record.frame, labels, streamed=True)
            made.tracked_by = tracked_by
        self._events.changed()
        self._events.send("warnings", texts=[self._events.wording(text) for text in tracker.warnings])
        unchanged = change is not None and not change.ranges
        text = clock.text(len(made.frames)) if made.frames else "tracking stopped before the first frame"
        text = "nothing to track: no mask has changed" if unchanged else text
        self._done("track", text, stopped=stop.is_set())

    def _changed_since(self, tracked_by: str) -> ChangedPart | None:
        """What edits affect since the whole video was tracked by `tracked_by`; None if it was not."""
        before = self._project.changed_since(tracked_by)
        if before is None:
            return None
        then, now = inputs_by_hand(self._project, before), inputs_by_hand(self._project)
        return ChangedPart.between(then, now, self._reader.start, self._reader.end - 1)

    def adapt(self, _: messages.Adapt, stop: threading.Event) -> None:
        """Fine-tune a copy of the network on the masks made by hand."""
        if not self._project.given_frames():
            raise UsageError("there are no masks made by hand to adapt to; click an object first")

        def progress(state: AdaptProgress) -> None:
            if stop.is_set():
                raise Stopped
            left = max(0.0, _ADAPT_SECONDS - state.seconds)
            self._events.send("progress", job="adapt", share=state.share, left=left)

        self._events.send("progress", job="adapt", share=0.0, left=float(_ADAPT_SECONDS))
        try:
            model, settings = adapted_to_given(
                self._model, self._reader.source, inputs_by_hand(self._project),
                replace(self._settings, adapt=f"{_ADAPT_SECONDS}s"), progress=progress,
            )  # fmt: skip
        except Stopped:
            self._done("adapt", "adaptation stopped", stopped=True)
            return
        self.segmenter = settings.offline(model)
        same = model_fingerprint(model) == model_fingerprint(self._model)  # the source's warnings say why
        self._done("adapt", "the network stays as it is" if same else "adapted; track again to use it")

    def export(self, request: messages.Export, stop: threading.Event) -> None:
        clock = JobProgress(self._events, "export", self._reader.end - self._reader.start, stop)
        try:
            made = write_export(self._project, self._reader.source, request.kind, clock.advance)
        except Stopped:
            self._done("export", "export stopped", stopped=True)
            return
        name = export_path(self._project.folder, request.kind).name
        self._done("export", f"wrote {harmless(str(made))}", kind=request.kind, name=harmless(name))

    def _done(self, job: str, text: str, *, stopped: bool = False, **more: Any) -> None:
        self._events.send("done", job=job, stopped=stopped, text=text, **more)


def _frames_to_visit(project: Project, reader: FrameReader) -> int:
    """How many frames `Tracker.everywhere` yields: every frame once, and those that the backward pass visits again."""
    given = project.given_frames()
    return reader.end - reader.start + max(given) - reader.start - (len(given) - 1)
