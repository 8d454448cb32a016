"""Opening descriptor files: every way in which a file can be wrong becomes one sentence.

A store is one HDF5 file and, only while it is being written or after a kill, a folder `FILE.pending` beside it with
finished videos that are not yet merged in, each a small store of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.descriptors.store.schema import FORMAT_NAME, FORMAT_VERSION, StoreInfo
from hodor_cli.errors import InputError

if TYPE_CHECKING:
    import h5py


def pending_folder(path: Path) -> Path:
    """Where finished videos wait until they are merged into `path`."""
    return path.with_name(path.name + ".pending")


def pending_parts(path: Path) -> list[Path]:
    """Finished videos that wait to be merged, oldest first. Unfinished ones end in `.tmp` and are not listed."""
    return sorted(pending_folder(path).glob("*.h5"))


def open_file(path: Path) -> h5py.File:
    """Open one descriptor file for reading and check that it is one.

    Raises InputError: missing, not HDF5, cut short, not a descriptor store, or of another format version.
    """
    import h5py

    if path.is_dir():
        raise InputError(f"{path} is a folder, not a descriptor file; name the .h5 file inside it")
    if not path.exists():
        raise InputError(
            f"no such descriptor file: {path}; make one with `hodor export-descriptors SOURCE -o {path.name}`"
        )
    try:
        if not h5py.is_hdf5(path):
            raise InputError(f"{path} is not an HDF5 file; give one that `hodor export-descriptors` wrote")
        file = h5py.File(path, "r")
    except PermissionError:
        raise InputError(f"{path} cannot be read (permission denied); change its permissions") from None
    except OSError as error:
        what = "is cut short" if "truncated" in str(error) else f"cannot be read as HDF5 ({_first_line(error)})"
        raise InputError(f"{path} {what}; restore it from a copy or export it again") from None
    try:
        _check_format(path, file)
    except BaseException:
        file.close()
        raise
    return file


def read_store_info(file: h5py.File) -> StoreInfo:
    """The root's attributes."""
    attributes = file.attrs
    return StoreInfo(
        model_fingerprint=str(attributes["model_fingerprint"]),
        channels=int(attributes["channels"]),
        model_name=str(attributes.get("model_name", "")),
    )


def write_store_info(file: h5py.File, info: StoreInfo) -> None:
    """Make an empty file a store without videos."""
    file.attrs["format"] = FORMAT_NAME
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["model_fingerprint"] = info.model_fingerprint
    file.attrs["model_name"] = info.model_name
    file.attrs["channels"] = info.channels
    file.require_group("videos")


def flush_to_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk, so that a rename never points at an empty file after a power cut."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_format(path: Path, file: h5py.File) -> None:
    name = file.attrs.get("format")
    if name != FORMAT_NAME or "videos" not in file:
        raise InputError(
            f"{path} is an HDF5 file but holds no hodor descriptors; give one that `hodor export-descriptors` wrote"
        )
    version = int(file.attrs.get("format_version", 0))
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has descriptor format version {version} and this hodor reads version {FORMAT_VERSION}; "
            + ("update hodor" if version > FORMAT_VERSION else "export it again")
        )

    lacking = [name for name in ("model_fingerprint", "channels") if name not in file.attrs]
    if lacking:
        raise InputError(
            f"{path} is damaged: it lacks the attribute {lacking[0]}; restore it from a copy or export it again"
        )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
