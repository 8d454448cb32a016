"""Filling a descriptor file: every source that is not in it yet, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hodor_cli.descriptors.export.encode import FrameEncoder, object_rows
from hodor_cli.descriptors.export.sources import ExportSource, hash_files
from hodor_cli.descriptors.store.schema import StoreInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import HodorError, OutputError, UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.weights.checkpoint import model_fingerprint


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

    thumbnails, baseline: keep each object's crop, and the mean of the backbone's features inside its mask. progress:
    called with the source and the number of its frames done. Raises InputError if the file is damaged or holds another
    model's descriptors, OutputError if it cannot be written, UsageError if two sources have one name; and of a single
    source, whatever keeps it from being exported.
    """
    sources = list(sources)
    for name, count in Counter(source.info.name for source in sources).items():
        if count > 1:
            same = (source.info for source in sources if source.info.name == name)
            paths = " and ".join(info.result or info.source for info in same)
            raise UsageError(
                f"two sources would both be called {name} ({paths}); export them one by one, each with a `name`"
            )
    results = []
    kept = {"thumbnails": thumbnails, "baseline": baseline}
    with StoreWriter(output, store_info(encoder.model)) as writer:
        for source in sources:
            try:
                result = _export(source, writer, encoder, kept, progress)
            except HodorError as error:
                if len(sources) == 1 or isinstance(error, OutputError):  # a full disk stops everything
                    raise
                result = ExportedVideo(source.info.name, "failed", reason=str(error))
            results.append(result)
            if finished is not None:
                finished(result)
    return results


def _export(
    source: ExportSource,
    writer: StoreWriter,
    encoder: FrameEncoder,
    kept: Mapping[str, bool],
    progress: Callable[[ExportSource, int], None] | None,
) -> ExportedVideo:
    """Write one source unless it is in the file already."""
    info = replace(
        source.info,
        content_hash=hash_files(source.files()),
        model_fingerprint=writer.info.model_fingerprint,
        settings={**source.info.settings, **encoder.settings(), **kept},
    )
    if writer.has(info):
        return ExportedVideo(info.name, "skipped")
    frames = rows = 0
    with writer.video(info) as video:
        for frame in source.frames():
            encoded = encoder.encode(frame.image, frame.masks)
            features = encoded.baseline if kept["baseline"] else None
            added = object_rows(frame, encoded.objects, features, thumbnails=kept["thumbnails"])
            video.add_frame(frame.index, added, encoded.background)
            frames, rows = frames + 1, rows + len(added)
            if progress is not None:
                progress(source, frames)
    return ExportedVideo(info.name, "written", frames, rows)
