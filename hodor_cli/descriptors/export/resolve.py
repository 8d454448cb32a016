"""From what a user names to what can be exported: a video, a result folder, a data set, photographs, or a store."""

from __future__ import annotations

import os
from pathlib import Path

from hodor_cli.descriptors.export.segment_results import is_segment_result, segment_result
from hodor_cli.descriptors.export.sources import ExportSource, davis_sequences, find_davis, video_with_masks
from hodor_cli.errors import InputError, UsageError
from hodor_cli.video.source import open_source

DEFAULT_STORE = "objects.h5"


def find_sources(
    path: Path,
    *,
    masks: Path | None = None,
    annotations: Path | None = None,
    every: int = 1,
    name: str | None = None,
) -> list[ExportSource]:
    """What a path holds.

    - The result folder of `hodor segment`.
    - The root of a data set laid out like DAVIS; `masks` (SEQUENCE/NAME.png) replace its true masks.
    - A folder of photographs with COCO annotations, or with the file `annotations`; or that JSON file itself.
    - A video or a folder of frames, with `masks`: a folder of PNGs named like the frames, a result folder, or one file
      for frame 0. Without, the result folder NAME.hodor beside it or here is taken.

    Raises InputError or UsageError, saying what was expected.
    """
    if path.is_dir() and is_segment_result(path):
        return [segment_result(path, every=every, name=name)]
    if annotations is not None or path.suffix.lower() == ".json":
        from hodor_cli.descriptors.export.stills import coco_stills

        images, file = (path, annotations) if annotations is not None else (path.parent, path)
        return coco_stills(images=images, annotations=file, every=every, name=name)
    if path.is_dir() and find_davis(path) is not None:
        if name is not None:
            raise UsageError(f"--name cannot name the sequences of {path}; they keep their folders' names")
        return davis_sequences(path, predictions=masks, every=every)
    if path.is_dir() and _has_coco(path):
        from hodor_cli.descriptors.export.stills import coco_stills

        return coco_stills(path, every=every, name=name)
    source = open_source(path)
    given = masks or next((found for found in _results_beside(path) if is_segment_result(found)), None)
    if given is None:
        raise UsageError(
            f"there are no masks for {path}; give them with --masks FOLDER, or segment it first with "
            f"`hodor segment {path} --mask FILE --descriptors {DEFAULT_STORE}`"
        )
    if is_segment_result(given):
        return [segment_result(given, path, every=every, name=name)]
    return [video_with_masks(source, path, given, every=every, name=name)]


def find_store(path: Path | None) -> Path:
    """The given descriptor file, or else `objects.h5` here or in $HODOR_WORKSPACE_DIR. Raises InputError if none."""
    if path is not None:
        return path
    places = [Path(DEFAULT_STORE)]
    if workspace := os.environ.get("HODOR_WORKSPACE_DIR"):
        places.append(Path(workspace) / DEFAULT_STORE)
    for place in places:
        if place.exists():
            return place
    raise InputError(
        f"there is no {DEFAULT_STORE} here or in $HODOR_WORKSPACE_DIR; name a descriptor file or make one with "
        f"`hodor export-descriptors SOURCE -o {DEFAULT_STORE}`"
    )


def _results_beside(path: Path) -> list[Path]:
    name = f"{path.stem if path.is_file() else path.name}.hodor"
    return [path.parent / name, Path(name)]


def _has_coco(folder: Path) -> bool:
    return (folder / "instances.json").is_file() or any((folder / "annotations").glob("*.json"))
