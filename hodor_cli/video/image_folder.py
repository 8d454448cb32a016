"""A folder of images, or many pictures in one file, as a stream of frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from hodor_cli.errors import InputError, OutputError
from hodor_cli.images.label_png import is_black_and_white, is_label_picture
from hodor_cli.images.listing import frame_name, is_called_mask, list_pictures
from hodor_cli.images.paths import (
    listed,
    plural,
    read_start,
    size_text,
    summarise_files,
    visible_files,
    visible_folders,
)
from hodor_cli.images.picture import (
    PICTURE_SUFFIXES,
    Warn,
    measure_source_range,
    read_header,
    read_pages,
    read_picture,
    read_stored,
)
from hodor_cli.images.pillow import TIFF_STARTS
from hodor_cli.images.tiff_axes import pages_along
from hodor_cli.records import ReportRecord, read_record
from hodor_cli.video.frames import Frame, FrameSource, ListedSource, ReadSettings

FOLDER_FPS = 24.0  # a folder states no rate; DAVIS and films have this one


class ImageFolderSource(ListedSource):
    """The pictures of a folder in natural order (img2 before img10); a frame's name is its file's stem.

    Opening reads all headers, so that damaged pictures and different sizes are reported before any frame is read.
    Pictures of more than 8 bits are scaled by one range for the whole folder: `value_range`, or measured on a few of
    them. `warnings` names what is ignored: files with unknown suffixes, a mask among the frames, later pages of a file.

    Raises `InputError` if there are no pictures (saying what the folder holds instead), the pictures are masks or
    differ in size, a frame has two files, or `start` is past the end; while reading, if a picture is damaged.
    """

    kind = "folder"

    def __init__(self, folder: Path, settings: ReadSettings, fps: float = FOLDER_FPS) -> None:
        super().__init__(str(folder), folder.resolve().name or "images", settings)
        self.fps, self._folder, self._count = fps, folder, _count_pictures(folder)
        files, left_out = list_pictures(folder)
        if not files:
            instead = _found_instead(folder, visible_files(folder))
            raise InputError(f"{folder} holds no images (PNG, JPEG, WebP, BMP or TIFF): {instead}")
        for text in left_out:
            self.warn(text)
        self.require_start(len(files), "image")
        self.files, self.names = files[self.start : self.end], [frame_name(file) for file in files]
        self.length = len(self.files)
        headers = {file: read_header(file) for file in self.files}
        if headers[self.files[0]].one_valued:
            _require_no_masks(folder, self.files[0], self.warn)
        self.height, self.width = headers[self.files[0]].size
        for file, header in headers.items():
            if header.size != (self.height, self.width):
                raise InputError(
                    f"the images of {folder} differ in size: {self.files[0].name} is {self.width}x{self.height} but "
                    f"{file.name} is {size_text(header.size)}; scale all frames alike, or give a folder of each size"
                )
        if paged := [file for file, header in headers.items() if header.pages > 1]:
            self.warn(
                f"only the first picture of {listed(paged, 1)} is used; to use all, give the file itself as the source"
            )
        deep = [(file, 0) for file, header in headers.items() if header.deep]
        if self.value_range is None and deep:
            self.value_range = measure_source_range(deep, self.warn)

    def between(self, first: int, stop: int) -> Iterator[Frame]:
        yield from super().between(first, stop)
        if self.end is None and stop >= len(self.names) and _count_pictures(self._folder) > self._count:
            self.warn(f"{self.label} grew while it was read: the new pictures are left out; read it again")

    def _read(self, index: int) -> np.ndarray:
        file = self.files[index - self.start]
        image = read_picture(file, value_range=self.value_range, warn=self.warn)
        if image.shape[:2] != (self.height, self.width):
            raise InputError(f"{file} has changed its size; run again when nothing writes to {file.parent}")
        return image


def _count_pictures(folder: Path) -> int:
    names = visible_files(folder) if folder.is_dir() else []  # it may have been removed since
    return sum(Path(name).suffix.lower() in PICTURE_SUFFIXES for name in names)


def _video_of(report: Path) -> str | None:
    """The video of a result, in words if its report does not say where it is; None without a report."""
    if not report.is_file():
        return None
    try:
        place = read_record(report, ReportRecord).place.get("source", "")
    except (OutputError, OSError):
        return f"the video that they belong to, which {report.name} should name; it is damaged"
    return place or "the video that they belong to"


def _require_no_masks(folder: Path, first: Path, warn: Warn) -> None:
    """Raise InputError if a folder holds masks, and warn if it might. first: its first picture, which has one value per
    pixel."""
    whole = folder.resolve()
    if whole.name == "masks" and (video := _video_of(whole.parent / "report.json")):
        raise InputError(f"{folder} holds the masks of a result, which are not frames; give {video}")
    stored = read_stored(first)
    # Drawings and thermal images may be black and white too, so a folder name such as Annotations decides.
    white = is_black_and_white(stored)
    if is_label_picture(stored) or (white and any(map(is_called_mask, whole.parts[-3:]))):
        raise InputError(f"{folder} holds masks, not frames; give their video or images, or save them as RGB")
    if white:
        warn(f"{folder} may hold masks, because its first image is black and white; it is read as frames")


def _found_instead(folder: Path, names: list[str]) -> str:
    if (folder / "masks").is_dir() and (video := _video_of(folder / "report.json")):
        return f"it holds the masks of a result; give {video}"
    videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if len(videos) == 1:
        return f"it holds {summarise_files(names)}; did you mean {folder / videos[0]}?"
    if videos:
        return f"it holds {summarise_files(names)}; give one, such as {folder / videos[0]}, or all to `segment_videos`"
    deeper = _first_with_pictures(folder)
    folders = visible_folders(folder)
    if deeper is not None:
        shown = listed([sub.name for sub in folders], 3)
        return f"it holds the {'folder' if len(folders) == 1 else 'folders'} {shown}; did you mean {deeper}?"
    if names or folders:
        parts = [summarise_files(names)] if names else []
        parts += [f"{plural(len(folders), 'folder')} without images"] if folders else []
        return f"it holds {' and '.join(parts)}"
    return "it is empty"


VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".gif"}


def _first_with_pictures(folder: Path, depth: int = 4) -> Path | None:
    """The first folder below this one that holds images (in DAVIS, three levels down); folders of masks come last."""
    for sub in sorted(visible_folders(folder), key=lambda sub: is_called_mask(sub.name)):
        if any(file.suffix.lower() in PICTURE_SUFFIXES for file in sub.glob("[!.]*")):
            return sub
        found = _first_with_pictures(sub, depth - 1) if depth > 1 else None
        if found is not None:
            return found
    return None


class PictureStackSource(FrameSource):
    """The pages of one picture file, numbered from 0. Times are the animation's; pages of a TIFF follow at `fps`.

    Pages of more than 8 bits are scaled by one range for the whole file: `value_range`, or measured on a few of them.
    Pages that differ in size from the first (thumbnails in a TIFF) are left out, with a warning. axes: which pages of a
    TIFF with several axes are the frames, such as "T,Z=3,C=0". Raises `InputError` if the file is damaged, has several
    axes and none is chosen, or `start` is past the end.
    """

    kind = "video"

    def __init__(self, path: Path, settings: ReadSettings) -> None:
        super().__init__(str(path), path.stem, settings)
        self.path = path
        header = read_header(path)
        self._chosen = pages_along(path, self.axes)
        pages = range(header.pages) if self._chosen is None else self._chosen
        (self.height, self.width), self._pages = header.size, len(pages)
        self.require_start(self._pages, "picture")
        self.length = (self._pages if self.end is None else min(self.end, self._pages)) - self.start
        deep = [(path, page) for page in pages] if header.deep else []
        if self.value_range is None and deep:
            self.value_range = measure_source_range(deep, self.warn)
        with closing(read_pages(path, pages=pages, value_range=self.value_range)) as read:
            _, shown = next(read)
        self.fps = FOLDER_FPS if shown is None else 1 / shown

    def count_up_to(self, stop_at: int) -> int:
        return self._pages

    def __iter__(self) -> Iterator[Frame]:
        time, index, skipped = 0.0, 0, 0
        for image, shown in read_pages(self.path, pages=self._chosen, value_range=self.value_range, warn=self.warn):
            if self.end is not None and index >= self.end:
                break
            if image.shape[:2] != (self.height, self.width):
                skipped += 1
                continue
            duration = shown or 1 / self.fps
            if index >= self.start:
                yield Frame(index, f"{index:05d}", image, time, duration)
            time, index = time + duration, index + 1
        self.require_start(index, "picture")
        self.length, self.exact_length = index - self.start, True
        if skipped:
            self.warn(f"{self.label}: left out {plural(skipped, 'page')} of another size than the first")


def count_pages(path: Path) -> int:
    """Number of pictures in a file that Pillow reads page by page (TIFF, WebP, AVIF, PNG); 0 for other files. Raises
    InputError for a TIFF that Pillow cannot read."""
    head = read_start(path, 16)
    tiff = head.startswith(TIFF_STARTS)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    avif = head[4:12] in (b"ftypavif", b"ftypavis")
    if not (tiff or webp or avif or head[:8] == b"\x89PNG\r\n\x1a\n"):
        return 0
    try:
        return read_header(path).pages
    except InputError:
        if tiff:
            raise
        return 0  # the video decoder may read an AVIF that this Pillow cannot read
