"""`DescriptorStore`: a descriptor file read as NumPy arrays.

Writing is in `writer.py`. Readers never lock and never wait: a writer replaces the whole file, so an open store keeps
the content that it had when it was opened.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hodor_cli.descriptors.store import hdf5
from hodor_cli.descriptors.store.heap import read_values
from hodor_cli.descriptors.store.schema import RowIndex, StoreInfo, VideoInfo, VideoRows
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.paths import as_path, listed, plural

#: The file that is read if none is named.
DEFAULT_STORE = "objects.h5"
_ROWS = ("descriptor", "frame", "object_id", "box", "area", "confidence")
#: Floats from here on are damage; squares of smaller ones can be summed in float32.
_MOST = 1e15
#: The smallest valid value of numbers that are used as positions, sizes or ids.
_LEAST = {"frame": 0, "background_frame": 0, "object_id": 1, "area": 0, "box": 0, "time": 0}


class DescriptorStore(AbstractContextManager["DescriptorStore"]):
    """All descriptors of many videos, from one HDF5 file.

    Videos that a killed writer had finished but not yet merged are part of the store, too.

        with DescriptorStore("objects.h5") as store:
            rows = store.rows("bear")          # descriptor (N, C), frame, object_id, box, area, confidence
            bear = store.object("bear", 1)     # the rows of one object

    Every method raises InputError if the file is missing, damaged, not a descriptor file, of another version, or refers
    to other files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = as_path(path, "the descriptor file")
        self._files: list[h5py.File] = []
        self._groups: dict[str, tuple[Path, h5py.Group]] = {}
        self._datasets: dict[tuple[str, str], h5py.Dataset] = {}
        # A merge may remove a part after it was listed and before it is opened; then list the parts again.
        for attempt in range(20):
            parts = hdf5.pending_parts(self.path)
            try:
                for file in [self.path, *parts]:
                    self._open(file)
                return
            except BaseException as error:
                self.close()
                gone = self.path.exists() and not all(part.exists() for part in parts)
                if attempt == 19 or not gone or not isinstance(error, InputError):
                    raise

    def _open(self, path: Path) -> None:
        file = hdf5.open_file(path)
        self._files.append(file)
        info = hdf5.read_attributes(file, StoreInfo)
        if path == self.path:
            self.info: StoreInfo = info
        elif not info.same_model(self.info):
            with hdf5.reading(path):
                raise ValueError(f"it holds descriptors of another model than {self.path.name}")
        self._groups.update({name: (path, group) for name, group in hdf5.open_videos(path, file).items()})

    def __repr__(self) -> str:
        state = plural(len(self._groups), "video") if self._files else "closed"
        return f"{type(self).__name__}({str(self.path)!r}, {state})"

    @property
    def videos(self) -> list[str]:
        """Names of the videos, sorted."""
        if not self._files:
            raise UsageError(f"{self.path} is closed; read it inside its `with` block, or open it again")
        return sorted(self._groups)

    def __len__(self) -> int:
        """The number of rows of all videos."""
        return self.count()

    def video(self, name: str) -> VideoInfo:
        """The attributes of one video."""
        path, group = self._group(name)
        with hdf5.reading(path, name):
            return hdf5.read_attributes(group, VideoInfo, name=name)

    def rows(self, name: str) -> VideoRows:
        """All rows of one video, by frame."""
        return VideoRows(self.video(name), *(self.dataset(name, key) for key in _ROWS))

    def object_ids(self, name: str) -> list[int]:
        """The object ids that occur in a video."""
        return [int(value) for value in np.unique(self.dataset(name, "object_id"))]

    def object(self, name: str, object_id: int) -> VideoRows:
        """The rows of one object. Raises InputError if the video or the id does not exist."""
        return self.rows(name).select(self._rows_of(name, object_id))

    def background(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Background descriptors (F, 9, C) float32 and their frames (F,) int32; F may be 0."""
        return self.dataset(name, "background"), self.dataset(name, "background_frame")

    def has(self, name: str, dataset: str) -> bool:
        """True if a video holds an optional data set: time, thumbnail, baseline, image_name or category."""
        path, group = self._group(name)
        with hdf5.reading(path, name):
            return bool(group.id.links.exists(dataset.encode()))

    def dataset(self, name: str, dataset: str, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """One data set of a video (or some of its rows) as an array; texts as bytes. Raises InputError if missing."""
        path, _ = self._group(name)
        opened = self._dataset(name, dataset)
        with hdf5.reading(path, name):
            if opened.dtype.kind == "O":
                return np.array(read_values(path, opened, np.arange(len(opened))[rows]), object)
            values = np.asarray(opened[rows])
            if values.dtype.kind == "f" and values.size and not -_MOST < values.min() <= values.max() < _MOST:
                raise ValueError(f"{dataset} has values that are not finite or too large")
            if dataset in _LEAST and values.size and values.min() < _LEAST[dataset]:
                raise ValueError(f"{dataset} has the value {values.min()}")
        return values

    def thumbnails(self, name: str, rows: np.ndarray | None = None) -> list[bytes | None]:
        """The crops of some rows (all by default) as JPEG files, None for rows without one."""
        if not self.has(name, "thumbnail"):
            return [None] * (len(self._dataset(name, "frame")) if rows is None else len(rows))
        crops = self.dataset(name, "thumbnail", slice(None) if rows is None else rows)
        return [crop or None for crop in crops.tolist()]

    def count(self, videos: list[str] | None = None) -> int:
        """The number of rows of all (or the named) videos."""
        return sum(len(self._dataset(name, "frame")) for name in (self.videos if videos is None else videos))

    def image_name(self, name: str, object_id: int) -> str | None:
        """The image file of an object in still images, where object ids are annotation ids; None for a video."""
        if not self.has(name, "image_name"):
            return None
        return str(self.dataset(name, "image_name", self._rows_of(name, object_id)[:1])[0], "utf-8", "replace")

    def index(self, videos: list[str] | None = None) -> RowIndex:
        """The video, object and frame of each row of all (or the named) videos, in the order of `read`."""
        names = self.videos if videos is None else videos
        keys = ("object_id", "frame")
        ids, frames = ([np.zeros(0, np.int32), *(self.dataset(name, key) for name in names)] for key in keys)
        video = np.repeat(np.arange(len(names), dtype=np.int32), [len(part) for part in frames[1:]])
        seconds = [np.zeros(0), *map(self._seconds, names)]
        return RowIndex(tuple(names), video, np.concatenate(ids), np.concatenate(frames), np.concatenate(seconds))

    def read(self, dataset: str, low: int, high: int, videos: list[str] | None = None) -> np.ndarray:
        """The rows low <= row < high of a per-row data set, in the order of `index`; no others are read."""
        parts, first = [], 0
        for name in self.videos if videos is None else videos:
            count = len(self._dataset(name, "frame"))
            if first < high and first + count > low:
                parts.append(self.dataset(name, dataset, slice(max(low - first, 0), high - first)))
            first += count
        if not parts:
            raise InputError(f"{self.path} has no rows {low} to {high}; it has {first}, counted from 0")
        with hdf5.reading(self.path):  # rows of different lengths
            return np.concatenate(parts)

    def close(self) -> None:
        """Close the files; the store cannot be read afterwards."""
        self._datasets.clear()
        self._groups.clear()
        while self._files:
            self._files.pop().close()

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _rows_of(self, name: str, object_id: int) -> np.ndarray:
        """The indices of an object's rows within its video. Raises InputError if there are none."""
        rows = np.flatnonzero(self.dataset(name, "object_id") == object_id)
        if not len(rows):
            have = listed(self.object_ids(name), 20) or "none"
            raise InputError(f"{self.path} has no object {object_id} in video {name}; it has {have}")
        return rows

    def _seconds(self, name: str) -> np.ndarray:
        """When each row of a video is shown: as saved, or by the frame rate in files that have no times."""
        if self.has(name, "time"):
            return self.dataset(name, "time")
        frames, fps = self.dataset(name, "frame"), self.video(name).fps
        return frames / fps if fps > 0 else np.full(len(frames), np.nan)

    def _group(self, name: str) -> tuple[Path, Any]:
        if name not in self._groups:
            raise InputError(f"{self.path} has no video {name}; it has {listed(self.videos, 10) or 'none'}")
        return self._groups[name]

    def _dataset(self, name: str, dataset: str) -> h5py.Dataset:
        """An open data set, checked when it is first used."""
        key = (name, dataset)
        if key not in self._datasets:
            path, group = self._group(name)
            if not self.has(name, dataset):
                raise InputError(f"{path} has no {dataset} of video {name}; export it again to get it")
            opened = hdf5.open_dataset(path, group, name, dataset, self.info.channels)
            leader = {"frame": None, "background_frame": None, "background": "background_frame"}.get(dataset, "frame")
            with hdf5.reading(path, name):
                if leader is not None and len(opened) != (rows := len(self._dataset(name, leader))):
                    raise ValueError(f"{dataset} has {len(opened)} rows instead of {rows}")
            self._datasets[key] = opened
        return self._datasets[key]


def find_store(path: Path | None) -> Path:
    """The given descriptor file, or else `objects.h5` here or in $HODOR_WORKSPACE_DIR. Raises InputError if none."""
    if path is not None:
        return path
    for folder in ("", os.environ.get("HODOR_WORKSPACE_DIR", "")):
        if (place := Path(folder) / DEFAULT_STORE).exists():
            return place
    raise InputError(f"there is no {DEFAULT_STORE} here or in $HODOR_WORKSPACE_DIR; name one made by `export_sources`")
