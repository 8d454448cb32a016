"""`StoreWriter`: adding videos to a descriptor file so that a kill at any moment loses at most the video in progress.

HDF5 files are not safe to change in place: a kill in the middle of an update can make the whole file unreadable. So the
file itself is never opened for writing. Each video is written to its own file in `FILE.pending/`, which is renamed when
complete; a merge copies FILE and the finished videos into a new file and renames that over FILE. Renames are atomic, so
FILE is a valid store at every instant. Merging copies the whole file, so a large file is merged less often: when the
finished videos reach a quarter of its size, and at the end. `DescriptorStore` reads FILE and those videos together.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from os.path import exists
from pathlib import Path

import numpy as np

from hodor_cli.descriptors.store import hdf5
from hodor_cli.descriptors.store.disk import WritableFile
from hodor_cli.descriptors.store.rows_writer import RowsWriter
from hodor_cli.descriptors.store.schema import StoreInfo, VideoInfo
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.files import new_file, remove_leftovers, require_replaceable
from hodor_cli.images.paths import listed
from hodor_cli.locks import locked_file
from hodor_cli.runtime.interrupts import uninterrupted

MERGE_ALWAYS_BELOW = 64 << 20  # bytes: copying this much after each video costs less than the video did
MERGE_SHARE = 4  # above that size, merge when finished videos reach 1 / MERGE_SHARE of the file
_NO_ROOM = "free space there and run it again, or choose another place"


def remove_videos(path: str | Path, names: Sequence[str]) -> None:
    """Remove videos from a descriptor file: all of these, or none if an error is raised.

    Raises UsageError if the file does not have one of them, InputError or OutputError if it cannot be read or written.
    """
    with DescriptorStore(path) as store:
        info = store.info
    with StoreWriter(path, info) as writer:
        for name in names:
            if name not in writer.videos:
                there = listed(writer.videos, 8) or "none"
                raise UsageError(f"{path} has no video {name!r}; its videos: {there}")
        for name in dict.fromkeys(names):
            writer.drop(name)


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Open a descriptor file for adding videos, creating it if needed; one writer at a time.

        with StoreWriter("objects.h5", StoreInfo(fingerprint, 256)) as writer:
            if not writer.has(info):                                # same content, same settings: skip
                with writer.video(info) as video:                   # a changed video of that name is replaced
                    video.add_frame(0, [ObjectRow(...)], background)

    Raises InputError if the file holds another model's descriptors, OutputError if another process is writing it or it
    cannot be written.
    """

    def __init__(self, path: str | Path, info: StoreInfo) -> None:
        self.path = Path(path)
        self.info = info
        self._dropped: set[str] = set()  # videos to leave out at the next merge
        require_replaceable(self.path)
        if not self.path.parent.is_dir():
            raise OutputError(f"the folder {self.path.parent} does not exist; create it or choose another place")
        with ExitStack() as lock:
            lock.enter_context(locked_file(self.path))
            self._prepare()
            self._lock = lock.pop_all()

    def _prepare(self) -> None:
        """Remove a killed writer's unfinished videos, make sure the file exists, and merge the finished videos."""
        remove_leftovers(self.path.parent, glob.escape(self.path.name))
        for leftover in hdf5.pending_folder(self.path).glob("*.h5.tmp"):
            leftover.unlink(missing_ok=True)
        self._made = not self.path.exists()
        if self._made:
            with new_file(self.path, _NO_ROOM) as temporary, closing(WritableFile(temporary)) as new, uninterrupted():
                hdf5.write_store_info(new.file, self.info)
        with hdf5.open_file(self.path) as file:
            held = hdf5.read_attributes(file, StoreInfo)
        if held.model_fingerprint != self.info.model_fingerprint:
            models = (f"{info.model_name or 'model'} {info.model_fingerprint[:12]}" for info in (held, self.info))
            raise InputError(f"{self.path} is for another model ({', now '.join(models)}); write to another file")
        self.info = held
        for part in hdf5.pending_parts(self.path):
            try:
                with DescriptorStore(part) as found:
                    whole = found.info.same_model(held)
            except InputError:
                whole = False
            if not whole:
                part.unlink(missing_ok=True)  # damaged by a power cut; its video will be written again
        with DescriptorStore(self.path) as store:
            self._videos = {name: store.video(name) for name in store.videos}
        self.merge()

    @property
    def videos(self) -> list[str]:
        """Names of the videos in the file so far, sorted."""
        return sorted(self._videos)

    def has(self, info: VideoInfo) -> bool:
        """True if this video is in the file already, from the same content with the same settings.

        False if its source has moved since: then it is written again, so that the file has its present path.
        """
        held = self._videos.get(info.name)
        return held is not None and held.same_export(info) and not _moved(held, info)

    def video(self, info: VideoInfo) -> RowsWriter:
        """Start writing one video; an earlier one of the same name and origin is replaced when this one is complete.

        Raises UsageError if the name belongs to a video from another source, or with masks from another place (a second
        result of the same video).
        """
        if not info.name or "/" in info.name or "\0" in info.name or info.name in (".", ".."):
            raise UsageError(f"{info.name!r} cannot name a video in an HDF5 file; give another `name`, without slashes")
        held = self._videos.get(info.name)
        if held is not None and not (_same_place(held, info) or held.same_export(info)):
            earlier = f"{held.source} with the masks of {held.result}" if held.result else held.source
            renamed = "" if info.kind.startswith("davis") else "give this one another `name` or "
            raise UsageError(f"{self.path} has a video {info.name} made from {earlier}; {renamed}write to another file")
        folder = hdf5.pending_folder(self.path)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write next to {self.path} ({error.strerror}); choose another place") from None
        number = 1 + max((int(part.name.partition(".")[0]) for part in hdf5.pending_parts(self.path)), default=0)
        return RowsWriter(folder / f"{number:08d}.h5", self.info, info, self._finished)

    def drop_renamed(self, name: str) -> str:
        """Leave out the video that is `name` under its earlier name: its source is gone, and it shows the same objects
        with the same crops. Returns that name, "" if there is none."""
        info = self._videos[name]
        gone = [held.name for held in self._videos.values() if _moved(held, info)]
        if not gone:
            return ""
        with DescriptorStore(self.path) as store:
            alike = (held for held in gone if store.count([held]) == store.count([name]))
            earlier = next((held for held in alike if _same_objects(store, held, name)), "")
        if earlier:
            self.drop(earlier)
        return earlier

    def drop(self, name: str) -> None:
        """Leave out a video of the file at the next merge."""
        del self._videos[name]
        self._dropped.add(name)

    def merge(self) -> None:
        """Move all finished videos into the file itself, in one atomic step."""
        parts = hdf5.pending_parts(self.path)
        if parts or self._dropped:
            sources = {name: part for part in parts for name in _names(part) if name not in self._dropped}
            present = _names(self.path)
            kept = present - sources.keys() - self._dropped
            with new_file(self.path, _NO_ROOM) as temporary:
                if kept == present:
                    shutil.copyfile(self.path, temporary)
                with closing(WritableFile(temporary, existing=kept == present)) as new:
                    if kept != present:
                        with DescriptorStore(self.path) as held:
                            for name in kept:  # check the crops: HDF5 would loop forever when it copies damaged ones
                                held.thumbnails(name)
                        # Deleting from an HDF5 file leaves holes; copying the rest into a new file does not.
                        hdf5.write_store_info(new.file, self.info)
                        sources |= dict.fromkeys(kept, self.path)
                    for name, path in sorted(sources.items()):
                        with hdf5.open_file(path) as file, uninterrupted(), hdf5.reading(path, name):
                            file.copy(f"videos/{name}", new.file["videos"], name)
                        new.check()
        for part in parts:
            part.unlink(missing_ok=True)
        self._dropped.clear()
        with suppress(OSError):  # the folder does not exist, or a video is being written in it
            hdf5.pending_folder(self.path).rmdir()

    def close(self) -> None:
        """Merge and release the lock. If the disk is full, finished videos stay pending, where readers find them."""
        try:
            self.merge()
        finally:
            self._lock.close()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None and self._made and not self._videos:
            self.path.unlink(missing_ok=True)
        try:
            self.close()
        except OutputError:
            if error is None:
                raise  # the block's own error is more important

    def _finished(self, info: VideoInfo) -> None:
        self._videos[info.name] = info
        self._dropped.discard(info.name)
        size = self.path.stat().st_size
        waiting = sum(part.stat().st_size for part in hdf5.pending_parts(self.path))
        if size < MERGE_ALWAYS_BELOW or waiting * MERGE_SHARE >= size:
            self.merge()


def _names(path: Path) -> set[str]:
    """The names of the videos in one file."""
    with hdf5.open_file(path) as file:
        return set(hdf5.open_videos(path, file))


def _same_objects(store: DescriptorStore, one: str, other: str) -> bool:
    """Whether two videos have the same objects in the same places, with the same crops, and not without any."""
    keys = ("frame", "object_id", "box", "area")
    same = all(np.array_equal(store.dataset(one, key), store.dataset(other, key)) for key in keys)
    return same and any(crops := store.thumbnails(one)) and crops == store.thumbnails(other)


def _moved(held: VideoInfo, info: VideoInfo) -> bool:
    """Whether a stored video's source has another path now."""
    return held.source != info.source and not exists(Path(held.source))


def _same_place(held: VideoInfo, info: VideoInfo) -> bool:
    """Whether two videos have the same source and masks. If a source has moved, its masks show which it is."""
    return held.result == info.result and (held.source == info.source or (info.result != "" and _moved(held, info)))
