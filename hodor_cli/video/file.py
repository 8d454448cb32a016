"""A video file as a stream of frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural
from hodor_cli.images.value_range import ValueRange, measure_range
from hodor_cli.video.colours import Colours
from hodor_cli.video.container import describe_unused, frame_rate, open_container, pick_stream, pixel_aspect
from hodor_cli.video.container_size import count_missing_bytes
from hodor_cli.video.decoding import (
    DecodedFrame,
    Entries,
    Tally,
    Turn,
    count_packets,
    decode_frames,
    deep_values,
    read_entries,
    read_turn,
    upright_aspect,
    upright_size,
)
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.sound import SoundTrack
from hodor_cli.video.yuv import picture_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_COUNT_AHEAD = 2000
_MEASURED_FRAMES = 9


class VideoFileSource(FrameSource):
    """Any file that PyAV decodes. Every iteration opens the file again, so that several can run at once.

    One `Frame` per decoded frame, also if the rate varies. A file that is cut off gives the frames that can be read,
    then a warning about what is missing. Opening raises `InputError` if the file is no video, has no frame, or ends
    before `start`.
    """

    kind = "video"

    def __init__(
        self, path: Path, *, start: int = 0, end: int | None = None, value_range: ValueRange | None = None
    ) -> None:
        super().__init__(str(path), path.stem, start, end, value_range)
        self.path = path
        self._counted, self._counted_all = 0, False
        self._table: list[Entries | None] = []
        self._missing_bytes = count_missing_bytes(path)
        with open_container(str(path), self.label) as container:
            no_frame = f"{self.label} holds no frame that can be decoded"
            stream, first, _, self._turn = read_first(self, container, Tally(), no_frame)
            self._declared = stream.frames or (round(container.duration / 1e6 * self.fps) if container.duration else 0)
            self.sound = SoundTrack(path, first.time or 0.0, end is None) if container.streams.audio else None
        if start > 0:
            self.require_start(self.count_up_to(start + 1))
        if self._declared:
            last = self._declared if end is None else min(end, self._declared)
            self.length = max(last - start, 1)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames(self.start)

    def _from_start(self, first: int, stop: int) -> Iterator[Frame]:
        """The frames from `first` on, by decoding all before them."""
        return islice(self._frames(first), max(0, stop - first))

    def _frames(self, first: int) -> Iterator[Frame]:
        """The frames from `first` on; those before are decoded, and not made RGB."""
        tally = Tally()
        count = 0
        with open_container(str(self.path), self.label) as container:
            stream = pick_stream(container, self.label)
            for frame in number_frames(self, decode_frames(container, stream, tally), self._turn, first):
                count = frame.index + 1
                yield frame
        self.length, self.exact_length = count - self.start, True
        if tally.finished:
            self._report_loss(count, tally)
        report_damage(self, tally)

    def between(self, first: int, stop: int) -> Iterator[Frame]:
        """As any source's; from the keyframe before `first` on where time stamps say which frame is which."""
        first, stop = max(first, self.start), stop if self.end is None else min(stop, self.end)
        entries = self._entries()
        if entries is None or first >= min(stop, len(entries.stamps)):
            yield from self._from_start(first, stop)
            return
        for frame in self._from_keyframe(entries, first, stop):
            yield frame
            first = frame.index + 1
        if first < min(stop, len(entries.stamps)):  # seeking led elsewhere, or the file is damaged
            yield from self._from_start(first, stop)

    def nearest_start(self, index: int) -> int:
        """The keyframe before `index`, if time stamps identify the frames."""
        entries = self._entries()
        if entries is None or index >= len(entries.stamps):
            return self.start
        return entries.index(entries.keyframe(index)) or 0

    def _from_keyframe(self, entries: Entries, first: int, stop: int) -> Iterator[Frame]:
        """The frames from `first` on as long as they come one after the other."""
        with open_container(str(self.path), self.label) as container:
            stream = pick_stream(container, self.label)
            tick = float(stream.time_base or 0)
            container.seek(entries.keyframe(first), stream=stream)
            for item in decode_frames(container, stream, Tally()):
                index = entries.index(item.frame.pts)
                if index is not None and index < first:
                    continue
                if index != first or index >= stop or deep_values(item.frame) is not None:
                    return
                picture = picture_of(item.frame, self._turn, (self.height, self.width), self.colours)
                time = entries.stamps[index] * tick - entries.stamps[0] * tick
                yield Frame(index, f"{index:05d}", picture, time, item.duration)
                first += 1

    def _entries(self) -> Entries | None:
        """The file's table of frames, read once; None if its packets have no time stamps that tell them apart."""
        if not self._table:
            with open_container(str(self.path), self.label) as container:
                self._table.append(read_entries(container, pick_stream(container, self.label)))
        return self._table[0]

    def count_up_to(self, stop_at: int) -> int:
        """Counts the file's packets without decoding them; a damaged file can give fewer frames."""
        if stop_at > self._counted and not self._counted_all:
            ahead = stop_at + _COUNT_AHEAD  # so that calls for one frame after the other do not read the file each time
            with open_container(str(self.path), self.label) as container:
                self._counted = count_packets(container, pick_stream(container, self.label), ahead)
            self._counted_all = self._counted < ahead
        return self._counted

    def _report_loss(self, count: int, tally: Tally) -> None:
        missing = max(self._declared - count, 0)
        cut = tally.cut_tail or (self._missing_bytes > 0 and missing > 0)
        if not cut:
            return
        known = f"about {missing} more ({missing / self.fps:.1f} s) are missing" if missing else "the rest is missing"
        self.warn(f"{self.label} is cut off: {plural(count, 'frame')} could be read, {known}")


