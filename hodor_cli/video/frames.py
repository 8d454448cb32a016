"""Frames and the interface of all their sources.

Sources stream: they hold only a few frames in memory, however long the video is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from numbers import Integral
from os.path import exists
from pathlib import Path

import numpy as np

from hodor_cli.errors import InputError, UsageError
from hodor_cli.files import harmless
from hodor_cli.images.paths import plural, readable_name
from hodor_cli.images.value_range import ValueRange
from hodor_cli.video.sound import SoundTrack
from hodor_cli.video.yuv import Colours, Picture

#: Bytes of decoded frames that `backwards` holds; a video is decoded forward in pieces of this size.
_HELD = 192 * 2**20


@dataclass(frozen=True)
class ReadSettings:
    """Which frames of a source to read, and how; for the fields see `open_source`. Raises UsageError."""

    start: int = 0
    end: int | None = None
    value_range: ValueRange | None = None
    axes: str | None = None

    def __post_init__(self) -> None:
        start, end, scale = self.start, self.end, self.value_range
        if not isinstance(start, Integral) or not isinstance(end, Integral | None):
            raise UsageError(f"`start` and `end` are numbers of frames, not {start!r} and {end!r}")
        if start < 0:
            raise UsageError(f"`start` {start} is negative; frames count from 0")
        if end is not None and end <= start:
            raise UsageError(f"`end` {end} leaves no frame after `start` {start}; it is the first frame not read")
        if scale is not None and not scale.low < scale.high:
            raise UsageError(f"`value_range` {scale.low:g},{scale.high:g} must increase from black to white")


@dataclass(frozen=True)
class Frame:
    """One picture of a source, upright (rotation metadata applied).

    index: counted from 0 at the source's first frame, even if reading starts later.
    name:  "00012" in a video or camera; in a folder, the file's name without its suffix.
    picture: (H, W, 3) uint8 RGB, or a `YuvPicture` of it.
    image: (H, W, 3) uint8 RGB; the receiver may change it.
    time:  seconds since the source's first frame; uneven if the frame rate varies.
    duration: for how many seconds the frame is shown, None if unknown.
    """

    index: int
    name: str
    picture: Picture
    time: float
    duration: float | None = None

    @cached_property
    def image(self) -> np.ndarray:
        return np.asarray(self.picture)


class FrameSource(AbstractContextManager["FrameSource"]):
    """A stream of frames of the same size, opened by `open_source`. Iterate over it; close it or use it in `with`.

        for frame in source:
            print(frame.index, frame.name, frame.image.shape)  # (H, W, 3) uint8 RGB

    kind:         "video", "folder" or "camera".
    name:         stem of the file or folder, "camera0", or "stdin"; used to name results.
    label:        the source as the user named it, for messages; `place`: its absolute path, None for a camera or pipe.
    height/width: size of every frame, in pixels, after rotation.
    pixel_aspect: displayed width of a pixel divided by its height; not 1 in anamorphic video.
    colours:      how a video codes colours, for videos made from it; frames are RGB.
    fps:          frames per second; the average if the rate varies.
    sound:        where to copy the source's sound from; None without sound.
    start, end:   the source reads the frames start <= index < end (end None: to the last).
    value_range:  the values that become black and white in frames of more than 8 bits; None for 8-bit frames, or if it
                  is measured while reading.
    axes:         the time axis of a TIFF with several axes, and the position on the others, if chosen.
    length:       number of frames from start to end, None if unknown (camera, pipe). An estimate from the file's header
                  unless `exact_length`, which becomes true when the source has been read to its end.
    warnings:     sentences about problems while reading, such as a file that is cut off.
    reiterable:   False for a camera or pipe, which can be read only once.
    content:      what `content_hash` found; None before it was asked.
    """

    kind: str
    name: str
    label: str
    place: Path | None
    height: int
    width: int
    pixel_aspect: Fraction = Fraction(1)
    colours: Colours = Colours()
    fps: float
    sound: SoundTrack | None = None
    start: int
    end: int | None
    length: int | None = None
    exact_length: bool = False
    reiterable: bool = True
    content: str | None = None

    def __init__(self, label: str, name: str, settings: ReadSettings) -> None:
        self.label = readable_name(label)
        self.place = Path(label).resolve() if exists(Path(label)) else None
        self.name = readable_name(name)
        self.start, self.end = settings.start, settings.end
        self.value_range, self.axes = settings.value_range, settings.axes
        self.warnings: list[str] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r}, {self.width}x{self.height}, {self.length} frames)"

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames from `start` up to `end`."""

    def between(self, first: int, stop: int) -> Iterator[Frame]:
        """Yield the frames first <= index < stop within start..end. Reading starts as close to `first` as possible."""
        for frame in self:
            if first <= frame.index < stop:
                yield frame
            if frame.index + 1 >= stop:
                return

    def nearest_start(self, index: int) -> int:
        """The frame from which `between` must read to reach frame `index`: the first, unless the source can seek."""
        return self.start

    def has_frame(self, index: int) -> bool:
        """Whether frame `index` will be read: it is within start..end and, if the source's length is known, exists."""
        if index < self.start or (self.end is not None and index >= self.end):
            return False
        count = self.count_up_to(index + 1)
        return count is None or count > index

    def count_up_to(self, stop_at: int) -> int | None:
        """Number of frames of the whole source, regardless of start..end; counting may stop at `stop_at`. None if
        unknown (camera, pipe)."""
        return None

    def frame_names(self) -> list[str] | None:
        """The names of all frames, regardless of start..end, if they come from files; None if frames are numbered."""
        return None

    def close(self) -> None:  # nothing to do for sources that open their file for each reading
        """Release the file or camera. The attributes of a closed source can still be read."""

    def warn(self, text: str) -> None:
        """Add a sentence to `warnings` if it is new; an empty text is ignored."""
        if text and (text := harmless(text)) not in self.warnings:  # it may contain a name that is not UTF-8
            self.warnings.append(text)

    def require_start(self, count: int, noun: str = "frame") -> None:
        """Raise `InputError` unless `start` is one of the source's `count` frames."""
        if self.start >= count:
            raise InputError(f"`start` {self.start} is past the end: {self.label} has {plural(count, noun)}, from 0")

    def __exit__(self, *error: object) -> None:
        self.close()


