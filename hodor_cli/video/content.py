"""Whether a video is still the one that was read before, and opening the one of a run again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hodor_cli.records import ReportRecord
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.source import open_source

_SAMPLE_BYTES = 1 << 20  # hashed at the start, middle and end of a video file


def content_hash(source: FrameSource) -> str | None:
    """A fingerprint of a video file (size and samples of its bytes) or an image folder (names and sizes); else None."""
    digest = hashlib.sha256()
    if source.kind == "folder" and hasattr(source, "files"):
        for file in source.files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
    path = getattr(source, "path", None)
    if source.kind != "video" or path is None or not Path(path).is_file():
        return None
    size = Path(path).stat().st_size
    digest.update(str(size).encode())
    with Path(path).open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def open_again(report: ReportRecord, place: Path | str) -> tuple[FrameSource, bool]:
    """The source of a run, opened with the run's options, and whether its content is the same; if not, it warns.

    place: where it is now. Raises as `open_source` does.
    """
    then, axes = report.source, report.axes_at(place)
    source = open_source(place, start=then.start, end=then.end, value_range=then.value_range, axes=axes)
    same = content_hash(source) == then.content
    if not same and then.content is not None:  # older reports have none
        source.warn(f"{source.label} is not as it was when the masks were made; segment it again unless they fit")
    return source, same
