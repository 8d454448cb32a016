"""A folder of images as a stream of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural, summarise_files, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES, picture_size, read_picture
from hodor_cli.video.source import Frame, FrameSource

FOLDER_FPS = 24.0  # DAVIS and film; a folder does not say


class ImageFolderSource(FrameSource):
    """the images of a folder in natural order (img2 before img10), hidden files left out; a frame's name is the stem.

    All headers are read on opening, so that an image of another size or no image at all is reported before any work.
    Raises `InputError`: no images (saying what is there instead), sizes that differ, two files with one stem, `start`
    past the end; while reading, for an image that is damaged.
    """

    kind = "folder"

    def __init__(self, folder: Path, *, start: int = 0, end: int | None = None, fps: float = FOLDER_FPS) -> None:
        super().__init__(str(folder), folder.resolve().name or "images", start, end)
        self.fps = fps
        files = list_pictures(folder)
        if start >= len(files):
            raise InputError(
                f"--start {start} is past the end of {folder}, which has {plural(len(files), 'image')}, counted from 0"
            )
        self.files = files[start:end]
        self._indices = {file.stem: index for index, file in enumerate(files)}
        self.height, self.width = _common_size(self.files)
        self.length, self.exact_length = len(self.files), True

    def count_up_to(self, stop_at: int) -> int:
        return len(self._indices)

    def index_of(self, name: str) -> int | None:
        return self._indices.get(name)

    def __iter__(self) -> Iterator[Frame]:
        for index, file in enumerate(self.files, start=self.start):
            yield Frame(index, file.stem, read_picture(file), index / self.fps)


def list_pictures(folder: Path) -> list[Path]:
    """The image files of a folder in natural order. Raises `InputError` when there is none or two share a stem."""
    names = visible_files(folder)
    files = [folder / name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    if not files:
        raise InputError(f"{folder} holds no images (PNG, JPEG, WebP, BMP or TIFF): {_found_instead(folder, names)}")
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise InputError(
                f"{folder} holds both {other.name} and {file.name}, which would be the same frame; keep one of the two "
                f"(masks belong in a folder of their own)"
            )
    return files


def _common_size(files: list[Path]) -> tuple[int, int]:
    height, width = picture_size(files[0])
    for file in files[1:]:
        other = picture_size(file)
        if other != (height, width):
            raise InputError(
                f"the images of {file.parent} differ in size: {files[0].name} is {width}x{height} but {file.name} is "
                f"{other[1]}x{other[0]}; a sequence has one size"
            )
    return height, width


def _found_instead(folder: Path, names: list[str]) -> str:
    videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if len(videos) == 1:
        return f"it holds {summarise_files(names)}; did you mean {folder / videos[0]}?"
    if videos:
        return (
            f"it holds {summarise_files(names)}; give one of the videos, for example {folder / videos[0]}, or all of "
            "them with --masks FOLDER"
        )
    deeper = _first_with_pictures(folder)
    folders = visible_folders(folder)
    if deeper is not None:
        shown = ", ".join(sub.name for sub in folders[:3]) + (" ..." if len(folders) > 3 else "")
        return f"it holds the folder{'s' if len(folders) > 1 else ''} {shown}; did you mean {deeper}?"
    if names or folders:
        parts = [summarise_files(names)] if names else []
        parts += [f"{len(folders)} folder{'s' if len(folders) > 1 else ''} without images"] if folders else []
        return f"it holds {' and '.join(parts)}"
    return "it is empty"


_MASK_FOLDERS = {"annotations", "annotation", "masks", "mask", "labels", "gt"}  # offered last
VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".gif"}


def _first_with_pictures(folder: Path, depth: int = 4) -> Path | None:
    """The first folder below this one that holds images; DAVIS keeps them three levels down."""
    for sub in sorted(visible_folders(folder), key=lambda sub: sub.name.casefold() in _MASK_FOLDERS):
        if any(Path(name).suffix.lower() in PICTURE_SUFFIXES for name in _names(sub)):
            return sub
        found = _first_with_pictures(sub, depth - 1) if depth > 1 else None
        if found is not None:
            return found
    return None


def _names(folder: Path) -> list[str]:
    try:
        return visible_files(folder)
    except InputError:
        return []
