"""Filling a descriptor file: find the sources at a path (results, videos with masks, data sets, photographs) and write
the ones that the file does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.dataset import recognise
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.descriptors.export.encode import FrameEncoder, object_rows
from hodor_cli.descriptors.export.sources import (
    ExportSource,
    LabelledFrame,
    hash_files,
    image_folders,
    is_segment_result,
    require_distinct,
    segment_result,
    sources_of_each,
    video_with_masks,
)
from hodor_cli.descriptors.store.schema import StoreInfo, VideoInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import HodorError, InputError, OutputError, UsageError
from hodor_cli.formats import coco
from hodor_cli.formats.photograph_masks import find_masks
from hodor_cli.formats.recognise import find_tool
from hodor_cli.images.listing import list_pictures
from hodor_cli.images.paths import as_path, path_text, plural, require_exists, visible_folders
from hodor_cli.model.hodor import Hodor
from hodor_cli.settings import options_of
from hodor_cli.video.frames import ReadSettings
from hodor_cli.video.image_folder import ImageFolderSource
from hodor_cli.video.source import open_source
from hodor_cli.weights.checkpoint import model_fingerprint


@dataclass(frozen=True)
class ExportedVideo:
    """The outcome for one source: `skipped` if the file had it already, `failed` with a reason. warnings: sentences
    about problems met while reading it. replaced: whether it took the place of an earlier version. renamed: the name
    that it had in the file before its source was renamed, if any."""

    name: str
    outcome: Literal["written", "skipped", "failed"]
    frames: int = 0
    rows: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()
    replaced: bool = False
    renamed: str = ""


def store_info(model: Hodor) -> StoreInfo:
    """The root attributes of a store for this model."""
    return StoreInfo(model_fingerprint(model), model.config.descriptor_channels, model.config.name)


def export_sources(
    sources: str | Path | Iterable[ExportSource],
    output: str | Path,
    encoder: FrameEncoder,
    *,
    thumbnails: bool = True,
    progress: Callable[[ExportSource, int], None] | None = None,
    finished: Callable[[ExportedVideo], None] | None = None,
) -> list[ExportedVideo]:
    """Write the descriptors of all sources, or of those that `find_sources` finds at a path, into one file, creating it
    or adding to it.

    A source whose content and settings are in the file already is skipped; one whose frames or masks have changed
    replaces the earlier version. A source that cannot be read, or whose name another result already has, is reported as
    failed, and the others are still exported. A kill loses at most the source in progress.

    thumbnails: keep each object's crop. progress: called with the source and the number of its frames done. finished:
    called with each result. Raises InputError if the file is damaged or holds another model's descriptors, OutputError
    if it cannot be written, UsageError if two sources share a name or masks; and if there is only one source, the error
    that keeps it from being exported.
    """
    sources = find_sources(sources) if isinstance(sources, str | Path) else list(sources)
    encoder = options_of(FrameEncoder, encoder, "encoder")
    require_distinct(source.info for source in sources)
    results = []
    with StoreWriter(output, store_info(encoder.model)) as writer:
        for source in sources:
            try:
                result = _export(source, writer, encoder, thumbnails, progress)
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
    thumbnails: bool,
    progress: Callable[[ExportSource, int], None] | None,
) -> ExportedVideo:
    settings = {**source.info.settings, **encoder.settings(), "thumbnails": thumbnails}
    model, content = writer.info.model_fingerprint, hash_files(source.files())
    info = replace(source.info, content_hash=content, model_fingerprint=model, settings=settings)
    if writer.has(info):
        return ExportedVideo(info.name, "skipped")
    frames, rows, replaced = 0, 0, info.name in writer.videos
    with writer.video(info) as video:
        for frame in source.frames():
            encoded = encoder.encode(frame.image, frame.masks)
            added = object_rows(frame, encoded.objects, encoded.baseline, thumbnails=thumbnails)
            video.add_frame(frame.index, added, encoded.background)
            frames, rows = frames + 1, rows + len(added)
            if progress is not None:
                progress(source, frames)
    renamed = "" if replaced else writer.drop_renamed(info.name)
    return ExportedVideo(info.name, "written", frames, rows, "", tuple(source.warnings()), replaced, renamed)


#: Photographs per video of the store: a kill loses at most this many, and reading one video does not touch the others.
STILLS_PER_VIDEO = 500
#: Frames per second assumed for a data set's sequences, which do not record any.
_DATASET_FPS = 24.0


def find_sources(
    path: str | Path,
    *,
    masks: str | Path | None = None,
    annotations: str | Path | None = None,
    every: int = 1,
    name: str | None = None,
) -> list[ExportSource]:
    """The sources at a path, which may be:

    - The result folder of `hodor segment`, or a folder of several results, as `hodor segment-many` writes it.
    - The root of a data set with a folder JPEGImages; `masks` (SEQUENCE/NAME.png) replace its true masks.
    - A folder of photographs with COCO annotations, or with the file `annotations`; or that JSON file itself.
    - A video or a folder of frames, with `masks`: a folder of masks named like the frames, a result folder, or one file
      for frame 0. By default, the result folder NAME.hodor next to the video or in the working directory.

    every: keep only frames whose index is a multiple of it. name: what to call a single video in the store. Raises
    InputError, DataError or UsageError if there is nothing to export, saying what was expected.
    """
    path = as_path(path, "the source")
    masks = None if masks is None else as_path(masks, "`masks`")
    annotations = None if annotations is None else as_path(annotations, "`annotations`")
    if is_segment_result(path):
        if masks is not None or annotations is not None:
            raise UsageError(f"{path} is a result, which has its masks; leave out `masks` and `annotations`")
        return [segment_result(path, None, every=every, name=name)]
    if annotations is not None or path.suffix.lower() == ".json":
        if masks is not None:
            raise UsageError("photographs have their masks in their annotations; leave out `masks`")
        return coco_stills(path if annotations else path.parent, annotations or path, every=every, name=name)
    if path.is_dir() and (path / "JPEGImages").is_dir():
        _require_no_name(path, name)
        return dataset_sequences(path, masks, every=every)
    if path.is_dir() and ((path / "instances.json").is_file() or any((path / "annotations").glob("*.json"))):
        return coco_stills(path, None, every=every, name=name)
    results = [folder for folder in visible_folders(path) if is_segment_result(folder)]
    if results and masks is None and not list_pictures(path)[0]:
        _require_no_name(path, name)
        return sources_of_each(results, lambda folder: [segment_result(folder, None, every=every)])
    result = f"{path.stem if path.is_file() else path.name}.hodor"
    given = masks or next((found for found in (path.parent / result, Path(result)) if is_segment_result(found)), None)
    if given is None and path.is_dir() and ((tool := find_tool(path)) is not None or find_masks(path)):
        if tool is not None and tool.reader is coco:
            return coco_stills(path, None, every=every, name=name)
        raise UsageError(
            f"{path} holds labelled photographs, which are read in COCO format: `hodor convert {path} FOLDER --to coco "
            "--frames` converts them; if they are the frames of a video, give `masks`"
        )
    if given is not None and is_segment_result(given):
        found = segment_result(given, path, every=every, name=name)
        chosen = () if masks else (f"{path}: using the masks of {given}",)
        return [replace(found, notes=(*found.notes, *chosen))]
    if given is None and results:
        raise UsageError(
            f"{path} holds pictures and {plural(len(results), 'result')} of `hodor segment`; give the results, such as "
            f"{results[0]}, or if the pictures are the frames of a video, their `masks`"
        )
    source = open_source(path)
    if given is None:
        raise UsageError(f"there are no masks for {path}; name them with `masks`, or use `segment_source` first")
    return [video_with_masks(source, path, given, every=every, name=name)]


def _require_no_name(path: Path, name: str | None) -> None:
    if name is not None:
        raise UsageError(f"`name` is for a single video and {path} holds several, named by their folders; leave it out")


def dataset_sequences(root: Path, predictions: Path | None = None, *, every: int = 1) -> list[ExportSource]:
    """One source per sequence of a data set, in any split, with its true masks or those in `predictions`/SEQUENCE/.

    Raises DataError if the folder is not a data set with images, InputError if none of its sequences has masks.
    """
    if predictions is not None:
        require_exists(predictions, "folder of masks")
    found = recognise(root, masks_needed=predictions is None)
    kind = "davis" if predictions is None else "davis-predicted"
    sources = []
    for name, sequence in sorted({**found.others, **found.sequences}.items()):
        files_of = (sequence.images.values(), sequence.masks.values())
        images, masks = (next((file.parent for file in files), None) for files in files_of)
        if predictions is not None:
            # A sequence's predictions may also be a result folder of `hodor segment`.
            folders = (predictions / name / "masks", predictions / name)
            masks = next((folder for folder in folders if folder.is_dir()), None)
        if images and masks:
            frames = ImageFolderSource(images, ReadSettings(), _DATASET_FPS)
            sources.append(video_with_masks(frames, images, masks, every=every, name=name, kind=kind))
    if not sources:
        raise InputError(f"no folder in {predictions or root / 'Annotations'} is named like a sequence of {root}")
    return sources


def coco_stills(
    images: Path, annotations: Path | None = None, *, every: int = 1, name: str | None = None
) -> list[ExportSource]:
    """A COCO folder, or an image folder and annotation file, as videos of 500 photographs NAME-0000, NAME-0500 ...

    `frame` is the photograph's index in the set and `object_id` the annotation's id. Crowds are left out.
    Raises DataError if the set cannot be read.
    """
    stills = StillImages(images, annotations, limits=ObjectLimits(min_area=1, min_side=1, at_area=None))
    base = path_text((annotations or images).resolve().stem if name is None else name)
    chosen = range(0, len(stills), every)
    source, root = stills.annotations_file.resolve(), images.resolve()
    settings = {"every": every} | ({} if root in image_folders(source) else {"images": path_text(root)})
    sources = []
    for start in range(0, len(chosen), STILLS_PER_VIDEO):
        part = chosen[start : start + STILLS_PER_VIDEO]
        named = f"{base}-{part[0]:04d}" if len(chosen) > STILLS_PER_VIDEO else base
        info = VideoInfo(named, path_text(source), height=0, width=0, fps=0.0, settings=settings, kind="stills")
        sources.append(_photographs(stills, info, part))
    return sources


def _photographs(stills: StillImages, info: VideoInfo, part: range) -> ExportSource:
    def frames() -> Iterator[LabelledFrame]:
        for index in part:
            still = stills.load(index)
            masks = {item.annotation_id: item.mask for item in still.objects}
            categories = {item.annotation_id: item.category for item in still.objects}
            yield LabelledFrame(index, still.image, masks, image_name=still.name, categories=categories)

    notes = tuple(stills.faults.notes()) if part.start == 0 else ()
    return ExportSource(info, frames, lambda: [stills.annotations_file, *map(stills.path, part)], len(part), notes)
