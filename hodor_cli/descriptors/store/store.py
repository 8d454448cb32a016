"""`DescriptorStore`: the door to a file of descriptors, read through NumPy.

Writing is in `writer.py`. Readers never lock and never wait: a writer replaces the file as a whole, so an open store
keeps showing what it held when it was opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.descriptors.store.files import open_file, pending_parts, read_store_info
from hodor_cli.descriptors.store.schema import RowIndex, StoreInfo, VideoInfo, VideoRows
from hodor_cli.errors import InputError

if TYPE_CHECKING:
    import h5py


class DescriptorStore:
    """All descriptors of many videos, from one HDF5 file.

    Videos that a killed writer had finished but not yet merged are part of the store, too.

        with DescriptorStore("objects.h5") as store:
            rows = store.rows("bear")          # descriptor (N, C), frame, object_id, box, area, confidence
            bear = store.object("bear", 1)     # the rows of one object

    Raises InputError where the file is missing, no descriptor file, cut short or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._files: list[h5py.File] = []
        self._groups: dict[str, h5py.Group] = {}
        # A merge may remove a part between our listing and our opening of it: then look again.
        for attempt in range(20):
            parts = pending_parts(self.path)
            try:
                self._open([self.path, *parts])
                break
            except InputError:
                self.close()
                if attempt == 19 or not self.path.exists() or all(part.exists() for part in parts):
                    raise
        self.info: StoreInfo = read_store_info(self._files[0])

    def _open(self, paths: list[Path]) -> None:
        for path in paths:
            file = open_file(path)
            self._files.append(file)
            for name, group in file["videos"].items():
                if "frame" not in group:
                    raise self._damaged(name, "it has no frames")
                self._groups[name] = group

    @property
    def videos(self) -> list[str]:
        """Names of the videos, sorted."""
        return sorted(self._groups)

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def __len__(self) -> int:
        """Rows of all videos together."""
        return sum(len(group["frame"]) for group in self._groups.values())

    def video(self, name: str) -> VideoInfo:
        """The attributes of one video. Raises InputError if there is no such video."""
        attributes = self._group(name).attrs
        try:
            return VideoInfo(
                name=name,
                source=str(attributes["source"]),
                height=int(attributes["height"]),
                width=int(attributes["width"]),
                fps=float(attributes["fps"]),
                content_hash=str(attributes["content_hash"]),
                model_fingerprint=str(attributes["model_fingerprint"]),
                settings=json.loads(str(attributes["settings"])),
                kind=str(attributes["kind"]),
            )
        except (KeyError, ValueError) as error:
            raise self._damaged(name, str(error)) from None

    def rows(self, name: str) -> VideoRows:
        """All rows of one video, by frame."""
        return VideoRows(
            self.video(name),
            *(self._read(name, key) for key in ("descriptor", "frame", "object_id", "box", "area", "confidence")),
        )

    def object_ids(self, name: str) -> list[int]:
        """The object ids that occur in a video."""
        return [int(value) for value in np.unique(self._read(name, "object_id"))]

    def object(self, name: str, object_id: int) -> VideoRows:
        """The rows of one object. Raises InputError if the video or the id does not exist."""
        rows = self.rows(name)
        selected = rows.object_id == object_id
        if not selected.any():
            have = ", ".join(str(value) for value in self.object_ids(name)[:20]) or "none"
            raise InputError(f"{self.path} has no object {object_id} in video {name}; it has {have}")
        return rows.select(selected)

    def background(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Background descriptors (F, 9, C) float32 and their frames (F,) int32; F may be 0."""
        return self._read(name, "background"), self._read(name, "background_frame")

    def has(self, name: str, dataset: str) -> bool:
        """True if a video holds an optional data set: thumbnail, baseline, image_name or category."""
        return dataset in self._group(name)

    def dataset(self, name: str, dataset: str) -> np.ndarray:
        """One data set of a video as an array. Raises InputError if the video lacks it."""
        return self._read(name, dataset)

    def thumbnails(self, name: str, rows: np.ndarray | None = None) -> list[bytes | None]:
        """The crops of some rows (all by default) as JPEG files, None where none was kept."""
        group = self._group(name)
        wanted = np.arange(len(group["frame"])) if rows is None else np.asarray(rows)
        if "thumbnail" not in group:
            return [None] * len(wanted)
        dataset = group["thumbnail"]
        return [bytes(data) if len(data) else None for data in (dataset[int(row)] for row in wanted)]

    def index(self, videos: list[str] | None = None) -> RowIndex:
        """Who each row of all (or the named) videos is; the order is that of `blocks`."""
        names = self.videos if videos is None else videos
        counts = [len(self._group(name)["frame"]) for name in names]
        empty = np.zeros(0, np.int32)
        return RowIndex(
            videos=tuple(names),
            video=np.repeat(np.arange(len(names), dtype=np.int32), counts),
            object_id=np.concatenate([empty, *(self._read(name, "object_id") for name in names)]),
            frame=np.concatenate([empty, *(self._read(name, "frame") for name in names)]),
            fps=np.array([float(self._group(name).attrs["fps"]) for name in names]),
        )

    def blocks(
        self,
        dataset: str = "descriptor",
        *,
        size: int = 32768,
        videos: list[str] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Stream a per-row data set as (first row, array of at most `size` rows), in the order of `index`.

        start, stop: only the rows start <= row < stop; what lies outside is not read.
        """
        pending: list[np.ndarray] = []
        held, first, offset = 0, start, 0
        for name in self.videos if videos is None else videos:
            total = len(self._group(name)["frame"])
            done, end = max(start - offset, 0), total if stop is None else min(stop - offset, total)
            offset += total
            while done < end:
                take = min(size - held, end - done)
                pending.append(self._read(name, dataset, slice(done, done + take)))
                done, held = done + take, held + take
                if held == size:
                    yield first, np.concatenate(pending)
                    first, held, pending = first + held, 0, []
        if pending:
            yield first, np.concatenate(pending)

    def close(self) -> None:
        """Close the files; the store cannot be read afterwards."""
        self._groups.clear()
        while self._files:
            self._files.pop().close()

    def __enter__(self) -> DescriptorStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _group(self, name: str) -> h5py.Group:
        if name not in self._groups:
            known = self.videos
            have = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
            raise InputError(f"{self.path} has no video {name}; it has {have or 'none'}")
        return self._groups[name]

    def _read(self, name: str, dataset: str, rows: slice | None = None) -> np.ndarray:
        group = self._group(name)
        if dataset not in group:
            raise InputError(f"{self.path} has no {dataset} for video {name}; export it again to get it")
        have, frames = len(group[dataset]), len(group["frame"])
        if have != frames and not dataset.startswith("background"):
            raise self._damaged(name, f"{have} rows of {dataset} for {frames}")
        try:
            return np.asarray(group[dataset][rows if rows is not None else slice(None)])
        except OSError as error:
            raise self._damaged(name, str(error).splitlines()[0]) from None

    def _damaged(self, name: str, reason: str) -> InputError:
        return InputError(
            f"{self.path} is damaged at video {name} ({reason}); restore it from a copy or export it again"
        )
