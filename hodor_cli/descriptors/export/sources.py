"""What can be exported: frames with their masks, from a video, a result folder, a data set or photographs.

A source's files are hashed first; its frames are decoded only if the store does not have this content yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.matching import match_mask_folder
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.descriptors.store.schema import VideoInfo
from hodor_cli.errors import DataError, HodorError, InputError, UsageError
from hodor_cli.images.paths import path_text, reading_file, size_text, visible_folders
from hodor_cli.records import read_result
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.image_folder import VIDEO_SUFFIXES
from hodor_cli.video.source import open_again


@dataclass(frozen=True)
class LabelledFrame:
    """One frame: image (H, W, 3) uint8 RGB and masks {object id: (H, W) bool}, possibly none or overlapping.

    time: seconds from the start of the source, None for a photograph.
    """

    index: int
    image: NDArray[np.uint8]
    masks: Mapping[int, NDArray[np.bool_]]
    confidence: Mapping[int, float] = field(default_factory=dict)
    image_name: str | None = None
    categories: Mapping[int, str] = field(default_factory=dict)
    time: float | None = None


@dataclass(frozen=True)
class ExportSource:
    """A video to be exported into a store.

    info: its attributes, except content hash and model. frames: opens and streams it. files: the files that its content
    hash covers. length: the number of its frames, if known. notes: sentences for the user about how masks were matched
    to frames. warnings: returns sentences about problems met while reading so far.
    """

    info: VideoInfo
    frames: Callable[[], Iterator[LabelledFrame]]
    files: Callable[[], Sequence[Path]]
    length: int | None = None
    notes: tuple[str, ...] = ()
    warnings: Callable[[], Sequence[str]] = tuple


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the names and bytes of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with reading_file(path), path.open("rb") as file:
            digest.update(f"\0{path.name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def content_files(path: Path | None) -> list[Path]:
    """The files of a video or of a folder of frames; none for other sources, such as a camera."""
    if path is not None and path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path is not None and path.is_file() else []


def reading_of(source: FrameSource) -> dict[str, Any]:
    """The options of `open_source` that a source's pixels depend on, for `VideoInfo.settings`."""
    options = {"value_range": source.value_range, "axes": source.axes}
    return {name: value for name, value in options.items() if value is not None}


def video_with_masks(
    source: FrameSource,
    path: Path,
    masks: Path | Mapping[int, Path],
    *,
    every: int = 1,
    name: str | None = None,
    confidence: Mapping[int, Mapping[int, float]] | None = None,
    kind: str = "video",
) -> ExportSource:
    """A video file or a folder of frames with a folder of masks named like its frames, one mask for frame 0, or the
    masks by frame, all from the same folder.

    Frames without a mask file are skipped. every: keep only frames whose index is a multiple of it. name: what to call
    the video in the store, by default the source's name. confidence: {frame: {object id: 0..1}} if the masks are
    predictions. Raises InputError if no mask belongs to any frame.
    """
    notes: list[str] = []
    if not isinstance(masks, Path):
        files, masks = dict(masks), next(iter(masks.values())).parent
    elif masks.is_dir():
        files, notes = match_mask_folder(masks, source, "give the file of frame 0 alone")
    elif masks.is_file():
        files = {source.start: masks}
    else:
        raise InputError(f"no such mask file or folder: {masks}; give a folder of masks named like the frames")

    def frames() -> Iterator[LabelledFrame]:
        reader = LabelReader(masks.name)
        last = max(files)
        for frame in source:
            if frame.index in files and frame.index % every == 0:
                labels = reader.read(files[frame.index]).ids
                if labels.shape != frame.image.shape[:2]:
                    sizes = f"{size_text(labels.shape)} and the image {size_text(frame.image.shape)}"
                    raise InputError(f"{files[frame.index]}: the mask is {sizes} pixels; give one of the image's size")
                found = (confidence or {}).get(frame.index, {})
                yield LabelledFrame(frame.index, frame.image, masks_of_labels(labels), found, time=frame.time)
            if frame.index >= last:
                return

    info = VideoInfo(
        path_text(source.name if name is None else name), path_text(path.resolve()), source.height, source.width,
        source.fps, settings={"every": every, **reading_of(source)}, kind=kind,
        result=path_text((masks.parent if kind == "segment" else masks).resolve()),
    )  # fmt: skip
    return ExportSource(
        info, frames, lambda: [*content_files(path), *files.values()], source.length, tuple(notes),
        lambda: source.warnings,
    )  # fmt: skip


