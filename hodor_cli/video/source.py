"""`open_source` opens a video file, a folder of images, a camera, or a video on standard input; `open_again` opens that
of an earlier run, and `content_hash` shows whether it is still the same."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import sys
from contextlib import suppress
from numbers import Integral
from os.path import exists
from pathlib import Path

from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.listing import list_pictures
from hodor_cli.images.paths import reading_file, require_exists
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header
from hodor_cli.images.value_range import ValueRange
from hodor_cli.records import ReportRecord
from hodor_cli.video.camera import CameraSource
from hodor_cli.video.dicom import DicomSource, dicom_files, is_dicom
from hodor_cli.video.file import VideoFileSource, VideoPipeSource
from hodor_cli.video.frames import FrameSource, ReadSettings
from hodor_cli.video.image_folder import ImageFolderSource, PictureStackSource, count_pages

#: Files with these suffixes are read by the video decoder, unless `count_pages` finds pages in them.
_ALSO_VIDEOS = {".gif", ".avif"}
_SAMPLE_BYTES = 1 << 20  # hashed at the start, middle and end of a video file


def open_source(
    path_or_camera: str | os.PathLike[str] | int,
    *,
    start: int = 0,
    end: int | None = None,
    value_range: tuple[float, float] | None = None,
    axes: str | None = None,
) -> FrameSource:
    """Open a source of frames and check that it can be read.

        with open_source("clip.mp4", start=100) as source:
            frames = [frame.image for frame in source]

    path_or_camera: a video file, a folder of images or of DICOM files, a file of many pictures (TIFF, DICOM, animated
        WebP, PNG or AVIF), a photo (one frame), a camera index (0 or "0"; a file or folder of that name takes
        precedence), or "-" for a video on standard input. A folder whose only picture is a file of many pictures is
        read like that file.
    start, end: read the frames start <= index < end, counted from 0; end None: to the last.
    value_range: the values that become black and white in pictures of more than 8 bits; measured by default.
    axes: for a TIFF with several axes, the time axis and the position on each other axis: "T,Z=3,C=0".

    Raises `InputError` if the source is missing, unreadable, empty, a URL or a playlist, or if `start` is past its end.
    Raises `UsageError` for an impossible range.
    """
    if not isinstance(path_or_camera, str | os.PathLike | Integral):
        raise UsageError(
            f"a source is a path or a camera, not a {type(path_or_camera).__name__}; pass frames to `Segmenter.step`"
        )
    text = str(path_or_camera) if isinstance(path_or_camera, Integral) else os.fsdecode(path_or_camera)
    settings = ReadSettings(start, end, None if value_range is None else ValueRange.of(value_range), axes)
    if isinstance(path_or_camera, int) and not isinstance(path_or_camera, bool):
        return CameraSource(path_or_camera, settings)
    if not text.strip():
        raise UsageError("the source is empty; give a video file, a folder of images, a camera index, or - for a pipe")
    if text == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError('"-" reads a video from standard input, but nothing is piped into it')
        return VideoPipeSource(sys.stdin.buffer, "standard input", "stdin", settings)
    path = Path(text)
    with suppress(RuntimeError):  # "~name" of a user that does not exist
        path = path.expanduser()
    if text.isascii() and text.isdigit() and not exists(path):
        return CameraSource(int(text), settings)
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) and not exists(path):
        pipe = f"`ffmpeg -i {shlex.quote(text)} -c copy -f matroska -`"
        raise InputError(f"{text} is a URL; download the video and give the file, or pipe {pipe} into -")
    require_exists(path, "video, folder or camera")
    source = _open_path(path, settings)
    if axes is not None and not isinstance(source, PictureStackSource):
        raise UsageError(f"`axes` is only for a TIFF with many pages, which {path} is not")
    return source


def _open_path(path: Path, settings: ReadSettings) -> FrameSource:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        files, _ = list_pictures(path)
        if len(files) == 1 and read_header(files[0]).pages > 1:
            return _open_path(files[0], settings)
        if not files and (series := dicom_files(path)):
            return DicomSource(path, series, settings)
        return ImageFolderSource(path, settings)
    if stat.S_ISCHR(mode) and path.name.startswith("video") and path.name[5:].isdigit():  # /dev/video0
        return CameraSource(int(path.name[5:]), settings)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):  # a named pipe, <(command), /dev/stdin
        with reading_file(path):
            pipe = path.open("rb")
        return VideoPipeSource(pipe, str(path), path.stem, settings)
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is neither a file nor a folder")
    pages, suffix = count_pages(path), path.suffix.lower()
    if pages > 1 or (suffix in PICTURE_SUFFIXES and (pages or suffix not in _ALSO_VIDEOS)):
        return PictureStackSource(path, settings)
    if is_dicom(path):
        return DicomSource(path, [path], settings)
    return VideoFileSource(path, settings)


def content_hash(source: FrameSource) -> str | None:
    """A fingerprint of a video file (size and samples of its bytes) or an image folder (names and sizes); else None.

    It is taken when it is first asked for, because the files may be gone later.
    """
    if source.content is None:
        source.content = _hash_now(source)
    return source.content


def _hash_now(source: FrameSource) -> str | None:
    digest = hashlib.sha256()
    if source.kind == "folder" and hasattr(source, "files"):
        for file in source.files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
    if source.kind != "video" or source.place is None or not source.place.is_file():
        return None
    size = source.place.stat().st_size
    digest.update(str(size).encode())
    with source.place.open("rb") as file:
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
