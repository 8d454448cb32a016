"""Annotated clips in the DAVIS and YouTube-VOS folder layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco import read_image
from hodor_cli.errors import DataError, HodorError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Clip:
    """One sequence: its frames in order, each with its annotation file or None, and (height, width) of the frames.

    `listed` says, from a meta.json, at which frame numbers each object id is annotated; None where there is none.
    """

    name: str
    frames: tuple[Path, ...]
    annotations: tuple[Path | None, ...]
    size: tuple[int, int]
    listed: dict[int, frozenset[int]] | None = None

    @property
    def labelled(self) -> tuple[int, ...]:
        """Numbers of the frames that have an annotation file."""
        return tuple(i for i, path in enumerate(self.annotations) if path is not None)


@dataclass(frozen=True)
class ClipLayout:
    """Where a set keeps its things: folders with one subfolder per sequence, the names used, and its meta.json."""

    root: Path
    frames: Path
    annotations: Path
    names: tuple[str, ...]
    meta: Path | None


def find_clips(folder: Path, *, resolution: str | None = None, split: str | None = None) -> ClipLayout:
    """Find the sequences of a DAVIS (`JPEGImages/480p/NAME`) or YouTube-VOS (`JPEGImages/NAME`) folder.

    resolution: a folder below JPEGImages ("480p"); only needed where there are several. split: a list below ImageSets
    ("train", "2017/train"); by default the training list where there is one, otherwise every sequence.
    Raises DataError with what is missing.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} to read clips from.")
    root = folder
    if not (root / "JPEGImages").is_dir() and (root / "train" / "JPEGImages").is_dir():
        root = root / "train"
    frames, annotations = root / "JPEGImages", root / "Annotations"
    for needed in (frames, annotations):
        if not needed.is_dir():
            raise DataError(
                f"{folder} has no folder {needed.name}: clips are expected as JPEGImages/SEQUENCE/00000.jpg and "
                "Annotations/SEQUENCE/00000.png (with a folder such as 480p between, in DAVIS)."
            )
    level = _resolution(frames, resolution)
    if level is not None:
        frames, annotations = frames / level, annotations / level
        if not annotations.is_dir():
            raise DataError(f"{root} has frames in JPEGImages/{level} but no Annotations/{level}.")
    names = _split_names(root, split)
    if names is None:
        names = tuple(sorted(entry.name for entry in frames.iterdir() if entry.is_dir()))
    if not names:
        raise DataError(f"{frames} has no sequence folders.")
    meta = root / "meta.json"
    return ClipLayout(root, frames, annotations, names, meta if meta.is_file() else None)


class ClipSet:
    """The clips of a DAVIS or YouTube-VOS folder that have frames and at least one annotation.

    Sequences are numbered 0.. in the order of `clips`. Nothing but names and one header per clip is read until a frame
    is asked for. `skipped` says which sequences were left out, and why. Raises DataError when none is left.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        resolution: str | None = None,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
    ) -> None:
        self.layout = find_clips(Path(folder), resolution=resolution, split=split)
        names: Sequence[str] = self.layout.names
        if sequences is not None:
            unknown = sorted(set(sequences) - set(names))
            if unknown:
                raise DataError(f"{folder} has no sequence {', '.join(unknown)}.")
            names = sequences
        listed = read_meta(self.layout.meta) if self.layout.meta else {}
        self.skipped: list[str] = []
        self.clips: list[Clip] = []
        for name in names:
            frames = list_images(self.layout.frames / name)
            annotations = tuple(self._annotation(name, frame.stem) for frame in frames)
            if not frames or not any(annotations):
                self.skipped.append(f"{name} has no {'annotations' if frames else 'frames'}")
                continue
            numbers = _numbers(listed.get(name), frames)
            self.clips.append(Clip(name, frames, annotations, image_size(frames[0]), numbers))
        if not self.clips:
            raise DataError(
                f"{folder} has no sequence with frames and annotations: an annotation is named like its frame, "
                "JPEGImages/SEQUENCE/00000.jpg and Annotations/SEQUENCE/00000.png."
            )

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def names(self) -> list[str]:
        """The names of the sequences."""
        return [clip.name for clip in self.clips]

    def load_frame(self, clip: int, frame: int) -> NDArray[np.uint8]:
        """Frame number `frame` of a clip, (H, W, 3) uint8 RGB. Raises DataError when its size is not the clip's."""
        item = self.clips[clip]
        image = read_image(item.frames[frame])
        if image.shape[:2] != item.size:
            raise DataError(
                f"{item.frames[frame]} is {image.shape[1]}x{image.shape[0]} but its clip began with "
                f"{item.size[1]}x{item.size[0]}: see `hodor data check`."
            )
        return image

    def load_labels(self, clip: int, frame: int) -> NDArray[np.uint16]:
        """The label map of an annotated frame, (H, W) uint16.

        Raises DataError when it is missing, broken or of another size than the clip's frames. A mask
        of 0 and 255 alone (DAVIS-2016) is one object with id 1; in other maps 255 means void and becomes 0.
        """
        item = self.clips[clip]
        path = item.annotations[frame]
        if path is None:
            raise DataError(f"Frame {item.frames[frame].name} of {item.name} has no annotation.")
        labels = read_labels(path)
        if labels.shape != item.size:
            raise DataError(
                f"{path} is {labels.shape[1]}x{labels.shape[0]} but its frame is {item.size[1]}x{item.size[0]}: "
                "see `hodor data check`."
            )
        return labels

    def load_objects(self, clip: int, frame: int) -> dict[int, NDArray[np.bool_]]:
        """The objects of an annotated frame: id -> (H, W) bool mask."""
        labels = self.load_labels(clip, frame)
        return {int(number): labels == number for number in np.unique(labels) if number > 0}

    def _annotation(self, name: str, stem: str) -> Path | None:
        path = self.layout.annotations / name / f"{stem}.png"
        return path if path.is_file() else None