def read_first(
    source: FrameSource, container: InputContainer, tally: Tally, no_frame: str
) -> tuple[VideoStream, DecodedFrame, Iterator[DecodedFrame], Turn]:
    """Set size, rate, pixel aspect and colours of `source` by the stream to read; return the stream, its first frame,
    the further frames, and its rotation. Raises `InputError` with the message `no_frame` if none can be decoded."""
    stream = pick_stream(container, source.label)
    source.fps = frame_rate(stream)
    source.warn(describe_unused(container, stream, source.label))
    decoded = decode_frames(container, stream, tally)
    first = next(decoded, None)
    if first is None:
        raise InputError(no_frame)
    turn = read_turn(first.frame)
    source.height, source.width = upright_size(first.frame, turn)
    source.pixel_aspect = upright_aspect(pixel_aspect(stream), turn)
    source.colours = Colours.of(first.frame, stream.codec_context)
    return stream, first, decoded, turn


class _Clock:
    """Seconds since the first frame, always increasing, from time stamps that may be missing, repeat or start again.

    The stamps of streams that were joined by copying their bytes start again at each joint; the time then continues one
    frame later.
    """

    def __init__(self, fps: float) -> None:
        self._step = 1 / fps
        self._offset = 0.0
        self._last: float | None = None

    def at(self, stamp: float | None) -> float:
        """The time of the next frame. `stamp`: its time stamp in seconds, None if it has none."""
        if self._last is None:
            self._offset, self._last = -(stamp or 0.0), 0.0
            return 0.0
        time = self._last + self._step if stamp is None else stamp + self._offset
        if time <= self._last - 4 * self._step:
            self._offset += self._last + self._step - time
            time = self._last + self._step
        self._last = time if time > self._last else self._last + self._step / 8
        return self._last


def number_frames(
    source: FrameSource, decoded: Iterator[DecodedFrame], turn: Turn, first: int | None = None
) -> Iterator[Frame]:
    """Turn decoded pictures into `Frame`s: index, time since the first, upright picture of the source's size. Pictures
    before `first`, the source's start by default, are not converted; iteration stops at `source.end`."""
    first = source.start if first is None else first
    clock = _Clock(source.fps)
    decoded, value_range = _measured(source, decoded)
    index = -1
    for index, item in enumerate(decoded):
        time = clock.at(item.time)
        if index >= first:
            height, width = upright_size(item.frame, turn)
            if (height, width) != (source.height, source.width):
                source.warn(
                    f"{source.label} changes its size to {width}x{height} at frame {index}; such frames are scaled "
                    f"to {source.width}x{source.height}"
                )
            picture = picture_of(item.frame, turn, (source.height, source.width), source.colours, value_range)
            yield Frame(index, f"{index:05d}", picture, time, item.duration)
        if source.end is not None and index + 1 >= source.end:
            return
    source.require_start(index + 1)


def _measured(source: FrameSource, decoded: Iterator[DecodedFrame]) -> tuple[Iterator[DecodedFrame], ValueRange | None]:
    """The same frames, and for 16-bit grey the value range: the source's, or measured on the first frames."""
    head = list(islice(decoded, 1))
    if not head or deep_values(head[0].frame) is None:
        return chain(head, decoded), None
    value_range = source.value_range
    if value_range is None:
        head += islice(decoded, _MEASURED_FRAMES - 1)
        found = [values for item in head if (values := deep_values(item.frame)) is not None]
        value_range = measure_range(found)
        source.warn(value_range.describe())
    return chain(head, decoded), value_range


def report_damage(source: FrameSource, tally: Tally) -> None:
    """Add the damage inside the stream to the source's warnings."""
    if tally.damaged:
        skipped = plural(tally.damaged, "packet")
        source.warn(f"{source.label} is damaged: {skipped} could not be decoded and were skipped")
    if tally.patched:
        patched = plural(tally.patched, "frame")
        source.warn(f"{source.label} is damaged or cut off: the decoder had to fill in missing parts of {patched}")
