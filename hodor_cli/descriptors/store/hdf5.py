"""Opening descriptor files safely: nothing outside the file is read, and every fault is reported in one sentence.

HDF5 files can refer to other files (external links, raw external storage, virtual data sets) and can claim sizes that
they do not hold. Stores never do either, so both are refused before HDF5 follows them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import msgspec
import numpy as np

from hodor_cli.descriptors.store.heap import Heaps
from hodor_cli.descriptors.store.schema import DATASETS, FORMAT_NAME, FORMAT_VERSION, StoreInfo
from hodor_cli.errors import HodorError, InputError

#: Bytes of data per stored byte; gzip compresses at most 1,032 to 1, so a higher ratio was never written.
MOST_PACKED = 1100
#: Bytes that one data set of one video may take in memory.
MOST_BYTES = 8 << 30
#: Bytes of one chunk, which HDF5 reads as a whole.
MOST_CHUNK_BYTES = 64 << 20

T = TypeVar("T")
_PART = re.compile(r"\d{8,18}\.h5")


def pending_folder(path: Path) -> Path:
    """Where finished videos wait until they are merged into `path`. Raises InputError if a link or a file is there."""
    folder = path.with_name(path.name + ".pending")
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise InputError(f"{folder} is a link or a file where {path.name} needs a folder; move it away")
    return folder


def pending_parts(path: Path) -> list[Path]:
    """Finished videos that wait to be merged, oldest first. Unfinished ones end in `.tmp` and are left out."""
    parts = (part for part in pending_folder(path).glob("*.h5") if _PART.fullmatch(part.name))
    return sorted(part for part in parts if not part.is_symlink() and part.is_file())


def open_file(path: Path) -> h5py.File:
    """Open a descriptor file for reading and check that it is one; its videos are not checked yet.

    Raises InputError if it is missing, not HDF5, truncated, not a descriptor file, or of another format version.
    """
    if not path.exists():
        raise InputError(f"no such descriptor file: {path}; make one with `export_sources`")
    if not path.is_file():
        folder = "a folder, not a descriptor file; name the .h5 file inside it"
        what = folder if path.is_dir() else "not a regular file; give a file that `export_sources` wrote"
        raise InputError(f"{path} is {what}")
    try:
        if not h5py.is_hdf5(path):
            raise InputError(f"{path} is not an HDF5 file; give one that `export_sources` wrote")
        file = h5py.File(path, "r")
    except PermissionError:
        raise InputError(f"{path} cannot be read (permission denied); change its permissions") from None
    except BlockingIOError:
        raise InputError(f"{path} is open for writing in another program; close it there first") from None
    except (OSError, RuntimeError, ValueError) as error:
        what = "is truncated" if "truncated" in str(error) else f"cannot be read as HDF5 ({error})"
        raise InputError(f"{path} {what}; restore it from a copy, or move it away and export again") from None
    try:
        with reading(path), Heaps(path, file.userblock_size) as heaps:
            heaps.check_attributes(file)
            known = file.attrs.get("format") == FORMAT_NAME and b"videos" in list(_own_members(path, file, ""))
            if not known or not isinstance(file["videos"], h5py.Group):
                raise InputError(f"{path} holds no hodor descriptors; give a file that `export_sources` wrote")
            version = int(file.attrs["format_version"])
            if version != FORMAT_VERSION:
                raise InputError(
                    f"{path} has descriptor format version {version} and this hodor reads version {FORMAT_VERSION}; "
                    + ("update hodor" if version > FORMAT_VERSION else "move it away and export again")
                )
            read_attributes(file, StoreInfo)
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def reading(path: Path, video: str | None = None) -> Iterator[None]:
    """Turn any error of HDF5 and h5py about damaged content into an InputError that names the file and the video."""
    try:
        yield
    except HodorError:
        raise
    except (
        OSError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, ValueError, MemoryError,
    ) as error:  # fmt: skip
        reason = (str(error).strip("'\"") or type(error).__name__).splitlines()[0]
        where = f" at video {video}" if video is not None else ""
        way_out = "restore it from a copy, or move it away and export again"
        raise InputError(f"{path} is damaged{where} ({reason}); {way_out}") from None


def read_attributes(group: h5py.Group, form: type[T], **others: Any) -> T:
    """A group's attributes, and `others`, as a dataclass. Raises ValueError if one is missing, of the wrong type or out
    of range."""
    held = {name: value.item() if isinstance(value, np.generic) else value for name, value in group.attrs.items()}
    try:
        if "settings" in held:
            held["settings"] = msgspec.json.decode(held["settings"])
        json.dumps(held, ensure_ascii=False, default=str).encode()  # text with invalid bytes could not be printed
        return msgspec.convert(held | others, form)
    except msgspec.ValidationError as error:
        where = str(error).rpartition("$.")[2] if "$." in str(error) else str(error).rpartition(" ")[2]
        what = "missing" if "missing" in str(error) else "not what it must be"
        raise ValueError(f"the attribute {where.strip('`')} is {what}") from error


def write_store_info(file: h5py.File, info: StoreInfo) -> None:
    """Turn an empty file into a store without videos."""
    file.attrs.update({"format": FORMAT_NAME, "format_version": FORMAT_VERSION, **vars(info)})
    file.require_group("videos")


def open_videos(path: Path, file: h5py.File) -> dict[str, h5py.Group]:
    """The groups of a store's videos by name. Raises InputError if there is any link, even within the file."""
    groups: dict[str, h5py.Group] = {}
    with reading(path), Heaps(path, file.userblock_size) as heaps:
        videos = file["videos"]
        for raw in _own_members(path, videos, "videos"):
            name = raw.decode("utf-8")
            group = videos[name]
            with reading(path, name):
                if not isinstance(group, h5py.Group):
                    raise ValueError("it is not a group")
                if b"frame" not in list(_own_members(path, group, name)):
                    raise ValueError("it has no frames")
                heaps.check_attributes(group)
            groups[name] = group
    return groups


