"""Annotated clips for training, from any video layout that `recognise` knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco import read_photograph, turned_hint
from hodor_cli.datasets.dataset import VideoSequence, recognise
from hodor_cli.datasets.faults import DataSizeError, Faults
from hodor_cli.datasets.folders import training_split
from hodor_cli.datasets.labels.decode import is_binary, read_labels
from hodor_cli.errors import DataError, HodorError, as_data_error
from hodor_cli.images.paths import size_text, summarise_files, visible_files
from hodor_cli.images.picture import read_header


@dataclass(frozen=True)
class Clip:
    """One sequence: its frames in order, each with its annotation file or None, and the frames' (height, width).

    listed: object id -> numbers of the frames in which meta.json says it is annotated; None without a meta.json.
    strays: annotation files without a frame.
    """

    name: str
    frames: tuple[Path, ...]
    annotations: tuple[Path | None, ...]
    size: tuple[int, int]
    listed: dict[int, frozenset[int]] | None = None
    strays: tuple[Path, ...] = ()

    @property
    def labelled(self) -> tuple[int, ...]:
        """Numbers of the frames that have an annotation file."""
        return tuple(i for i, path in enumerate(self.annotations) if path is not None)


class ClipSet:
    """The clips of a data set (DAVIS, YouTube-VOS, MOSE, LVOS, or folders of images and masks) that have frames and at
    least one annotation.

    Methods take a clip's index in `clips`. Opening reads only file names and one image header per clip. resolution: the
    folder below JPEGImages to use if there are several. Clips are those of the training list below ImageSets, if there
    is one. `faults` lists the sequences that cannot be used, and `frames_left_out` counts their frames. Raises
    DataError if the folder is not such a data set or, unless `allow_empty`, has no usable clip.
    """

    def __init__(self, folder: str | Path, *, resolution: str | None = None, allow_empty: bool = False) -> None:
        root = Path(folder)
        if not root.exists():
            raise DataError(f"there is no folder {folder} to read clips from")
        if not (root / "JPEGImages").is_dir() and (root / "train" / "JPEGImages").is_dir():  # YouTube-VOS's archive
            root = root / "train"
        with as_data_error():
            self.dataset = recognise(root, resolution=resolution, masks_needed=False)
        found = dict(sorted({**self.dataset.sequences, **self.dataset.others}.items()))
        self.faults = Faults(Path(folder))
        self.frames_left_out = 0
        self.clips: list[Clip] = []
        for name in training_split(self.dataset.root, found):
            self._add(name, found.get(name, VideoSequence(name, {}, {})))
        self._binary: dict[int, bool | None] = {}
        self._edges_checked: set[Path] = set()
        if not self.clips and not allow_empty:
            first = next(iter(self.faults.found), None)
            why = "" if first is None else f" ({first.where} {first.detail})"
            raise DataError(
                f"{folder} has no sequence with frames and annotations{why}: an annotation is named like its frame, "
                "JPEGImages/SEQUENCE/00000.jpg and Annotations/SEQUENCE/00000.png"
            )

    def __len__(self) -> int:
        return len(self.clips)

    def load_frame(self, clip: int, frame: int) -> NDArray[np.uint8]:
        """Load a frame of a clip as (H, W, 3) uint8 RGB. Raises DataError if its size is not the first frame's."""
        item = self.clips[clip]
        image = read_photograph(item.frames[frame])
        if image.shape[:2] != item.size:
            raise DataSizeError(f"{item.frames[frame]} is {size_text(image.shape)}; its clip is {size_text(item.size)}")
        return image

    def load_labels(self, clip: int, frame: int) -> NDArray[np.uint16]:
        """Load the label map of an annotated frame, (H, W) uint16; void is background.

        Raises DataError if it is missing, broken, or not of the clip's size.
        """
        item = self.clips[clip]
        path = item.annotations[frame]
        if path is None:
            raise DataError(f"frame {item.frames[frame].name} of {item.name} has no annotation")
        if self._binary.get(clip) is None:
            self._binary[clip] = is_binary(item.name, filter(None, item.annotations))
        with as_data_error():
            labels = read_labels(path, binary=self._binary[clip], check_edges=path not in self._edges_checked).ids
        self._edges_checked.add(path)
        if labels.shape != item.size:
            raise DataSizeError(
                f"{path} is {size_text(labels.shape)} but its frame is {size_text(item.size)}"
                f"{turned_hint(labels.shape, item.size)}; give it a mask of the frame's size"
            )
        return labels.astype(np.uint16, copy=False)

    def _add(self, name: str, sequence: VideoSequence) -> None:
        frames = tuple(sequence.images.values())

        def leave_out(kind: str, why: str) -> None:
            self.faults.add(kind, name, why)
            self.frames_left_out += len(frames)

        if not frames:
            return leave_out("sequence without frames", "has no frames" + _instead(sequence.folders[0]))
        if not sequence.masks:
            return leave_out("sequence without annotations", "has no annotations" + _instead(sequence.folders[1]))
        if wrong := sequence.check_names():
            return leave_out("names do not match", f"has {wrong}")
        try:
            size = read_header(frames[0]).size
        except HodorError as error:
            return leave_out("broken image", f"begins with a broken image: {error}")
        place = {frame: number for number, frame in enumerate(sequence.images)}
        known = (sequence.objects or {}).items()
        listed = {number: frozenset(place[frame] for frame in named & place.keys()) for number, named in known}
        annotations = tuple(sequence.masks.get(frame) for frame in sequence.images)
        strays = tuple(file for frame, file in sequence.masks.items() if frame not in place)
        self.clips.append(Clip(name, frames, annotations, size, None if sequence.objects is None else listed, strays))


def _instead(folder: Path | None) -> str:
    """The end of a sentence about missing frames or annotations: what is in their folder instead."""
    if folder is None or not folder.is_dir():
        return "" if folder is None else f": there is no folder {folder}"
    names = visible_files(folder)
    if not names:
        return ""
    return f": {folder} holds {summarise_files(names)}, and annotations are label PNGs named like their frames"