def is_segment_result(folder: Path) -> bool:
    """True for the result folder of `hodor segment`, also of an unfinished run, which cannot be exported."""
    return ((folder / "report.json").is_file() or (folder / ".progress").is_dir()) and (folder / "masks").is_dir()


def image_folders(annotations: Path) -> list[Path]:
    """Where the images of a COCO file usually are: below its folder or, if that is `annotations/`, next to it."""
    return [*annotations.parents[: 1 + (annotations.parent.name == "annotations")]]


def is_batch_summary(file: Path) -> bool:
    """True for the summary.json that `hodor segment-many` writes next to its results."""
    return file.name == "summary.json" and any(is_segment_result(folder) for folder in visible_folders(file.parent))


def sources_of_each(paths: Sequence[Path], sources_of: Callable[[Path], Sequence[ExportSource]]) -> list[ExportSource]:
    """The sources at all paths. A path that cannot be read becomes a source whose export fails, so the others go on.

    If no path can be read, raises the InputError or DataError of the first.
    """
    found: list[ExportSource] = []
    errors: list[HodorError] = []
    for path in paths:
        try:
            found += sources_of(path)
        except (InputError, DataError) as error:
            errors.append(error)
            found.append(_failing(path, error))
    if errors and len(errors) == len(paths):
        raise errors[0]
    return found


def require_distinct(videos: Iterable[VideoInfo]) -> None:
    """Raise UsageError if two videos would have the same name in a store, or use the same masks."""
    by_name: dict[str, VideoInfo] = {}
    by_masks: dict[str, VideoInfo] = {}
    for info in videos:
        if info.result and (other := by_masks.setdefault(info.result, info)).source != info.source:
            raise UsageError(f"{info.result} is for both {other.name} and {info.name}; `masks` needs a folder of each")
        if (other := by_name.setdefault(info.name, info)) is not info:
            paths = f"{other.result or other.source} and {info.result or info.source}"
            of_sets = info.kind.startswith("davis") and other.kind.startswith("davis")
            way = "write the data sets to different files" if of_sets else "export one of them alone, with a `name`"
            raise UsageError(f"two sources would both be called {info.name} ({paths}); {way}")


def _failing(path: Path, error: HodorError) -> ExportSource:
    def fail() -> NoReturn:
        raise error

    return ExportSource(VideoInfo(str(path), str(path.resolve()), height=0, width=0, fps=0.0), fail, fail)


def segment_result(folder: Path, video: Path | None, *, every: int = 1, name: str | None = None) -> ExportSource:
    """The masks in `folder`/masks, with each object's confidence from report.json, on the video they were made from.

    video: the video's path; by default the one in the report, or else the video next to the folder.
    Raises InputError if the video cannot be found, the run is unfinished, its report cannot be read, or a mask is
    missing.
    """
    if not (folder / "report.json").is_file():
        raise InputError(f"{folder} holds an unfinished run of `segment_source`; `resume` it, then export it")
    report = read_result(folder)
    known = {frame.frame: folder / "masks" / f"{frame.name}.png" for frame in report.frames}
    place = report.place.get("source", "")
    path = video or _find_video(folder, place, report.source.name)
    if path is None:
        where = f"{place} no longer exists" if place else "its report does not name it"
        raise InputError(f"the video of {folder} is missing ({where}); give the video, and the folder as its `masks`")
    confidence = {
        frame.frame: {key: value.confidence for key, value in frame.objects.items()} for frame in report.frames
    }
    source, same = open_again(report, path)
    masks = known if known and same else folder / "masks"
    found = video_with_masks(source, path, masks, every=every, name=name, confidence=confidence, kind="segment")
    if report.source.name == source.name:
        return found
    other = f"the masks in {folder} were made from {report.source.name} and are now used for {source.name}"
    return replace(found, notes=(*found.notes, other))


def _find_video(folder: Path, place: str, name: str) -> Path | None:
    if place and ((path := Path(place)).is_file() or path.is_dir()):
        return path
    # By default, results are written to NAME.hodor next to NAME.mp4.
    folder = folder.resolve()
    named = [path for path in folder.parent.glob("*") if path.stem == name and path != folder]
    candidates = [path for path in named if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES]
    return candidates[0] if len(candidates) == 1 else None
