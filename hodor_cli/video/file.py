"""A video file as a stream of frames, and a video from standard input or a named pipe, which can be read only once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural
from hodor_cli.video.container import count_missing_bytes, is_torn, open_container, pick_stream
from hodor_cli.video.damage import Damage
from hodor_cli.video.decoding import DecodedFrame, DecodedSource, decode_frames
from hodor_cli.video.frames import Frame, ReadSettings
from hodor_cli.video.packets import FrameTable, count_packets, read_frame_table
from hodor_cli.video.sound import SoundTrack
from hodor_cli.video.yuv import deep_values, picture_of

_COUNT_AHEAD = 2000


class VideoFileSource(DecodedSource):
    """Any file that PyAV decodes. Every iteration opens the file again, so several can run at the same time.

    Yields one `Frame` per decoded frame, even if the rate varies. A truncated file yields the frames that can be read,
    then warns about what is missing. Opening raises `InputError` if the file is not a video, has no frames, or ends
    before `start`.
    """

    def __init__(self, path: Path, settings: ReadSettings) -> None:
        super().__init__(str(path), path.stem, settings)
        self.path = path
        self._counted, self._counted_all = 0, False
        #: The first frame found so far whose number may not match its time stamp.
        self._misnumbered_from: float = math.inf
        self._missing_bytes, self._size = count_missing_bytes(path), path.stat().st_size
        with open_container(str(path), self.label) as container:
            no_frame = f"{self.label} holds no frame that can be decoded"
            damage = Damage()
            stream, first, _ = self._read_first(container, damage, no_frame)
            self._begin, self._before, self._tick = first.stamp, damage.before, float(stream.time_base or 0)
            # Matroska counts its duration from time 0, also if its first frame is later.
            late = (first.time or 0.0) - self._before / self.fps if "matroska" in container.format.name else 0.0
            seconds = (stream.duration or 0) * self._tick or max(0.0, (container.duration or 0) / 1e6 - late)
            declared, in_time = max(0, stream.frames - damage.left_out), round(seconds * self.fps)
            if not declared or 0 < in_time < 0.99 * declared - 1:  # an edit list also leaves out what is not sent here
                declared = in_time
            self._declared = max(0, declared - self._before)
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
        """The frames from `first` on; earlier frames are decoded but not converted to RGB."""
        count = 0
        with self._opened() as opened, self._reporting() as damage:
            for frame in self._numbered(decode_frames(*opened, damage), first):
                count = frame.index + 1
                if damage.misnumbered:
                    self._misnumbered_from = min(self._misnumbered_from, frame.index)
                yield frame
            if count == 0:  # `first` is past the end, so the frames before it were not counted
                return
            self.length, self.exact_length = count - self.start, True
            if damage.finished:
                self._warn_of_loss(damage, count)
                if self.path.exists() and self.path.stat().st_size > self._size:
                    self.warn(f"{self.label} grew while it was read: frames at its end may be missing; read it again")

    def _warn_of_loss(self, damage: Damage, count: int) -> None:
        """Warn if the file has lost packets, inside or at its end. count: the number of frames read."""
        missing = self._declared - count - damage.after
        if not damage.torn:
            damage.torn = (bool(damage.jumps) or missing > 0) and is_torn(self.path, cut=self._missing_bytes > 0)
        else:
            damage.jumps.pop(0, None)  # a stream may begin at any time
        inside = sum(seconds for at, seconds in damage.jumps.items() if at > 0)
        missing = max(0, missing - round(inside * self.fps if damage.torn else 0))
        if damage.cut_tail or (missing > 0 and (damage.torn or self._missing_bytes > 0)):
            lost = (
                f"about {missing} more ({missing / self.fps:.1f} s) are missing" if missing else "the rest is missing"
            )
            self.warn(f"{self.label} is cut off: {plural(count, 'frame')} could be read, {lost}")

    def between(self, first: int, stop: int) -> Iterator[Frame]:
        """Like the base method; decodes from the keyframe before `first` on if time stamps identify the frames."""
        first, stop = max(first, self.start), stop if self.end is None else min(stop, self.end)
        known = 0 if self._table is None else int(min(len(self._table.stamps), self._misnumbered_from))
        if self._table is not None and first < min(stop, known):
            for frame in self._from_keyframe(self._table, first, stop):
                yield frame
                first = frame.index + 1
            stop = min(stop, known)
        if first < stop:  # no time stamps, seeking went wrong, or the file is damaged
            yield from islice(self._frames(first), stop - first)

    def nearest_start(self, index: int) -> int:
        """The keyframe before `index`, if time stamps identify the frames."""
        table = self._table
        if table is None or index >= min(len(table.stamps), self._misnumbered_from):
            return self.start
        return table.index(table.keyframe(index)) or 0

    def _from_keyframe(self, table: FrameTable, first: int, stop: int) -> Iterator[Frame]:
        """The frames from `first` on, as long as they are consecutive."""
        with self._opened() as (container, stream), self._reporting() as damage:
            container.seek(table.keyframe(first), stream=stream)
            for item in decode_frames(container, stream, Damage()):
                index = table.index(item.stamp)
                if index is not None and index < first:
                    continue
                if index != first or index >= stop or deep_values(item.frame) is not None:
                    return
                damage.note(index, missing=item.missing, patched=item.frame.is_corrupt)
                picture = picture_of(item.frame, self._turn, (self.height, self.width), self.colours)
                time = table.stamps[index] * self._tick - table.stamps[0] * self._tick
                yield Frame(index, f"{index:05d}", picture, time, item.duration)
                first += 1

    @cached_property
    def _table(self) -> FrameTable | None:
        """The file's table of frames; None if its packets have no unique time stamps."""
        with self._opened() as opened:
            table = read_frame_table(*opened)
        return None if table is None or self._begin is None else table.without_start(self._begin)

    def count_up_to(self, stop_at: int) -> int:
        """Counts the file's packets without decoding them; a damaged file may have fewer frames."""
        if stop_at > self._counted and not self._counted_all:
            ahead = stop_at + _COUNT_AHEAD  # so that calls for consecutive frames do not read the file each time
            with self._opened() as opened:
                self._counted = count_packets(*opened, ahead + self._before) - self._before
            self._counted_all = self._counted < ahead
        return self._counted


