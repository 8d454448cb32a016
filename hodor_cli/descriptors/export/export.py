"""Filling a descriptor file: every source that is not in it yet, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hodor_cli.descriptors.export.encode import FrameEncoder, object_rows
from hodor_cli.descriptors.export.sources import ExportSource
from hodor_cli.descriptors.store.schema import StoreInfo, VideoInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import HodorError, OutputError, UsageError

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor


@dataclass(frozen=True)
class ExportedVideo:
    """What became of one source: `skipped` if it was in the file already, `failed` with the reason."""

    name: str
    outcome: Literal["written", "skipped", "failed"]
    frames: int = 0
    rows: int = 0
    reason: str = ""


def store_info(model: Hodor) -> StoreInfo:
    """The root attributes of a store for this model."""
    from hodor_cli.weights.checkpoint import model_fingerprint

    return StoreInfo(model_fingerprint(model), model.config.descriptor_channels, model.config.name)


def export_sources(
    sources: Iterable[ExportSource],
    output: str | Path,
    encoder: FrameEncoder,
    *,
    thumbnails: bool = True,
    baseline: bool = True,
    progress: Callable[[ExportSource, int], None] | None = None,
    finished: Callable[[ExportedVideo], None] | None = None,
) -> list[ExportedVideo]:
    """Write the descriptors of all sources into one file, creating it or adding to it.

    A source whose content and settings are in the file already is skipped; one whose frames or masks have changed
    replaces the earlier one. A source that cannot be read, or whose name another result already has, is reported as
    failed and the others are exported; a kill loses at most the one in progress.

    Args:
        thumbnails, baseline: Keep each object's crop, and the mean of the backbone's features inside its mask.
        progress: Called with the source and the number of its frames done.
        finished: Called after each source.
    Raises:
        InputError: the file is damaged or holds another model's descriptors. OutputError: it cannot be written.
        UsageError: two sources have one name. Of a single source, whatever keeps it from being exported.
    """
    sources = list(sources)
    for name, count in Counter(source.name for source in sources).items():
        if count > 1:
            paths = " and ".join(source.result or source.path for source in sources if source.name == name)
            raise UsageError(
                f"two sources would both be called {name} ({paths}); export them one by one, each with a `name`"
            )
    results = []
    with StoreWriter(output, store_info(encoder.model)) as writer:
        for source in sources:
            try:
                result = _Export(writer, encoder, thumbnails, baseline, progress).run(source)
            except HodorError as error:
                if len(sources) == 1 or isinstance(error, OutputError):  # a full disk stops everything
                    raise
                result = ExportedVideo(source.name, "failed", reason=str(error))
            results.append(result)
            if finished is not None:
                finished(result)
    return results


@dataclass(frozen=True)
class _Export:
    writer: StoreWriter
    encoder: FrameEncoder
    thumbnails: bool
    baseline: bool
    progress: Callable[[ExportSource, int], None] | None

    def run(self, source: ExportSource) -> ExportedVideo:
        """Write one source unless it is in the file already."""
        kept = {"thumbnails": self.thumbnails, "baseline": self.baseline}
        info = VideoInfo(
            name=source.name,
            source=source.path,
            height=source.height,
            width=source.width,
            fps=source.fps,
            content_hash=source.hash_content(),
            model_fingerprint=self.writer.info.model_fingerprint,
            settings={**source.settings, **self.encoder.settings(), **kept},
            kind=source.kind,
            result=source.result,
        )
        if self.writer.has(info):
            return ExportedVideo(source.name, "skipped")
        frames = rows = 0
        with self.writer.video(info) as video:
            for frame in source.frames():
                encoded = self.encoder.encode(frame.image, frame.masks)
                features = encoded.baseline if self.baseline else None
                added = object_rows(frame, encoded.objects, features, thumbnails=self.thumbnails)
                video.add_frame(frame.index, added, encoded.background)
                frames, rows = frames + 1, rows + len(added)
                if self.progress is not None:
                    self.progress(source, frames)
        return ExportedVideo(source.name, "written", frames, rows)
