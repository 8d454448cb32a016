"""Writing the rows of one video into its own file, which is renamed into place when the video is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hodor_cli.descriptors.store.disk import WritableFile
from hodor_cli.descriptors.store.hdf5 import write_store_info
from hodor_cli.descriptors.store.schema import DATASETS, OPTIONAL, ObjectRow, StoreInfo, VideoInfo
from hodor_cli.errors import OutputError
from hodor_cli.files import put_in_place, writing_file
from hodor_cli.runtime.interrupts import uninterrupted

BUFFERED_ROWS = 512
_NO_ROOM = "free space there or choose another place"
#: Rows per chunk; 1,024 for the data sets that are not named.
_CHUNK = {"descriptor": 256, "background": 32, "baseline": 256, "thumbnail": 64, "image_name": 256, "category": 256}

_PER_FRAME = ("background", "background_frame")


class RowsWriter(AbstractContextManager["RowsWriter"]):
    """Writes one video frame by frame, with at most a few hundred rows in memory.

    The video is kept if the `with` block ends normally, and dropped after an exception, `discard` or a kill. finished:
    called when the file `part` is complete. Raises OutputError if the file cannot be written.
    """

    def __init__(self, part: Path, store: StoreInfo, video: VideoInfo, finished: Callable[[VideoInfo], None]) -> None:
        self.part, self.info, self.rows = part, video, 0
        self._channels = store.channels
        self._finished, self._discarded = finished, False
        self._temporary = part.with_name(part.name + ".tmp")
        #: Values that are not in the file yet, by data set; the first row decides which optional data sets there are.
        self._waiting: dict[str, list[Any]] = {name: [] for name in DATASETS if name not in OPTIONAL}
        try:
            with writing_file(self._temporary, _NO_ROOM):
                self._file = WritableFile(self._temporary)
        except OutputError:
            self._temporary.unlink(missing_ok=True)
            raise
        with uninterrupted():
            write_store_info(self._file.file, store)
            self._group = self._file.file["videos"].create_group(video.name)
            self._group.attrs.update(video.attributes())
            for name in self._waiting:
                self._create(name)

    def add_frame(self, frame: int, objects: Sequence[ObjectRow], background: np.ndarray | None = None) -> None:
        """Add the objects of one frame and, if known, its background descriptors (9, C)."""
        for row in objects:
            if row.descriptor.shape != (self._channels,):
                raise ValueError(f"descriptor of shape {row.descriptor.shape}, the store has {self._channels} channels")
            if not self.rows:
                self._waiting.update({name: [] for name in OPTIONAL if getattr(row, name) is not None})
            self.rows += 1
            for name, values in self._waiting.items():
                if name not in _PER_FRAME:
                    values.append(frame if name == "frame" else getattr(row, name))
        if background is not None:
            self._waiting["background"].append(background)
            self._waiting["background_frame"].append(frame)
        if max(len(values) for values in self._waiting.values()) >= BUFFERED_ROWS:
            self._flush()

    def discard(self) -> None:
        """Drop the video, unless it is complete already."""
        self._discarded = True
        with suppress(OSError):  # a full disk; the file is removed anyway
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None and not self._discarded:
                self._flush()
                with writing_file(self._temporary, _NO_ROOM):
                    self._file.close()
                    put_in_place(self._temporary, self.part)
                self._finished(self.info)
        finally:
            self.discard()

    def _create(self, name: str, width: int = 0) -> None:
        """Create an empty data set that can grow. width: values per row, if `DATASETS` leaves that open."""
        kind, *sizes = DATASETS[name]
        shape = tuple(self._channels if size == "C" else width if size is None else size for size in sizes)
        dtype = {"bytes": h5py.vlen_dtype(np.uint8), "text": h5py.string_dtype()}.get(kind, kind)
        packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        if kind in ("bytes", "text"):  # gzip does not reach values of variable length
            packed = {}
        chunks = (_CHUNK.get(name, 1024), *shape)
        self._group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunks, **packed)

    def _flush(self) -> None:
        with writing_file(self._temporary, _NO_ROOM), uninterrupted():
            for name, values in self._waiting.items():
                if values:
                    self._append(name, values)
                    values.clear()
            self._file.check()

    def _append(self, name: str, values: list[Any]) -> None:
        if name not in self._group:
            self._create(name, np.size(values[0]))
        dataset, kind = self._group[name], DATASETS[name][0]
        start = len(dataset)
        dataset.resize(start + len(values), axis=0)
        if kind == "bytes":
            # One at a time, because h5py turns a list of equally long byte strings into a matrix and then refuses it.
            for number, value in enumerate(values, start):
                dataset[number] = np.frombuffer(value or b"", np.uint8)
        elif kind == "text":
            dataset[start:] = np.array([value or "" for value in values], object)
        else:
            dataset[start:] = np.array(values, kind)
