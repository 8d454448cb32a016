"""What can be exported: frames with their masks, from wherever they lie.

A source names itself, says by a content hash what it holds, and streams labelled frames; nothing is decoded before it
is known that the store needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hodor_cli.descriptors.store.crops import check_masks, masks_of_labels
from hodor_cli.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hodor_cli.video.source import FrameSource


@dataclass(frozen=True)
class LabelledFrame:
    """One frame: image (H, W, 3) uint8 RGB and masks {object id: (H, W) bool}, which may overlap and may be none."""

    index: int
    image: NDArray[np.uint8]
    masks: Mapping[int, NDArray[np.bool_]]
    confidence: Mapping[int, float] | None = None
    image_name: str | None = None
    categories: Mapping[int, str] | None = None


@dataclass(frozen=True)
class ExportSource:
    """One future video of a store. `frames` opens and streams it; `hash_content` reads its bytes, not its pixels."""

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


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 over names and bytes of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(f"\0{path.name}\0{path.stat().st_size}\0".encode())
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check the file") from None
    return digest.hexdigest()


def read_object_labels(path: Path) -> NDArray[np.uint16]:
    """A label PNG; one that knows only 0 and 255, as DAVIS 2016 has them, holds object 1."""
    from hodor_cli.images.label_png import read_label_png

    labels = read_label_png(path)
    return (labels // 255).astype(np.uint16) if set(np.unique(labels).tolist()) <= {0, 255} else labels


def video_with_masks(
    source: FrameSource,
    path: Path,
    masks: Path,
    *,
    every: int = 1,
    name: str | None = None,
    confidence: Mapping[int, Mapping[int, float]] | None = None,
    kind: str = "video",
) -> ExportSource:
    """A video file or a folder of frames with a folder of label PNGs named like its frames, or one mask for frame 0.

    Frames without a mask file are passed over. confidence: {frame: {object id: 0..1}} where the masks are predictions.
    Raises InputError if no mask belongs to any frame.
    """
    if masks.is_dir():
        by_name = {file.stem: file for file in sorted(masks.glob("*.png")) if not file.name.startswith(".")}
    elif masks.is_file():
        by_name = {}
    else:
        raise InputError(f"no such mask file or folder: {masks}; give a folder of PNG masks named like the frames")

    def frames() -> Iterator[LabelledFrame]:
        found = False
        for frame in source:
            file = by_name.get(frame.name) if masks.is_dir() else (masks if frame.index == 0 else None)
            found = found or file is not None
            if file is not None and frame.index % every == 0:
                labels = _read_given(file) if file is masks else read_object_labels(file)
                objects = masks_of_labels(labels)
                check_masks({0: labels > 0}, frame.image, f"{file}")
                yield LabelledFrame(frame.index, frame.image, objects, (confidence or {}).get(frame.index))
            if not masks.is_dir():
                return
        if not found:
            raise InputError(
                f"no PNG in {masks} is named like a frame of {path} (its first is {_first_name(source)}.png); "
                "rename the masks or give another folder"
            )

    def files() -> list[Path]:
        content = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        return [*content, *(by_name.values() if masks.is_dir() else [masks])]

    return ExportSource(
        name=name or source.name,
        path=str(path.resolve()),
        kind=kind,
        height=source.height,
        width=source.width,
        fps=source.fps,
        length=source.length,
        frames=frames,
        hash_content=lambda: hash_files(files()),
        settings={"every": every},
    )


def find_davis(root: Path) -> tuple[Path, Path | None] | None:
    """(folder of sequences of images, folder of sequences of masks or None) if `root` is laid out like DAVIS.

    That is JPEGImages/[RESOLUTION/]SEQUENCE/*.jpg and Annotations/[RESOLUTION/]SEQUENCE/*.png.
    """
    images, masks = root / "JPEGImages", root / "Annotations"
    if not images.is_dir():
        return None
    inner = sorted(folder for folder in images.iterdir() if folder.is_dir())
    if inner and all(any(child.is_dir() for child in folder.iterdir()) for folder in inner):
        names = [folder.name for folder in inner]
        resolution = "480p" if "480p" in names else names[0]
        images, masks = images / resolution, masks / resolution
    return images, masks if masks.is_dir() else None


def davis_sequences(
    root: Path, *, predictions: Path | None = None, every: int = 1, fps: float = 24.0
) -> list[ExportSource]:
    """One source per sequence of a DAVIS-like data set, with its true masks or those in `predictions`/SEQUENCE/.

    Raises InputError if there are no images or no masks.
    """
    found = find_davis(root)
    if found is None:
        raise InputError(f"{root} has no JPEGImages folder; give the root of a data set laid out like DAVIS")
    images, true_masks = found
    masks = predictions or true_masks
    if masks is None or not masks.is_dir():
        raise InputError(f"{root} has no Annotations folder; give masks with --masks FOLDER")
    sources = []
    for folder in sorted(child for child in images.iterdir() if child.is_dir()):
        # A result folder of `hodor segment` may stand in for a folder of masks.
        own = masks / folder.name / "masks" if (masks / folder.name / "masks").is_dir() else masks / folder.name
        if own.is_dir():
            sources.append(_sequence(folder, own, every, fps, "davis" if predictions is None else "davis-predicted"))
    if not sources:
        raise InputError(f"no folder in {masks} is named like a sequence in {images}; check the layout")
    return sources


def _sequence(images: Path, masks: Path, every: int, fps: float, kind: str) -> ExportSource:
    from hodor_cli.video.image_folder import ImageFolderSource

    return video_with_masks(ImageFolderSource(images, fps=fps), images, masks, every=every, name=images.name, kind=kind)


def _read_given(path: Path) -> NDArray[np.uint16]:
    from hodor_cli.datasets.labels.masks import read_mask

    return read_mask(path).labels


def _first_name(source: FrameSource) -> str:
    return next((frame.name for frame in source), "?")