class VideoPipeSource(DecodedSource):
    """A video from a pipe, in any format that can be read without seeking: MPEG-TS, Matroska, raw H.264, or MP4 with
    its index at the front.

    Its length is unknown, and it can be read only once. Opening waits for the first frame.
    """

    reiterable = False

    def __init__(self, pipe: BinaryIO, label: str, name: str, settings: ReadSettings) -> None:
        super().__init__(label, name, settings)
        self._pipe, self._reader = pipe, _ReadOnly(pipe)
        self._damage = Damage()
        self._used = False
        unreadable = f"{label} is no video that a pipe can send; use MPEG-TS, Matroska, or ffmpeg -movflags faststart"
        try:
            self._container = open_container(self._reader, label)
        except InputError as error:
            self._reader.raise_interrupt()
            empty = f"{label} ended before it sent anything; check the program that writes to it"
            raise InputError(unreadable if self._reader.any else empty) from error
        try:
            _, first, decoded = self._read_first(self._container, self._damage, unreadable)
        except InputError:
            self._container.close()
            self._reader.raise_interrupt()
            raise
        self._decoded = self._reader.uninterrupted(chain([first], decoded))
        if self._container.streams.audio:
            self.warn(f"the sound of {label} is not copied into the overlay, because a pipe can be read only once")

    def __iter__(self) -> Iterator[Frame]:
        if self._used:
            raise InputError(f"{self.label} is a pipe and can be read only once")
        self._used = True
        count = self.start
        with self._reporting(self._damage):
            for frame in self._numbered(self._decoded, self.start):
                count = frame.index + 1
                yield frame
        self.length, self.exact_length = count - self.start, True
        if self._damage.cut_tail:
            self.warn(f"{self.label} ended in the middle of a frame: {plural(count, 'frame')} could be read")

    def close(self) -> None:
        self._container.close()
        if self._pipe is not getattr(sys.stdin, "buffer", None):
            self._pipe.close()


class _ReadOnly:
    """A pipe with only `read`, so that PyAV does not seek. It returns the available bytes without waiting for more.

    any: whether it has sent a byte.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._read = getattr(pipe, "read1", pipe.read)
        self._interrupt: KeyboardInterrupt | None = None
        self.any = False

    def read(self, size: int) -> bytes:
        data = b""
        if self._interrupt is None:  # FFmpeg also reads after the end
            try:
                data = self._read(size) or b""
            except KeyboardInterrupt as interrupt:  # PyAV would print it and read on
                self._interrupt = interrupt
        self.any = self.any or bool(data)
        return data

    def raise_interrupt(self) -> None:
        """Raise the KeyboardInterrupt that ended the reading, if one did."""
        if self._interrupt is not None:
            raise self._interrupt

    def uninterrupted(self, frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
        """The same frames, up to where a KeyboardInterrupt ended the reading, which is then raised."""
        for frame in frames:
            self.raise_interrupt()
            yield frame
        self.raise_interrupt()
