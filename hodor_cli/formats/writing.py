"""Writes an export's folder, which appears only when it is complete and never replaces the user's other files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import harmless, is_plain_name, put_in_place, require_replaceable, writing
from hodor_cli.formats.annotations import Picture
from hodor_cli.images.paths import path_text, reading_file, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES
from hodor_cli.images.pillow import picture_bytes
from hodor_cli.locks import locked_folder

#: The file that lists what an export wrote, so that a later export replaces only these files.
_LIST = ".hodor-export"
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_QUALITY = 95


class FolderWriter:
    """Writes the files of one export below `root`, a hidden folder.

    tolerance: how far, in pixels, polygons may deviate from the edge of a mask. frames: also write the pictures. names:
    of all pictures; if several folders have a picture of one name, all pictures get the names of their folders.
    """

    def __init__(self, root: Path, *, tolerance: float = 0.0, frames: bool = False, names: Iterable[str] = ()) -> None:
        self.root, self.tolerance, self.frames = root, tolerance, frames
        places = {(path.parent, path.stem) for path in (Path(name.casefold()) for name in names)}
        self._with_folders = len({stem for _, stem in places}) < len(places)
        self._taken: set[str] = set()  # names of pictures without endings, casefolded, because some systems ignore case

    def place(self, name: str) -> Path:
        """The path of the file `name` (folders separated by /), whose folder is created. Raises OutputError for a name
        that leads outside."""
        parts = name.split("/")
        if not all(is_plain_name(part) for part in parts):
            raise OutputError(f"{name[:80]!r} cannot be the name of a file in the export; rename the picture")
        path = self.root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, name: str, content: str) -> None:
        self.place(name).write_text(content + "\n", encoding="utf-8")

    def picture(self, picture: Picture, folder: str, stem: str = "") -> str:
        """Choose a unique file name for a picture, from its own name or from `stem`; call this once for each. With
        `frames`, also write the picture into `folder` ("" is the root)."""
        whole = Path(picture.name)
        if picture.file is not None and whole.suffix.lower() not in PICTURE_SUFFIXES:  # the name of a frame
            whole = Path(picture.file.name)
        ending = whole.suffix if whole.suffix.lower() in PICTURE_SUFFIXES else ".jpg"
        stem = stem or (whole.stem if ending == whole.suffix else whole.name)
        numbered = (f"{stem}_{number}" for number in count(2))
        long = "_".join((*whole.parts[:-1], stem))
        wanted = chain([] if self._with_folders else [stem], [long], numbered)
        names = (harmless(path_text(name)) for name in wanted)
        stem = next(free for free in names if free.casefold() not in self._taken)
        self._taken.add(stem.casefold())
        name = stem + ending
        if self.frames:
            place = f"{folder}/{name}" if folder else name
            if picture.image is not None:
                write_picture(self.place(place), picture.image)
            elif picture.file is not None:
                with reading_file(picture.file):
                    data = picture_bytes(picture.file)
                self.place(place).write_bytes(data)
        return name


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB or (H, W, 4) RGBA uint8 in the format of the file's ending, at quality 95 if it is lossy."""
    options = {"subsampling": 0} if path.suffix.lower() in _JPEG else {}
    PIL.Image.fromarray(image).save(path, quality=_QUALITY, **options)


def require_free(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless an export may be written to `path`: it must be free or an empty folder or, with
    `overwrite`, an earlier export."""
    if path.is_dir() and not path.is_symlink():
        empty = not visible_files(path) and not any(entry.is_dir() for entry in path.iterdir())
        if not empty and not (overwrite and is_export(path)):
            why = "holds an export already; set `overwrite`, or" if is_export(path) else "holds other files;"
            raise OutputError(f"{path} {why} choose another place with `out`")
        return
    require_replaceable(path)
    if path.exists():
        raise OutputError(f"{path} is a file, and an export is a folder; choose another place with `out`")


@contextmanager
def new_folder(path: Path, *, tolerance: float = 0.0, frames: bool = False, names: Iterable[str] = (),
               overwrite: bool = False, again: str = "run the same again") -> Iterator[FolderWriter]:  # fmt: skip
    """Yield a writer for a hidden folder that becomes `path` after the block, or is removed if the block raises.

    With `overwrite`, the files of an earlier export are replaced; other files in the folder stay. again: what to do
    once a full disk has room again. Raises OutputError.
    """
    require_free(path, overwrite=overwrite)
    hidden = path.parent / f".{path.name}.tmp"  # `with_name` refuses "."
    lock = locked_folder(path.parent, name=f".{path.name}.lock", advice="wait until it ends, or choose another `out`")
    with writing(path.parent, again=again), lock:
        shutil.rmtree(hidden, ignore_errors=True)  # left by a killed export
        hidden.mkdir()
        try:
            yield FolderWriter(hidden, tolerance=tolerance, frames=frames, names=names)
            made = sorted(file.relative_to(hidden).as_posix() for file in hidden.rglob("*") if file.is_file())
            if not made:
                raise OutputError(f"there is nothing to write to {path}: no picture has an object")
            (hidden / _LIST).write_text("\n".join(made) + "\n", encoding="utf-8")
            if not path.is_dir():
                put_in_place(hidden, path)
                return
            _remove_listed(path)  # including files that the new export does not have
            for name in [*made, _LIST]:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                put_in_place(hidden / name, path / name)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def is_export(path: Path) -> bool:
    """Whether `path` is a folder that `new_folder` made, and not a link to one."""
    return not path.is_symlink() and (path / _LIST).is_file()


def lacks_pictures(path: Path) -> bool:
    """Whether `path` is an export without the pictures that it annotates."""
    names = _listed(path)
    pictures = [name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    only_labels = pictures == names and not any("/" in name for name in names)  # the format png
    return is_export(path) and (not pictures or only_labels)


def remove_export(path: Path) -> None:
    """Remove the files of an export and the folders that become empty; other files stay."""
    removed = _remove_listed(path)
    folders = {folder for target in removed for folder in target.parents if folder.is_relative_to(path)} | {path}
    (path / _LIST).unlink(missing_ok=True)
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def _listed(path: Path) -> list[str]:
    """The names of the files in an export; empty if `path` is not an export."""
    return (path / _LIST).read_text(encoding="utf-8").splitlines() if (path / _LIST).is_file() else []


def _remove_listed(path: Path) -> list[Path]:
    """Remove the files of an export and return their paths."""
    found = []
    for name in _listed(path):
        target = path.joinpath(*name.split("/"))
        inside = target.parent.resolve().is_relative_to(path.resolve())
        if inside and all(is_plain_name(part) for part in name.split("/")):
            target.unlink(missing_ok=True)
            found.append(target)
    return found
