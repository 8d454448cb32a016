"""A video file as a stream of frames, and a video from standard input or a named pipe, which can be read only once."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.paths import plural, reading_file
from hodor_cli.video.container import count_missing_bytes, is_torn, open_container, pick_stream
from hodor_cli.video.damage import Tally
from hodor_cli.video.decoding import DecodedSource, decode_frames
from hodor_cli.video.frames import Frame, ReadSettings, reached
from hodor_cli.video.packets import Entries, count_packets, read_entries
from hodor_cli.video.sound import SoundTrack
from hodor_cli.video.yuv import deep_values, picture_of

_COUNT_AHEAD = 2000


class VideoFileSource(DecodedSource):
    """Any file that PyAV decodes. Every iteration opens the file again, so that several can run at once.

    One `Frame` per decoded frame, also if the rate varies. A file that is cut off gives the frames that can be read,
    then a warning about what is missing. Opening raises `InputError` if the file is no video, has no frame, or ends
    before `start`.
    """

    def __init__(self, path: Path, settings: ReadSettings) -> None:
        super().__init__(str(path), path.stem, settings)
        self.path = path
        self._counted, self._counted_all = 0, False
        #: The first frame so far whose number may not be that of its time stamp.
        self._misnumbered_from: float = math.inf
        self._missing_bytes = count_missing_bytes(path)
        with open_container(str(path), self.label) as container:
            no_frame = f"{self.label} holds no frame that can be decoded"
            tally = Tally()
            stream, first, _ = self._read_first(container, tally, no_frame)
            self._begin, self._before, self._tick = first.stamp, tally.before, float(stream.time_base or 0)
            self._declared = stream.frames or (round(container.duration / 1e6 * self.fps) if container.duration else 0)
            self._declared = max(0, self._declared - self._before)
            self.sound = SoundTrack(path, first.time or 0.0, self.end is None) if container.streams.audio else None
        if self.start > 0:
            self.require_start(self.count_up_to(self.start + 1))
        if self._declared:
            last = self._declared if self.end is None else min(self.end, self._declared)
            self.length = max(last - self.start, 1)

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        with open_container(str(self.path), self.label) as container:
            yield container, pick_stream(container, self.label)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames(self.start)

    def _frames(self, first: int) -> Iterator[Frame]:
        """The frames from `first` on; those before are decoded, and not made RGB."""
        count = 0
        with self._opened() as opened, self._reporting() as tally:
            for frame in self._numbered(decode_frames(*opened, tally), first):
                count = frame.index + 1
                if tally.misnumbered:
                    self._misnumbered_from = min(self._misnumbered_from, frame.index)
                yield frame
            self.length, self.exact_length = count - self.start, True
            if tally.finished:
                self._warn_of_loss(tally, count)

    def _warn_of_loss(self, tally: Tally, count: int) -> None:
        """Find out whether the file has lost packets, inside or at its end. count: of its frames."""
        missing = self._declared - count - tally.after
        if not tally.torn:
            tally.torn = (bool(tally.jumps) or missing > 0) and is_torn(self.path)
        else:
            tally.jumps.pop(0, None)  # streams begin at any time
        missing = max(0, missing - round(sum(tally.jumps.values()) * self.fps if tally.torn else 0))
        if tally.cut_tail or (missing > 0 and (tally.torn or self._missing_bytes > 0)):
            lost = (
                f"about {missing} more ({missing / self.fps:.1f} s) are missing" if missing else "the rest is missing"
            )
            self.warn(f"{self.label} is cut off: {plural(count, 'frame')} could be read, {lost}")

    def between(self, first: int, stop: int) -> Iterator[Frame]:
        """As any source's; from the keyframe before `first` on where time stamps say which frame is which."""
        first, stop = max(first, self.start), stop if self.end is None else min(stop, self.end)
        known = 0 if self._entries is None else int(min(len(self._entries.stamps), self._misnumbered_from))
        if self._entries is not None and first < min(stop, known):
            for frame in self._from_keyframe(self._entries, first, stop):
                yield frame
                first = frame.index + 1
            stop = min(stop, known)
        if first < stop:  # without time stamps, seeking led elsewhere, or the file is damaged
            yield from islice(self._frames(first), stop - first)

    def nearest_start(self, index: int) -> int:
        """The keyframe before `index`, if time stamps identify the frames."""
        entries = self._entries
        if entries is None or index >= min(len(entries.stamps), self._misnumbered_from):
            return self.start
        return entries.index(entries.keyframe(index)) or 0

    def _from_keyframe(self, entries: Entries, first: int, stop: int) -> Iterator[Frame]:
        """The frames from `first` on as long as they come one after the other."""
        with self._opened() as (container, stream), self._reporting() as tally:
            container.seek(entries.keyframe(first), stream=stream)
            for item in decode_frames(container, stream, Tally()):
                index = entries.index(item.stamp)
                if index is not None and index < first:
                    continue
                if index != first or index >= stop or deep_values(item.frame) is not None:
                    return
                tally.note(index, missing=item.missing, patched=item.frame.is_corrupt)
                picture = picture_of(item.frame, self._turn, (self.height, self.width), self.colours)
                time = entries.stamps[index] * self._tick - entries.stamps[0] * self._tick
                yield Frame(index, f"{index:05d}", picture, time, item.duration)
                first += 1

    def frame_at(self, seconds: float) -> int:
        if self._entries is None:  # without time stamps the frames are decoded
            index = -1
            for frame in self:
                index = frame.index
                if reached(frame.time, seconds):
                    return index
            return index + 1
        begin, tick = self._entries.stamps[0], self._tick
        return bisect_left(self._entries.stamps, True, key=lambda stamp: reached((stamp - begin) * tick, seconds))

    @cached_property
    def _entries(self) -> Entries | None:
        """The file's table of frames; None if its packets have no time stamps that tell them apart."""
        with self._opened() as opened:
            entries = read_entries(*opened)
        return None if entries is None or self._begin is None else entries.without_start(self._begin)

    def count_up_to(self, stop_at: int) -> int:
        """Counts the file's packets without decoding them; a damaged file can give fewer frames."""
        if stop_at > self._counted and not self._counted_all:
            ahead = stop_at + _COUNT_AHEAD  # so that calls for one frame after the other do not read the file each time
            with self._opened() as opened:
                self._counted = count_packets(*opened, ahead + self._before) - self._before
            self._counted_all = self._counted < ahead
        return self._counted


