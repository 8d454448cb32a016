"""Many pictures in one file as a stream of frames: a TIFF of many pages, an animated WebP, AVIF or PNG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural, read_start
from hodor_cli.images.picture import read_header, read_pages
from hodor_cli.images.tiff_axes import pages_along
from hodor_cli.images.value_range import ValueRange
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.image_folder import FOLDER_FPS, measured_range


class PictureStackSource(FrameSource):
    """The pages of one picture file, numbered from 0. Times are the animation's; pages of a TIFF follow at `fps`.

    Pages of more than 8 bits are scaled by one range for the whole file: `value_range`, or measured on a few of them.
    Pages of another size than the first (thumbnails in a TIFF) are left out, with a warning. axes: which pages of a
    TIFF with several axes are frames, "T,Z=3,C=0". Raises `InputError`: the file is damaged, has several axes and none
    is chosen, `start` is past the end.
    """

    kind = "video"

    def __init__(
        self,
        path: Path,
        *,
        start: int = 0,
        end: int | None = None,
        value_range: ValueRange | None = None,
        axes: str | None = None,
    ) -> None:
        super().__init__(str(path), path.stem, start, end, value_range)
        self.path, self.axes = path, axes
        header = read_header(path)
        self._chosen = pages_along(path, axes)
        pages = range(header.pages) if self._chosen is None else self._chosen
        self.height, self.width, self._pages = header.height, header.width, len(pages)
        self.require_start(self._pages, "picture")
        self.length = (self._pages if end is None else min(end, self._pages)) - start
        deep = [(path, page) for page in pages] if header.deep else []
        if value_range is None:
            self.value_range = measured_range(self, deep)
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
        self.length, self.exact_length = index - self.start, True
        if skipped:
            self.warn(f"{self.label}: {plural(skipped, 'page')} of another size than the first left out")


def count_pages(path: Path) -> int:
    """Number of pictures in a file that Pillow reads page by page (TIFF, WebP, AVIF, PNG); 0 for any other file. Raises
    InputError for a TIFF that it cannot read."""
    head = read_start(path, 16)
    tiff = head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    avif = head[4:12] in (b"ftypavif", b"ftypavis")
    if not (tiff or webp or avif or head[:8] == b"\x89PNG\r\n\x1a\n"):
        return 0
    try:
        return read_header(path).pages
    except InputError as error:
        if tiff:
            raise InputError(
                f"{path} is a TIFF that cannot be read (of 64-bit numbers, perhaps); save it with 8, 16 or 32 bits"
            ) from error
        return 0  # the video decoder may read an AVIF that this Pillow cannot read
