"""What can be exported: frames with their masks, from a video, a result folder, a data set or photographs.

A source names itself, says by a content hash what it holds, and streams labelled frames; nothing is decoded before it
is known that the store needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.masks import match_mask_folder
from hodor_cli.descriptors.export.encode import LabelledFrame
from hodor_cli.descriptors.store.crops import check_masks, masks_of_labels
from hodor_cli.errors import InputError
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.source import open_source

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ExportSource:
    """One future video of a store.

    `frames` opens and streams it; `hash_content` reads its files' bytes, not its pixels. path: where its frames are;
    result: where its masks are. notes: sentences for the user on how masks and frames were matched.
    """

    name: str
    path: str
    kind: str
    height: int
    width: int
    fps: float
    length: int | None
    frames: Callable[[], Iterator[LabelledFrame]]
    hash_content: Callable[[], str]
    settings: dict[str, Any] = field(default_factory=dict)
    result: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DescriptorExportOptions:
    """every: keep every so many frames (or photographs). name: of the video in the store, its own by default."""

    every: int = 1
    name: str | None = None


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 over names and bytes of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(f"\0{path.name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check the file") from None
    return digest.hexdigest()


def content_files(path: Path) -> list[Path]:
    """The files of a video or of a folder of frames; none for what is no file, such as a camera."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path.is_file() else []


def video_with_masks(
    source: FrameSource,
    path: Path,
    masks: Path,
    options: DescriptorExportOptions = DescriptorExportOptions(),
    *,
    confidence: Mapping[int, Mapping[int, float]] | None = None,
    kind: str = "video",
) -> ExportSource:
    """A video file or a folder of frames with a folder of masks named like its frames, or one mask for frame 0.

    Frames without a mask file are passed over. confidence: {frame: {object id: 0..1}} where the masks are predictions.
    Raises InputError if no mask belongs to any frame.
    """
    if masks.is_dir():
        files, notes = match_mask_folder(masks, source)
    elif masks.is_file():
        files, notes = {source.start: masks}, []
    else:
        raise InputError(f"no such mask file or folder: {masks}; give a folder of masks named like the frames")

    def frames() -> Iterator[LabelledFrame]:
        reader = LabelReader(masks.name)
        last = max(files)
        for frame in source:
            if frame.index in files and frame.index % options.every == 0:
                labels = reader.read(files[frame.index]).ids
                check_masks({0: labels > 0}, frame.image, str(files[frame.index]))
                objects = masks_of_labels(labels)
                yield LabelledFrame(frame.index, frame.image, objects, (confidence or {}).get(frame.index))
            if frame.index >= last:
                return

    return ExportSource(
        name=options.name or source.name,
        path=str(path.resolve()),
        kind=kind,
        height=source.height,
        width=source.width,
        fps=source.fps,
        length=source.length,
        frames=frames,
        hash_content=lambda: hash_files([*content_files(path), *files.values()]),
        settings={"every": options.every},
        result=str((masks.parent if kind == "segment" else masks).resolve()),
        notes=tuple(notes),
    )


class _ObjectReport(msgspec.Struct, frozen=True):
    confidence: float = 1.0


class _FrameReport(msgspec.Struct, frozen=True):
    frame: int
    objects: dict[int, _ObjectReport]


class _Named(msgspec.Struct, frozen=True):
    name: str = ""
    source: str | None = None


class _Report(msgspec.Struct, frozen=True):
    """What export needs of `report.json`."""

    frames: list[_FrameReport]
    source: _Named = _Named()
    place: _Named = _Named()


def is_segment_result(folder: Path) -> bool:
    """True for a folder that a finished `hodor segment` made."""
    return (folder / "report.json").is_file() and (folder / "masks").is_dir()


def segment_result(
    folder: Path, video: Path | None, options: DescriptorExportOptions = DescriptorExportOptions()
) -> ExportSource:
    """The masks in `folder`/masks, with each object's confidence from report.json, on the video they were made from.

    video: where the video is; by default where the report says, or else beside the folder.
    Raises InputError if the video cannot be found or the report cannot be read.
    """
    file = folder / "report.json"
    try:
        report = msgspec.json.decode(file.read_bytes(), type=_Report)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} is not the report of a run ({error}); segment the video again") from None
    path = video or _find_video(folder, report)
    if path is None:
        raise InputError(f"{folder} does not say where its video is; give the video, and the folder as its `masks`")
    confidence = {
        frame.frame: {key: value.confidence for key, value in frame.objects.items()} for frame in report.frames
    }
    return video_with_masks(open_source(path), path, folder / "masks", options, confidence=confidence, kind="segment")


def _find_video(folder: Path, report: _Report) -> Path | None:
    if report.place.source and ((path := Path(report.place.source)).is_file() or path.is_dir()):
        return path
    # By default results lie in NAME.hodor beside NAME.mp4.
    name, folder = report.source.name, folder.resolve()
    beside = [path for path in folder.parent.glob("*") if name and path.stem == name and path != folder]
    videos = (".mp4", ".mov", ".avi", ".mkv", ".webm")
    candidates = [path for path in beside if path.is_dir() or path.suffix.lower() in videos]
    return candidates[0] if len(candidates) == 1 else None
