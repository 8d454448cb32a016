"""Filling a descriptor file: every source that is not in it yet, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hodor_cli.descriptors.export.encode import FrameEncoder, object_rows
from hodor_cli.descriptors.export.sources import ExportSource
from hodor_cli.descriptors.store.schema import StoreInfo, VideoInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import HodorError, UsageError

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
    model: Hodor,
    *,
    min_dim: int | None = None,
    max_dim: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    thumbnails: bool = True,
    baseline: bool = True,
    progress: Callable[[ExportSource, int], None] | None = None,
    finished: Callable[[ExportedVideo], None] | None = None,
) -> list[ExportedVideo]:
    """Write the descriptors of all sources into one file, creating it or adding to it.

    A source whose content and settings are in the file already is skipped, a changed one replaces the earlier one. A
    source that cannot be read is reported as failed and the others go on; a kill loses at most the one in progress.

    Args:
        thumbnails, baseline: Keep each object's crop, and the mean of the backbone's features inside its mask.
        progress: Called with the source and the number of its frames done.
        finished: Called after each source.
    Raises:
        InputError: the file is damaged or holds another model's descriptors. OutputError: it cannot be written.
        UsageError: two sources have one name.
    """
    sources = list(sources)
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            paths = " and ".join(source.path for source in sources if source.name == name)
            raise UsageError(f"two sources would both be called {name} ({paths}); export them one by one with --name")
    encoder = FrameEncoder(model, min_dim=min_dim, max_dim=max_dim, device=device, precision=precision)
    results = []
    with StoreWriter(output, store_info(model)) as writer:
        for source in sources:
            try:
                result = _export_one(source, writer, encoder, thumbnails, baseline, progress)
            except HodorError as error:
                if len(sources) == 1 or error.exit_code == 6:  # a full disk stops everything
                    raise
                result = ExportedVideo(source.name, "failed", reason=str(error))
            results.append(result)
            if finished is not None:
                finished(result)
    return results


def _export_one(
    source: ExportSource,
    writer: StoreWriter,
    encoder: FrameEncoder,
    thumbnails: bool,
    baseline: bool,
    progress: Callable[[ExportSource, int], None] | None,
) -> ExportedVideo:
    info = VideoInfo(
        name=source.name,
        source=source.path,
        height=source.height,
        width=source.width,
        fps=source.fps,
        content_hash=source.hash_content(),
        model_fingerprint=writer.info.model_fingerprint,
        settings={**source.settings, **encoder.settings(), "thumbnails": thumbnails, "baseline": baseline},
        kind=source.kind,
    )
    if writer.has(info):
        return ExportedVideo(source.name, "skipped")
    frames = rows = 0
    with writer.video(info) as video:
        for frame in source.frames():
            encoded = encoder.encode(frame.image, frame.masks)
            added = object_rows(
                frame.image,
                frame.masks,
                encoded.objects,
                confidence=frame.confidence,
                baseline=encoded.baseline if baseline else None,
                thumbnails=thumbnails,
                image_name=frame.image_name,
                categories=frame.categories,
            )
            video.add_frame(frame.index, added, encoded.background)
            frames, rows = frames + 1, rows + len(added)
            if progress is not None:
                progress(source, frames)
    return ExportedVideo(source.name, "written", frames, rows)
