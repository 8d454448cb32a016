"""A video from standard input or a named pipe, which can be read only once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.paths import plural
from hodor_cli.video.container import open_container
from hodor_cli.video.decoding import Tally
from hodor_cli.video.file import number_frames, read_first, report_damage
from hodor_cli.video.frames import Frame, FrameSource


class VideoPipeSource(FrameSource):
    """Any format that can be read without seeking: MPEG-TS, Matroska, raw H.264, MP4 with its index in front.

    Its length is unknown and it can be read only once. Opening waits for the first frame.
    """

    kind = "video"
    reiterable = False

    def __init__(self, pipe: BinaryIO, label: str, name: str, *, start: int = 0, end: int | None = None) -> None:
        super().__init__(label, name, start, end)
        self._pipe = pipe
        self._tally = Tally()
        self._used = False
        unreadable = (
            f"{label} gives no video that can be read from a pipe; send MPEG-TS or Matroska, or an MP4 with its index "
            f"in front (ffmpeg -movflags faststart)"
        )
        try:
            self._container = open_container(_ReadOnly(pipe), label)
        except InputError as error:
            raise InputError(unreadable) from error
        try:
            _, first, decoded, self._turn = read_first(self, self._container, self._tally, unreadable)
        except InputError:
            self._container.close()
            raise
        self._decoded = chain([first], decoded)
        if self._container.streams.audio:
            self.warn(f"the sound of {label} is not copied into the overlay, because a pipe is read only once")

    @classmethod
    def from_stdin(cls, *, start: int = 0, end: int | None = None) -> VideoPipeSource:
        """The video on standard input."""
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError('"-" reads a video from standard input, but nothing is piped in')
        return cls(sys.stdin.buffer, "standard input", "stdin", start=start, end=end)

    @classmethod
    def from_path(cls, path: Path, *, start: int = 0, end: int | None = None) -> VideoPipeSource:
        """The video of a named pipe."""
        try:
            pipe = path.open("rb")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls(pipe, str(path), path.stem, start=start, end=end)

    def __iter__(self) -> Iterator[Frame]:
        if self._used:
            raise InputError(f"{self.label} is a pipe and can be read only once")
        self._used = True
        count = self.start
        for frame in number_frames(self, self._decoded, self._turn):
            count = frame.index + 1
            yield frame
        self.length, self.exact_length = count - self.start, True
        if self._tally.cut_tail:
            self.warn(f"{self.label} ended in the middle of a frame: {plural(count, 'frame')} could be read")
        report_damage(self, self._tally)

    def close(self) -> None:
        self._container.close()
        if self._pipe is not getattr(sys.stdin, "buffer", None):
            self._pipe.close()


class _ReadOnly:
    """A pipe with only `read`, so that PyAV does not seek; it returns what is there and does not wait for more."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._read = getattr(pipe, "read1", pipe.read)

    def read(self, size: int) -> bytes:
        return self._read(size) or b""
