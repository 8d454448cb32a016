"""`StoreWriter`: adding videos to a descriptor file so that a kill at any moment loses at most the video in progress.

HDF5 files are not safe to change in place: a kill in the middle of an update can make the whole file unreadable. So the
file itself is never opened for writing. A video is written to a file of its own in `FILE.pending/` and renamed when
complete; a merge copies FILE and the finished videos into a new file and renames that over FILE. Renames are atomic, so
FILE is a valid store at every instant. Merging copies the whole file, so a large one is merged less often: when the
finished videos amount to a quarter of it, and at the end. `DescriptorStore` reads FILE and those videos together.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from hodor_cli.descriptors.store.files import (
    flush_to_disk,
    open_file,
    pending_folder,
    pending_parts,
    read_store_info,
    write_store_info,
)
from hodor_cli.descriptors.store.schema import StoreInfo, VideoInfo
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.video_writer import VideoWriter
from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.locks import WriterLock

MERGE_ALWAYS_BELOW = 64 << 20  # bytes: copying this much after each video costs less than the video did
MERGE_SHARE = 4


class StoreWriter:
    """Open a descriptor file for adding videos, creating it if needed; one writer at a time.

        with StoreWriter("objects.h5", StoreInfo(fingerprint, 256)) as writer:
            if not writer.has(info):                                # same content, same settings: skip
                with writer.video(info) as video:                   # a changed video of that name is replaced
                    video.add_frame(0, [ObjectRow(...)], background)

    Raises InputError if the file holds another model's descriptors, OutputError if another process is writing it.
    """

    def __init__(self, path: str | Path, info: StoreInfo, *, merge_always_below: int = MERGE_ALWAYS_BELOW) -> None:
        self.path = Path(path)
        self.info = info
        self._merge_always_below = merge_always_below
        self._temporary = self.path.with_name(f".{self.path.name}.tmp")
        if not self.path.parent.is_dir():
            raise OutputError(f"the folder {self.path.parent} does not exist; create it or choose another place")
        self._lock = WriterLock(self.path)
        self._lock.acquire()
        try:
            self._prepare()
        except BaseException:
            self._lock.release()
            raise

    def _prepare(self) -> None:
        """Remove what a killed writer left unfinished, make sure the file exists, and merge what was finished."""
        self._temporary.unlink(missing_ok=True)
        for leftover in pending_folder(self.path).glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        if not self.path.exists():
            self._rewrite(lambda: self._create_empty())
        with DescriptorStore(self.path) as store:
            held = store.info
            if held.model_fingerprint != self.info.model_fingerprint:
                raise InputError(
                    f"{self.path} holds descriptors of another model ({_short(held)}, now {_short(self.info)}) and "
                    "they cannot be compared; write to another file"
                )
            self._videos = {name: store.video(name) for name in store.videos}
        self.merge()

    @property
    def videos(self) -> list[str]:
        """Names of the videos in the file so far, sorted."""
        return sorted(self._videos)

    def has(self, info: VideoInfo) -> bool:
        """True if this video is in the file already, from the same content with the same settings."""
        held = self._videos.get(info.name)
        return held is not None and held.same_export(info)

    def video(self, info: VideoInfo, *, replace: bool = False) -> VideoWriter:
        """Start writing one video; one of the same name and source is replaced when the new one is complete.

        Raises UsageError if the name belongs to a video from another source, unless `replace`.
        """
        if not info.name or "/" in info.name or info.name in (".", ".."):
            raise UsageError(f"{info.name!r} cannot name a video in an HDF5 file; use a name without slashes")
        held = self._videos.get(info.name)
        if held is not None and held.source != info.source and not held.same_export(info) and not replace:
            raise UsageError(
                f"{self.path} has a video {info.name} already, from {held.source}; pass --name to store "
                f"{info.source} under another name"
            )
        folder = pending_folder(self.path)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write beside {self.path} ({error.strerror}); choose another place") from None
        number = 1 + max((int(part.name.split(".")[0]) for part in folder.glob("*.h5*")), default=0)
        return _StoredVideo(self, folder / f"{number:08d}.h5", info)

    def merge(self) -> None:
        """Bring all finished videos into the file itself, in one atomic step."""
        parts = pending_parts(self.path)
        if parts:
            self._rewrite(lambda: self._merge_into_copy(parts))
        for part in parts:
            part.unlink(missing_ok=True)
        try:
            pending_folder(self.path).rmdir()
        except OSError:
            pass  # it is not there, or a video is being written

    def close(self) -> None:
        """Merge and give the lock back."""
        try:
            self.merge()
        finally:
            self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _finished(self, info: VideoInfo) -> None:
        self._videos[info.name] = info
        size = self.path.stat().st_size
        waiting = sum(part.stat().st_size for part in pending_parts(self.path))
        if size < self._merge_always_below or waiting * MERGE_SHARE >= size:
            self.merge()

    def _rewrite(self, fill: Callable[[], None]) -> None:
        """Let `fill` make the temporary file, then put it in the place of the real one."""
        try:
            fill()
            flush_to_disk(self._temporary)
            os.replace(self._temporary, self.path)
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            reason = error.strerror or str(error).splitlines()[0]
            raise OutputError(
                f"cannot write {self.path} ({reason}); free space there or choose another place"
            ) from None

    def _create_empty(self) -> None:
        import h5py

        with h5py.File(self._temporary, "w") as file:
            write_store_info(file, self.info)

    def _merge_into_copy(self, parts: list[Path]) -> None:
        import h5py

        incoming: dict[str, tuple[Path, str]] = {}
        for part in parts:
            with open_file(part) as file:
                for name, group in file["videos"].items():
                    incoming[name] = (part, str(group.attrs["uid"]))
        with open_file(self.path) as old:
            present = {name: str(old["videos"][name].attrs["uid"]) for name in old["videos"]}
            replaced = {name for name, (_, uid) in incoming.items() if name in present and present[name] != uid}
            if replaced:
                # Deleting from an HDF5 file leaves holes; copying the rest into a new file does not.
                with h5py.File(self._temporary, "w") as new:
                    write_store_info(new, read_store_info(old))
                    for name in sorted(present.keys() - replaced):
                        old.copy(f"videos/{name}", new["videos"], name)
        if not replaced:
            shutil.copyfile(self.path, self._temporary)
        with h5py.File(self._temporary, "r+") as new:
            for name, (part, _) in incoming.items():
                if name not in new["videos"]:  # else a merge was cut off between the rename and the clean-up
                    with open_file(part) as file:
                        file.copy(f"videos/{name}", new["videos"], name)


class _StoredVideo(VideoWriter):
    """A VideoWriter that tells its store when the video is complete."""

    def __init__(self, store: StoreWriter, part: Path, info: VideoInfo) -> None:
        super().__init__(part, store.info, info, uuid.uuid4().hex)
        self._store = store

    def finish(self) -> Path:
        part = super().finish()
        self._store._finished(self.info)
        return part


def _short(info: StoreInfo) -> str:
    return f"{info.model_name or 'model'} {info.model_fingerprint[:12]}"