def read_labels(path: Path) -> NDArray[np.uint16]:
    """A label PNG as (H, W) uint16, 0/255 masks as object 1. Raises DataError when it is no label PNG."""
    from hodor_cli.images.label_png import read_label_png

    try:
        labels = np.asarray(read_label_png(path), dtype=np.uint16)
    except HodorError as error:
        raise DataError(str(error)) from error
    if not (labels == 255).any():
        return labels
    others = bool(((labels > 0) & (labels != 255)).any())
    return np.where(labels == 255, 0 if others else 1, labels).astype(np.uint16)


def list_images(folder: Path) -> tuple[Path, ...]:
    """The image files of a folder in order of their names; none if there is no such folder."""
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.name[0] != ".")
    )


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of an image file."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"The image {path} is damaged or not an image.") from error


def read_meta(path: Path) -> dict[str, dict[str, Any]]:
    """YouTube-VOS' meta.json: sequence -> object id -> its entry. Raises DataError when it is not of that form."""
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {str(name): dict(video["objects"]) for name, video in videos.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a YouTube-VOS meta.json with videos and their objects.") from error


def _numbers(objects: dict[str, Any] | None, frames: Sequence[Path]) -> dict[int, frozenset[int]] | None:
    """Object id -> numbers of the frames it is annotated at, or None if the meta.json does not say."""
    if not objects:
        return None
    place = {frame.stem: number for number, frame in enumerate(frames)}
    listed = {}
    for name, entry in objects.items():
        stems = entry.get("frames") if isinstance(entry, dict) else None
        if not str(name).isdigit() or not isinstance(stems, list):
            return None
        listed[int(name)] = frozenset(place[str(stem)] for stem in stems if str(stem) in place)
    return listed


def _resolution(frames: Path, wanted: str | None) -> str | None:
    """The folder between JPEGImages and the sequences, or None in a layout without one."""
    if wanted is not None:
        if not (frames / wanted).is_dir():
            raise DataError(f"There is no folder {frames / wanted}.")
        return wanted
    folders = sorted(entry for entry in frames.iterdir() if entry.is_dir())
    levels = [folder.name for folder in folders if any(entry.is_dir() for entry in folder.iterdir())]
    if not levels:
        return None
    if len(levels) == 1:
        return levels[0]
    if "480p" in levels:
        return "480p"
    raise DataError(f"{frames} has several resolutions ({', '.join(levels)}): name one.")


def _split_names(root: Path, split: str | None) -> tuple[str, ...] | None:
    """Sequence names from ImageSets, or None when there is no list to follow."""
    sets = root / "ImageSets"
    tried = [split] if split else ["2017/train", "train", "480p/train", "2016/train"]
    for name in tried:
        path = sets / f"{name}.txt"
        if path.is_file():
            # DAVIS-2016 lists files ("/JPEGImages/480p/bear/00000.jpg ..."), DAVIS-2017 sequences.
            first = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            names = [Path(entry).parent.name if "/" in entry else entry for entry in first]
            return tuple(dict.fromkeys(names))
    if split:
        raise DataError(f"There is no list {sets / f'{split}.txt'}.")
    return None
