"""Saving descriptors while a video is being segmented, in the same pass."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hodor_cli.descriptors.export.encode import FeatureTap, object_rows
from hodor_cli.descriptors.export.export import store_info
from hodor_cli.descriptors.export.sources import LabelledFrame, content_files, hash_files
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.descriptors.store.schema import VideoInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import UsageError

if TYPE_CHECKING:
    from hodor_cli.engine import Segmenter, StepResult
    from hodor_cli.video.frames import Frame, FrameSource


class DescriptorRecorder:
    """Writes what a segmenter finds into a descriptor file; hand `on_step` to `segment_source`.

        with DescriptorRecorder("objects.h5", source, segmenter, masks) as recorder:
            segment_source(source, RunInputs(masks), out, segmenter, hooks=RunHooks(on_step=recorder.on_step))

    The video appears in the file when the block ends without an exception. A run that starts in the middle, because it
    is resumed, cannot be recorded whole: then nothing is written and `incomplete` is True.

    Args:
        path: The file, created or added to.
        source: What is being segmented.
        segmenter: What segments it.
        masks: {frame: label map} that started the objects, as `segment_source` takes them; part of the content hash.
        result: The run's result folder; the same run of another folder is a second result, which does not replace the
            first.
        start_from: What else started the objects, for the file's attributes.
    Raises UsageError if the file has another result of the same name, InputError and OutputError as `StoreWriter`.
    """

    def __init__(
        self,
        path: str | Path,
        source: FrameSource,
        segmenter: Segmenter,
        masks: Mapping[int, Any] | None = None,
        *,
        result: Path | None = None,
        start_from: str | None = None,
    ) -> None:
        self.incomplete = self._started = False
        self.rows = 0
        self._first = source.start
        info = store_info(segmenter.model)
        label = Path(source.label)
        dims = {"history": segmenter.history, "min_dim": segmenter.min_dim, "max_dim": segmenter.max_dim}
        settings = {"every": 1, **dims} | ({} if start_from is None else {"start_from": start_from})
        video = VideoInfo(
            source.name, str(label.resolve()) if label.exists() else source.label, source.height, source.width,
            source.fps, _content_hash(label, masks or {}), info.model_fingerprint, settings, kind="segment",
            result="" if result is None else str(result.resolve()),
        )  # fmt: skip
        with ExitStack() as stack:
            writer = stack.enter_context(StoreWriter(path, info))
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
        labelled = LabelledFrame(frame.index, frame.image, masks, confidence)
        rows = object_rows(labelled, found.objects, self._tap.means(masks))
        # The descriptors are the newest frame's only if the network has run on it.
        self._video.add_frame(frame.index, rows, found.background if result.objects else None)
        self.rows += len(rows)

    def __enter__(self) -> DescriptorRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the video into the file, or discard it if it is incomplete, and close the file."""
        # A finished run that was asked to resume gives no frames at all.
        self.incomplete = self.incomplete or not self._started
        if self.incomplete:
            self._video.discard()
        self._opened.__exit__(kind, error, trace)


def _content_hash(path: Path, masks: Mapping[int, Any]) -> str:
    digest = hashlib.sha256(hash_files(content_files(path)).encode())
    for frame, given in sorted(masks.items()):
        labels = getattr(given, "labels", given)
        digest.update(f"{frame}{labels.shape}".encode())
        digest.update(labels.astype("uint16").tobytes())
    return digest.hexdigest()
