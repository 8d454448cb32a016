"""What descriptors add to a run of `segment`: starting from stored objects, recording in the same pass, watching."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hodor_cli.descriptors.export.encode import FeatureTap, object_rows
from hodor_cli.descriptors.export.export import store_info
from hodor_cli.descriptors.export.sources import LabelledFrame, content_files, hash_files, reading_of
from hodor_cli.descriptors.search.projection import projection_for
from hodor_cli.descriptors.search.query import parse_reference, queries_of_store, spread
from hodor_cli.descriptors.session.recognition import Recognition
from hodor_cli.descriptors.session.watches import DriftMonitor, Note
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.descriptors.store.schema import VideoInfo
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.engine import Segmenter, StepResult
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.paths import path_text
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.weights.checkpoint import model_fingerprint

#: Most descriptors of a saved object that a run starts from.
MOST_ROWS = 8


class DescriptorSession(AbstractContextManager["DescriptorSession"]):
    """A context in which `segment_source` runs, with the context's `segmenter` and `on_step`.

    Within the context, the segmenter's saved state includes that of the watches over drift and identity, so that a
    resumed run reports the same.

        with DescriptorSession(segmenter, known=["objects.h5#bear/1"]) as session:
            session.recorder = DescriptorRecorder("new.h5", source, segmenter, masks, start_from=session.start_from)
            segment_source(source, RunInputs(masks), out, session.segmenter, hooks=RunHooks(on_step=session.on_step))

    Args:
        segmenter: A segmenter without objects; it starts from the objects of `known`, if any.
        known: "FILE.h5#VIDEO/ID" or "FILE.h5#VIDEO" arguments.
        projection: File written by `fit_projection`, used to recognise the objects of `known`; by default the
            package's own projection for these weights, if there is one.
    Raises:
        InputError, UsageError: an argument names no stored object, or one saved with other weights.
    """

    def __init__(self, segmenter: Segmenter, *, known: Sequence[str] = (), projection: Path | None = None) -> None:
        #: For the run's settings: the `known` arguments and a hash of their descriptors.
        self.start_from = ""
        #: Also adds the video to a descriptor file, in the same pass; set it before the run.
        self.recorder: DescriptorRecorder | None = None
        #: Checks whether the objects found look like the saved ones; None without `known`.
        self.recognition: Recognition | None = None
        if projection is not None and not known:
            raise UsageError("`projection` is used to recognise the objects of `known`; give `known` as well")
        if known:
            self.recognition, digest = start_from_store(segmenter, known, projection)
            self.start_from = f"{' '.join(known)} sha256:{digest}"
        self._watches: dict[str, DriftMonitor | Recognition] = {"drift": DriftMonitor()}
        if self.recognition is not None:
            self._watches["recognition"] = self.recognition
        self.segmenter = segmenter
        segmenter.watches |= self._watches

    def on_step(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> list[Note]:
        """Record a frame, and return its objects to review."""
        if self.recorder is not None:
            self.recorder.on_step(frame, result, segmenter)
        return [note for watch in self._watches.values() for note in watch.review(frame, result, segmenter)]

    def __exit__(self, *error: Any) -> None:
        for name in self._watches:
            self.segmenter.watches.pop(name, None)
        if self.recognition is not None:
            self.recognition.close()
        if self.recorder is not None:
            self.recorder.__exit__(*error)


def start_from_store(
    segmenter: Segmenter, arguments: Sequence[str], projection_file: Path | None = None
) -> tuple[Recognition, str]:
    """Let a segmenter follow the objects that "FILE.h5#VIDEO/ID" arguments name.

    At most `MOST_ROWS` descriptors of each object are used, spread evenly over its frames. Ids are kept if they are all
    different and at most 65,535 (photographs have larger ones); otherwise objects are numbered from 1. The background
    (9, C) is taken from the last frame of the first argument's video, because even another scene's is better than none
    (`benchmarks/from_descriptors.py`).

    Returns the watch that recognises them, and a hash of the descriptors. Raises InputError if they do not exist or
    were saved with other weights than the segmenter's, UsageError if one is named twice.
    """
    queries = [query for argument in arguments for query in queries_of_store(argument)]
    fingerprint = model_fingerprint(segmenter.model)
    if other := next((query for query in queries if query.model_fingerprint != fingerprint), None):
        raise InputError(
            f"{other.store}#{other.label} was saved with other weights; give those as `weights`, or export it again"
        )
    names = [f"{query.label} of the descriptor file {query.store}" for query in queries]
    if twice := next((name for index, name in enumerate(names) if name in names[:index]), None):
        raise UsageError(f"{twice} is named twice; name each object once")
    ids = [query.object_id for query in queries]
    keep = len(set(ids)) == len(ids) and max(ids) <= MAX_ID
    known = dict(zip(ids if keep else range(1, len(ids) + 1), queries, strict=True))
    objects = {key: spread(query.descriptors, MOST_ROWS) for key, query in known.items()}
    baseline = {key: spread(query.baseline, MOST_ROWS) for key, query in known.items() if query.baseline is not None}
    path, video, _ = parse_reference(arguments[0])
    with DescriptorStore(path) as store:
        saved, _ = store.background(video)
    if not len(saved):
        raise InputError(f"{path} has no background descriptors for {video}; export it again")
    background = saved[-1]
    segmenter.start_from(objects, background)
    digest = hashlib.sha256(background.tobytes())
    for key, value in objects.items():
        digest.update(f"{key}{value.shape}".encode() + value.tobytes())
    projection = projection_for(fingerprint, projection_file) if baseline.keys() == objects.keys() else None
    if projection is None and projection_file is not None:
        missing = next(f"{query.store}#{query.label}" for key, query in known.items() if key not in baseline)
        raise InputError(f"{missing} has no baseline features, which `projection` needs; export it again")
    tap = FeatureTap(segmenter) if projection is not None else None
    saved_as = dict(zip(known, names, strict=True))
    recognition = Recognition(objects, background, baseline=baseline, projection=projection, tap=tap, saved_as=saved_as)
    return recognition, digest.hexdigest()


class DescriptorRecorder(AbstractContextManager["DescriptorRecorder"]):
    """Writes the objects that a segmenter finds into a descriptor file.

    The video appears in the file when the block ends without an exception. A resumed run, which starts in the middle,
    cannot be recorded whole; then nothing is written and `incomplete` is True. masks, prompts, start_from: what starts
    and ends the objects (label maps by frame; boxes, clicks and removals; saved objects), so that the same run is
    recognised again. result: the run's result folder, which distinguishes results of the same video. `renamed` is then
    the name that the video had in the file before it was renamed, if any. Raises UsageError if the file has another
    result of the same name, InputError and OutputError as `StoreWriter` does.
    """

    def __init__(
        self,
        path: str | Path,
        source: FrameSource,
        segmenter: Segmenter,
        masks: Mapping[int, ArrayLike] | None = None,
        *,
        prompts: Sequence[object] = (),
        result: Path | None = None,
        start_from: str = "",
    ) -> None:
        self.incomplete = self._started = False
        self.rows, self.renamed = 0, ""
        self._first = source.start
        info = store_info(segmenter.model)
        dims = {"history": segmenter.history, "min_dim": segmenter.min_dim, "max_dim": segmenter.max_dim}
        settings = {"every": 1, **dims, **reading_of(source), "start_from": start_from}
        video = VideoInfo(
            source.name, source.label if source.place is None else path_text(source.place), source.height,
            source.width, source.fps, _content_hash(source, masks or {}, prompts), info.model_fingerprint, settings,
            kind="segment", result="" if result is None else path_text(result.resolve()),
        )  # fmt: skip
        with ExitStack() as stack:
            writer = stack.enter_context(StoreWriter(path, info))
            if video.name not in writer.videos:
                stack.push(lambda kind, *_: self._drop_renamed(writer, complete=kind is None))
            try:
                self._video = stack.enter_context(writer.video(video))
            except UsageError:
                raise UsageError(
                    f"{path} already has another result of {video.name}, which this one would replace; write it to "
                    "another file, or export it afterwards under another name (`export_sources`)"
                ) from None
            self._tap = stack.enter_context(closing(FeatureTap(segmenter)))
            self._opened = stack.pop_all()

    def on_step(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> None:
        """Record one frame; objects that are lost in it get no row."""
        if not self._started:
            self._started, self.incomplete = True, frame.index > self._first
        if self.incomplete:
            return
        found = segmenter.descriptors()
        masks = {key: mask for key, mask in masks_of_labels(result.labels).items() if key in found.objects}
        confidence = {key: value.confidence for key, value in result.objects.items()}
        labelled = LabelledFrame(frame.index, frame.image, masks, confidence, time=frame.time)
        rows = object_rows(labelled, found.objects, self._tap.means(masks))
        # Without objects the network has not run, and the background is an earlier frame's.
        self._video.add_frame(frame.index, rows, found.background if result.objects else None)
        self.rows += len(rows)

    def __exit__(self, *error: Any) -> None:
        """Put the video into the file, or discard it if it is incomplete, and close the file."""
        # Resuming a finished run yields no frames at all.
        self.incomplete = self.incomplete or not self._started
        if self.incomplete:
            self._video.discard()
        self._opened.__exit__(*error)

    def _drop_renamed(self, writer: StoreWriter, *, complete: bool) -> None:
        if complete and not self.incomplete:
            self.renamed = writer.drop_renamed(self._video.info.name)


def _content_hash(source: FrameSource, masks: Mapping[int, ArrayLike], prompts: Sequence[object]) -> str:
    digest = hashlib.sha256(hash_files(content_files(source.place)).encode())
    digest.update(repr((source.start, source.end, *prompts)).encode())
    for frame, given in sorted(masks.items()):
        labels = np.asarray(given)
        digest.update(f"{frame}{labels.shape}".encode())
        digest.update(labels.astype("uint16").tobytes())
    return digest.hexdigest()
