"""Writing the rows of one video into a file of its own, which is renamed into place once the video is complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from hodor_cli.descriptors.store.files import flush_to_disk, write_store_info
from hodor_cli.descriptors.store.schema import BACKGROUND_CELLS, ObjectRow, StoreInfo, VideoInfo
from hodor_cli.errors import OutputError

if TYPE_CHECKING:
    import h5py

BUFFERED_ROWS = 512
CHUNK_ROWS = 256


class VideoWriter:
    """Collects one video frame by frame; memory is a few hundred rows whatever the video's length.

    Leave the `with` block normally (or call `finish`) to keep the video; an exception, `discard` or a kill leaves none.
    """

    def __init__(self, part: Path, store: StoreInfo, video: VideoInfo, uid: str) -> None:
        import h5py

        self.part, self.info, self.rows = part, video, 0
        self._channels = store.channels
        self._temporary = part.with_name(part.name + ".tmp")
        self._buffer: list[tuple[int, ObjectRow]] = []
        self._background: list[tuple[int, np.ndarray]] = []
        self._optional: dict[str, bool] = {}
        try:
            self._file: h5py.File | None = h5py.File(self._temporary, "w")
            write_store_info(self._file, store)
            self._group = self._file["videos"].create_group(video.name)
            for key, value in video.attributes().items():
                self._group.attrs[key] = value
            self._group.attrs["uid"] = uid
            self._create_required()
        except OSError as error:
            raise self._cannot_write(error) from None

    def add_frame(self, frame: int, objects: Sequence[ObjectRow], background: np.ndarray | None = None) -> None:
        """Add the objects of one frame and, if at hand, its background descriptors (9, C)."""
        for row in objects:
            if row.descriptor.shape != (self._channels,):
                raise ValueError(f"descriptor of shape {row.descriptor.shape}, the store has {self._channels} channels")
            self._buffer.append((frame, row))
        if background is not None:
            self._background.append((frame, np.asarray(background, np.float32)))
        if len(self._buffer) >= BUFFERED_ROWS or len(self._background) >= BUFFERED_ROWS:
            self._flush()

    def finish(self) -> Path:
        """Write what is left, wait for the disk and give the file its final name."""
        file = self._open_file()
        self._flush()
        try:
            file.close()
            self._file = None
            flush_to_disk(self._temporary)
            os.replace(self._temporary, self.part)
        except OSError as error:
            raise self._cannot_write(error) from None
        return self.part

    def discard(self) -> None:
        """Throw the unfinished video away."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # a full disk; the file goes away in any case
            self._file = None
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()

    def _open_file(self) -> h5py.File:
        if self._file is None:
            raise ValueError(f"the writer of video {self.info.name} is closed")
        return self._file

    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, chunk: int = CHUNK_ROWS, **options: Any) -> None:
        self._group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk, *shape), **options)

    def _create_required(self) -> None:
        packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        self._create("descriptor", (self._channels,), np.float32, **packed)
        for name, dtype in (
            ("frame", np.int32),
            ("object_id", np.int32),
            ("area", np.int64),
            ("confidence", np.float32),
        ):
            self._create(name, (), dtype, 1024, **packed)
        self._create("box", (4,), np.int32, 1024, **packed)
        self._create("background", (BACKGROUND_CELLS, self._channels), np.float32, 32, **packed)
        self._create("background_frame", (), np.int32, 1024, **packed)

    def _create_optional(self, first: ObjectRow) -> None:
        """The first row decides which of the optional data sets exist."""
        import h5py

        if first.baseline is not None:
            size = len(first.baseline)
            self._create("baseline", (size,), np.float32, compression="gzip", compression_opts=1, shuffle=True)
        if first.thumbnail is not None:
            self._create("thumbnail", (), h5py.vlen_dtype(np.uint8), 64)
        for name in ("image_name", "category"):
            if getattr(first, name) is not None:
                self._create(name, (), h5py.string_dtype(), 256)
        self._optional = {n: n in self._group for n in ("baseline", "thumbnail", "image_name", "category")}

    def _flush(self) -> None:
        try:
            if self._buffer:
                self._flush_rows()
            if self._background:
                self._append("background", np.stack([values for _, values in self._background]))
                self._append("background_frame", np.array([frame for frame, _ in self._background], np.int32))
                self._background.clear()
        except OSError as error:
            raise self._cannot_write(error) from None

    def _flush_rows(self) -> None:
        frames = [frame for frame, _ in self._buffer]
        rows = [row for _, row in self._buffer]
        if not self._optional:
            self._create_optional(rows[0])
        self._append("descriptor", np.stack([row.descriptor for row in rows]).astype(np.float32))
        self._append("frame", np.array(frames, np.int32))
        self._append("object_id", np.array([row.object_id for row in rows], np.int32))
        self._append("box", np.array([row.box for row in rows], np.int32))
        self._append("area", np.array([row.area for row in rows], np.int64))
        self._append("confidence", np.array([row.confidence for row in rows], np.float32))
        if self._optional["baseline"]:
            self._append("baseline", np.stack([row.baseline for row in rows if row.baseline is not None]))
        if self._optional["thumbnail"]:
            # One by one: h5py turns a list of equally long byte strings into a matrix and then refuses it.
            crops = self._group["thumbnail"]
            crops.resize(self.rows + len(rows), axis=0)
            for number, row in enumerate(rows):
                crops[self.rows + number] = np.frombuffer(row.thumbnail or b"", np.uint8)
        for name in ("image_name", "category"):
            if self._optional[name]:
                self._append(name, np.array([getattr(row, name) or "" for row in rows], object))
        self.rows += len(rows)
        self._buffer.clear()

    def _append(self, name: str, values: np.ndarray) -> None:
        dataset = self._group[name]
        start = len(dataset)
        dataset.resize(start + len(values), axis=0)
        dataset[start:] = values

    def _cannot_write(self, error: OSError) -> OutputError:
        reason = error.strerror or str(error).splitlines()[0]
        return OutputError(f"cannot write {self._temporary} ({reason}); free space there or choose another place")