def open_dataset(path: Path, group: h5py.Group, video: str, name: str, channels: int) -> h5py.Dataset:
    """One data set of a video, with the type and shape given in `DATASETS` and no larger than its stored bytes allow.

    Raises InputError for anything else, including data stored in other files.
    """
    with reading(path, video):
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError(f"{name} is not a data set")
        if dataset.is_virtual or dataset.external:
            raise InputError(f"{path} takes {name} of {video} from another file, never read; move it, export again")
        kind, *rest = DATASETS[name]
        shape = tuple(channels if size == "C" else size for size in rest)
        own = tuple(size if wanted is None else wanted for size, wanted in zip(dataset.shape[1:], shape, strict=False))
        if kind != _kind(dataset.dtype) or dataset.shape[1:] != own or dataset.ndim != 1 + len(shape):
            raise ValueError(f"{name} is {dataset.dtype} of shape {dataset.shape}")
        packed = dataset.id.get_storage_size()
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        if size > min(MOST_PACKED * packed, MOST_BYTES):
            raise ValueError(f"{name} claims {size} bytes and {packed} are stored")
        if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > MOST_CHUNK_BYTES:
            raise ValueError(f"{name} has chunks of {dataset.chunks}")
    return dataset


def _own_members(path: Path, group: h5py.Group, where: str) -> Iterator[bytes]:
    """The names in a group, all of which must be hard links, because other links could lead anywhere."""
    for raw in group.id:
        if group.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
            name = raw.decode("utf-8", "replace")
            raise InputError(f"{path} holds a link, {where}/{name}, which is never followed; give another file")
        yield raw


def _kind(dtype: object) -> str:
    """The name of a data type in `DATASETS`."""
    if (text := h5py.check_string_dtype(dtype)) is not None:
        return "text" if text.length is None else "other"
    if (items := h5py.check_vlen_dtype(dtype)) is not None:
        return "bytes" if items == "uint8" else "other"
    return str(dtype)
