"""Exports the result of a run to the formats of other tools: `hodor export` and `segment --export`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.errors import InputError, UsageError
from hodor_cli.files import harmless
from hodor_cli.formats.annotations import Annotations, Picture, shapes_of
from hodor_cli.formats.recognise import Writer, writer_of
from hodor_cli.formats.tables import detections_of
from hodor_cli.formats.writing import new_folder, require_free
from hodor_cli.images.label_png import MAX_ID, read_label_png
from hodor_cli.images.listing import files_by_frame, list_pictures
from hodor_cli.images.paths import as_path, listed, require_exists
from hodor_cli.records import Report, read_result
from hodor_cli.run.output import OutputFolder
from hodor_cli.settings import options_of
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.source import open_again


@dataclass(frozen=True)
class ExportOptions:
    """How a result is exported.

    out: the folder that gets a subfolder for each format; RESULT/export if None. overwrite: replace earlier exports.
    tolerance: how far, in pixels, polygons may deviate from the edge of a mask (0: exact, with many points). frames:
    also write the pictures. names: object id -> name, used instead of the report's. source: the video or folder of the
    run, if it was moved. objects: write only these; all if empty. each: called for each frame that is read; an
    exception that it raises ends the export. warn: called with a sentence about anything that is missing from an
    export, such as sound. again: what the error about a full disk says to do once it has room again.
    """

    out: Path | None = None
    overwrite: bool = False
    tolerance: float = 0.0
    frames: bool = False
    names: Mapping[int, str] = field(default_factory=dict)
    source: str | None = None
    objects: Collection[int] = ()
    each: Callable[[], object] = lambda: None
    warn: Callable[[str], object] = lambda sentence: None
    again: str = "run the same again"

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", as_path(self.out, "`out`"))  # callers may pass text
        if not 0 <= self.tolerance < math.inf:
            raise UsageError(f"`tolerance` must be at least 0 pixels, not {self.tolerance}")


class _Pictures(Collection[Picture]):
    """The frames of a result, read one by one, with pictures if there is a `source`."""

    def __init__(
        self, folder: OutputFolder, result: Report, options: ExportOptions, source: FrameSource | None
    ) -> None:
        self._folder, self._result, self._source, self._each = folder, result, source, options.each
        self._objects = list(options.objects)
        self.names = {**result.names, **options.names}
        place = options.source or result.place.get("source", "")
        self._files = files_by_frame(list_pictures(Path(place))[0]) if place and Path(place).is_dir() else {}

    def __len__(self) -> int:
        return len(self._result.frames)

    def __contains__(self, item: object) -> bool:
        return any(picture is item for picture in self)

    def __iter__(self) -> Iterator[Picture]:
        frames: Iterator[Frame] = iter(self._source or ())
        for record in self._result.frames:
            self._each()
            labels = read_label_png(mask := self._folder.mask(record.name))
            if labels.shape != self._result.source.size:
                raise InputError(f"{mask} is not of the frames' size; recompute it: `segment_source` with `overwrite`")
            image = duration = None
            if self._source is not None:
                found = next((frame for frame in frames if frame.index == record.frame), None)
                if found is None or found.picture.shape[:2] != labels.shape:
                    raise InputError(
                        f"frame {record.frame} of {self._source.label} is missing or is not as large as its mask; give "
                        "the video of this result with `source`"
                    )
                image, duration = found.image, found.duration
            if self._objects:
                labels[~np.isin(labels, self._objects)] = 0
            file = self._files.get(record.name)
            yield Picture(
                file.name if file and image is not None else record.name, self._result.source.size,
                shapes_of(labels, self.names), record.frame, record.time, file=file, image=image, duration=duration,
            )  # fmt: skip


def export_result(
    result: str | Path, formats: str | Sequence[str], options: ExportOptions | None = None
) -> dict[str, Path]:
    """Write the masks of a finished run in one or more formats (`hodor export --to list`). Returns format -> folder.

        export_result("clip.hodor", ["coco", "csv"])

    Raises UsageError for an unknown format, InputError if `result` is not a finished result, or if its video is missing
    and a format needs it or `source` names it, OutputError if an export exists already.
    """
    options = options_of(ExportOptions, options, "options")
    writers = [writer_of(name) for name in dict.fromkeys([formats] if isinstance(formats, str) else formats)]
    folder = OutputFolder(as_path(result, "`result`"))
    places = {writer.name: (options.out or folder.exports) / writer.name for writer in writers}
    for place in places.values():
        require_free(place, overwrite=options.overwrite)
    report = read_result(folder.root)
    require_named(options.names, report.objects)
    require_named(options.objects, report.objects, "export")
    confidence = {(frame.frame, key): seen.confidence for frame in report.frames for key, seen in frame.objects.items()}
    with _opened(report, writers, options) as source:
        for writer in writers:
            if options.frames and not writer.pictures:
                options.warn(f"{writer.name} cannot have the pictures next to the result, so none are written there")
            frames, place = options.frames and writer.pictures, places[writer.name]
            wants = source if frames or writer.media else None
            with new_folder(
                place, tolerance=options.tolerance, frames=frames, overwrite=options.overwrite, again=options.again
            ) as out:
                pictures = _Pictures(folder, report, options, wants)
                annotations = Annotations(
                    "hodor", folder.root, pictures, names=pictures.names, video=report.source.name,
                    fps=report.source.fps, confidence=confidence, source=wants,
                )  # fmt: skip
                writer.write(annotations, out)
        for sentence in source.warnings if source is not None else ():
            if sentence not in report.warnings:
                options.warn(sentence)
    return places


def detections(result: Path) -> Iterator[Any]:
    """`supervision.Detections` of every frame of a finished result, in order. Raises InputError."""
    folder = OutputFolder(result)
    report = read_result(folder.root)
    for record in report.frames:
        labels = read_label_png(folder.mask(record.name))
        confidence = {key: seen.confidence for key, seen in record.objects.items()}
        yield detections_of(labels, confidence, report.names)


def require_exportable(result: Path, formats: Sequence[str], source: FrameSource, *, overwrite: bool) -> None:
    """Raise UsageError or OutputError before a run if its result could not be exported afterwards."""
    for name in formats:
        if writer_of(name).media and not source.reiterable:
            raise UsageError(f"{name} reads {source.label} again, which is impossible; save the video first")
        require_free(OutputFolder(result).exports / writer_of(name).name, overwrite=overwrite)


def _opened(report: Report, writers: Sequence[Writer], options: ExportOptions) -> Any:
    """The opened source of the run if an export needs it; otherwise a context that yields None."""
    media = [writer.name for writer in writers if writer.media]
    if not media and not options.frames:
        if options.source is not None:
            require_exists(Path(options.source), "video")
        return nullcontext()
    place = options.source or report.place.get("source", "")
    if not place or not Path(place).exists() or (Path(place).is_dir() and not any(Path(place).iterdir())):
        what, where = ", ".join(media) or "`frames`", f"not at {place}" if place else "not named in its report"
        raise InputError(f"{what} needs the video of the run, which is {where}; give `source`")
    return open_again(report, place)[0]


def require_named(names: Iterable[int], objects: Collection[int], what: str = "name") -> None:
    """Raise UsageError if a named object is not among `objects`. what: to do with it, for the message."""
    if unknown := sorted(set(names).difference(objects)):
        raise UsageError(f"there is no object {unknown[0]} to {what}; the ids are {listed(sorted(objects), 8)}")


def names_of(arguments: Sequence[str]) -> dict[int, str]:
    """Parse texts "ID=NAME" into object id -> name. Raises UsageError for any other text."""
    names: dict[int, str] = {}
    for argument in arguments:
        number, sign, name = argument.partition("=")
        if not sign or not name.strip() or not number.strip().isdecimal() or not 0 < int(number) <= MAX_ID:
            raise UsageError(f"{argument!r} is not a valid name; give ID=NAME, for example 1=mug")
        names[int(number)] = harmless(name.strip())
    return names
