"""Saving descriptors while a video is being segmented, in the same pass."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hodor_cli.descriptors.export.encode import FeatureTap, LabelledFrame, object_rows
from hodor_cli.descriptors.export.export import store_info
from hodor_cli.descriptors.export.sources import content_files, hash_files
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.descriptors.store.schema import VideoInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import UsageError

if TYPE_CHECKING:
    from hodor_cli.engine import Segmenter, StepResult
    from hodor_cli.video.frames import Frame, FrameSource


@dataclass(frozen=True)
class RecordOptions:
    """What of a run is recorded, and under which name.

    name: the video's in the file, the source's by default. result: the run's result folder; the same run of another
    folder is a second result, which does not replace the first. settings: whatever else determines the descriptors, for
    the file's attributes. every: keep every so many frames. thumbnails, baseline: keep each object's crop, and the mean
    of the backbone's features inside its mask.
    """

    name: str | None = None
    result: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    every: int = 1
    thumbnails: bool = True
    baseline: bool = True


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
    Raises UsageError if the file has another result of the same name, InputError and OutputError as `StoreWriter`.
    """

    def __init__(
        self,
        path: str | Path,
        source: FrameSource,
        segmenter: Segmenter,
        masks: Mapping[int, Any] | None = None,
        options: RecordOptions = RecordOptions(),
    ) -> None:
        self.incomplete = False
        self.rows = 0
        self._options = options
        self._first = source.start
        self._started = False
        info = store_info(segmenter.model)
        label = Path(source.label)
        self._writer = StoreWriter(path, info)
        try:
            video = VideoInfo(
                name=options.name or source.name,
                source=str(label.resolve()) if label.exists() else source.label,
                height=source.height,
                width=source.width,
                fps=source.fps,
                content_hash=_content_hash(label, masks or {}),
                model_fingerprint=info.model_fingerprint,
                settings={
                    "every": options.every,
                    "history": segmenter.history,
                    "min_dim": segmenter.min_dim,
                    "max_dim": segmenter.max_dim,
                    **options.settings,
                },
                kind="segment",
                result="" if options.result is None else str(options.result.resolve()),
            )
            self._video = self._writer.video(video)
        except UsageError:
            self._writer.close()
            raise UsageError(
                f"{path} already has another result of {video.name}, which this one would replace; write it to another "
                "file, or export it afterwards under another name (`export_sources`)"
            ) from None
        except BaseException:
            self._writer.close()
            raise
        self._tap = FeatureTap(segmenter) if options.baseline else None

    def on_step(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> None:
        """Record one frame; objects that are lost in it get no row."""
        if not self._started:
            self._started, self.incomplete = True, frame.index > self._first
        if self.incomplete or frame.index % self._options.every:
            return
        found = segmenter.descriptors()
        masks = {key: mask for key, mask in masks_of_labels(result.labels).items() if key in found.objects}
        confidence = {key: value.confidence for key, value in result.objects.items()}
        rows = object_rows(
            LabelledFrame(frame.index, frame.image, masks, confidence),
            found.objects,
            self._tap.means(masks) if self._tap is not None else None,
            thumbnails=self._options.thumbnails,
        )
        # The descriptors are the newest frame's only if the network has run on it.
        self._video.add_frame(frame.index, rows, found.background if result.objects else None)
        self.rows += len(rows)

    def close(self, *, complete: bool = True) -> None:
        """Put the video into the file, or discard it if it is incomplete, and close the file."""
        if self._tap is not None:
            self._tap.close()
        # A finished run that was asked to resume gives no frames at all.
        self.incomplete = self.incomplete or not self._started
        try:
            if complete and not self.incomplete:
                with self._video:
                    pass
            else:
                self._video.discard()
        except BaseException as error:
            self._writer.__exit__(type(error), error, None)
            raise
        self._writer.close()

    def __enter__(self) -> DescriptorRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)


def _content_hash(path: Path, masks: Mapping[int, Any]) -> str:
    digest = hashlib.sha256(hash_files(content_files(path)).encode())
    for frame, given in sorted(masks.items()):
        labels = getattr(given, "labels", given)
        digest.update(f"{frame}{labels.shape}".encode())
        digest.update(labels.astype("uint16").tobytes())
    return digest.hexdigest()