class VideoPipeSource(DecodedSource):
    """Any format that can be read without seeking: MPEG-TS, Matroska, raw H.264, MP4 with its index in front.

    Its length is unknown and it can be read only once. Opening waits for the first frame.
    """

    reiterable = False

    def __init__(self, pipe: BinaryIO, label: str, name: str, settings: ReadSettings) -> None:
        super().__init__(label, name, settings)
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
            _, first, decoded = self._read_first(self._container, self._tally, unreadable)
        except InputError:
            self._container.close()
            raise
        self._decoded = chain([first], decoded)
        if self._container.streams.audio:
            self.warn(f"the sound of {label} is not copied into the overlay, because a pipe is read only once")

    @classmethod
    def from_stdin(cls, settings: ReadSettings) -> VideoPipeSource:
        """The video on standard input."""
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError('"-" reads a video from standard input, but nothing is piped in')
        return cls(sys.stdin.buffer, "standard input", "stdin", settings)

    @classmethod
    def from_path(cls, path: Path, settings: ReadSettings) -> VideoPipeSource:
        """The video of a named pipe."""
        with reading_file(path):
            pipe = path.open("rb")
        return cls(pipe, str(path), path.stem, settings)

    def __iter__(self) -> Iterator[Frame]:
        if self._used:
            raise InputError(f"{self.label} is a pipe and can be read only once")
        self._used = True
        count = self.start
        with self._reporting(self._tally):
            for frame in self._numbered(self._decoded, self.start):
                count = frame.index + 1
                yield frame
        self.length, self.exact_length = count - self.start, True
        if self._tally.cut_tail:
            self.warn(f"{self.label} ended in the middle of a frame: {plural(count, 'frame')} could be read")

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