class ListedSource(FrameSource):
    """Pictures that can be read one by one, in any order. names: the names of all frames, regardless of start..end."""

    names: list[str]
    exact_length = True

    @abstractmethod
    def _read(self, index: int) -> np.ndarray:
        """The (H, W, 3) uint8 RGB of a frame. Raises `InputError`, also if its size is not the source's."""

    def count_up_to(self, stop_at: int) -> int:
        return len(self.names)

    def frame_names(self) -> list[str]:
        return list(self.names)

    def __iter__(self) -> Iterator[Frame]:
        return self.between(self.start, len(self.names))

    def between(self, first: int, stop: int) -> Iterator[Frame]:
        last = len(self.names) if self.end is None else min(self.end, len(self.names))
        for index in range(max(first, self.start), min(stop, last)):
            yield Frame(index, self.names[index], self._read(index), index / self.fps)

    def nearest_start(self, index: int) -> int:
        return index


def backwards(source: FrameSource, first: int, stop: int) -> Iterator[Frame]:
    """Yield the frames from stop - 1 down to `first`; each piece of them is read forward by `source.between`.

    Raises InputError if the source yields fewer frames than expected.
    """
    count = max(4, _HELD // (source.height * source.width * 3))
    for low in reversed(range(first, stop, count)):
        high = min(low + count, stop)
        frames = list(source.between(low, high))
        if len(frames) != high - low:
            raise InputError(
                f"{source.label} has only {len(frames)} of frames {low} to {high - 1} when read backward; convert it"
            )
        while frames:
            yield frames.pop()
