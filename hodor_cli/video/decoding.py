"""Decoding with PyAV: packets to frames with their times, also of damaged streams."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural
from hodor_cli.images.value_range import ValueRange, measure_range
from hodor_cli.video.container import describe_unused, pick_stream
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.yuv import Colours, Turn, deep_values, picture_of, read_turn, upright_size

T = TypeVar("T")
_MEASURED_FRAMES = 9
_DEFAULT_FPS = 25.0  # where the header gives no plausible rate


@dataclass
class Tally:
    """The damage that `decode_frames` meets in a stream."""

    damaged: int = 0  # packets or frames that could not be decoded
    patched: int = 0  # incomplete frames whose missing parts the decoder filled in
    cut_tail: bool = False  # the last packet or frame is incomplete
    finished: bool = False  # the stream was read to its end
    damaged_from: float = math.inf  # the first frame decoded behind damage, whose number may not be that of its time


class DecodedFrame(NamedTuple):
    """A decoded frame, its time in the container's seconds, and for how many seconds it is shown (each None if the
    container does not say)."""

    frame: VideoFrame
    time: float | None
    duration: float | None


def decode_frames(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[DecodedFrame]:
    """Yield every decoded frame. Damaged packets are skipped and counted in `tally`; they raise nothing."""
    whole = _without_cut_end(_decode(container, stream, tally), lambda item: item.frame.is_corrupt, tally)
    for index, item in enumerate(whole):
        if tally.damaged:
            tally.damaged_from = min(tally.damaged_from, index)
        tally.patched += item.frame.is_corrupt
        yield item
    tally.finished = True


def _decode(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[DecodedFrame]:
    tick = float(stream.time_base or 0)
    durations: dict[int, float] = {}  # of the packets that are being decoded, by their presentation time
    # A last packet that is cut off is left out: when several threads decode, its error loses the good frames before it.
    packets = _without_cut_end(_packets(container, stream, tally), lambda packet: packet.is_corrupt, tally)
    # None flushes the decoder; after a flush that fails, a second one gives the frames behind the damaged one.
    for packet in chain(packets, [None, None]):
        if packet is not None and packet.pts is not None and packet.duration:
            durations[packet.pts] = packet.duration * tick
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.EOFError:
            break  # the first flush gave all
        except (av.error.FFmpegError, ValueError):
            tally.damaged += 1
            continue
        for frame in frames:
            # Frames of the final flush have no time base, so the stream's is used for all.
            if frame.pts is None:
                yield DecodedFrame(frame, None, None)
            else:
                yield DecodedFrame(frame, frame.pts * tick, durations.pop(frame.pts, None))
        if len(durations) > 1000:  # packets that gave no frame
            durations.clear()


def _packets(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[Packet]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError, ValueError):
            tally.cut_tail = True
            return
        if packet is None:
            return
        if packet.size:  # PyAV ends with an empty packet
            yield packet


def _without_cut_end(items: Iterable[T], is_corrupt: Callable[[T], bool], tally: Tally) -> Iterator[T]:
    """All items, but the last one only if it is whole: a corrupt item is yielded only when another one follows."""
    held: T | None = None
    for item in items:
        if held is not None:
            yield held
        held = item if is_corrupt(item) else None
        if held is None:
            yield item
    tally.cut_tail |= held is not None


def count_packets(container: InputContainer, stream: VideoStream, stop_at: int) -> int:
    """Number of frames according to the file's packets, which are not decoded; the count stops at `stop_at`."""
    packets = _packets(container, stream, Tally())
    shown = (packet for packet in packets if not getattr(packet, "is_discard", False))
    return sum(1 for _ in islice(shown, stop_at))


@dataclass(frozen=True)
class Entries:
    """A file's table of frames: their time stamps in order, and those at which decoding can start."""

    stamps: list[int]
    keyframes: list[int]

    def index(self, stamp: int | None) -> int | None:
        """Which frame has this time stamp; None if none has."""
        place = bisect_left(self.stamps, stamp) if stamp is not None else len(self.stamps)
        return place if place < len(self.stamps) and self.stamps[place] == stamp else None

    def keyframe(self, index: int) -> int:
        """The time stamp of the last frame up to this one at which decoding can start."""
        place = bisect_right(self.keyframes, self.stamps[index])
        return self.keyframes[place - 1] if place else self.stamps[0]


def read_entries(container: InputContainer, stream: VideoStream) -> Entries | None:
    """Read the table from the packets, which are not decoded. None if they do not tell every frame by its time."""
    stamps, keyframes = [], []
    for packet in _packets(container, stream, Tally()):
        if packet.pts is None or getattr(packet, "is_discard", False):
            return None
        stamps.append(packet.pts)
        if packet.is_keyframe:
            keyframes.append(packet.pts)
    if not keyframes or len(set(stamps)) != len(stamps):
        return None
    return Entries(sorted(stamps), sorted(keyframes))


class DecodedSource(FrameSource):
    """A video that is decoded: what a file and a pipe have in common."""

    kind = "video"
    _turn: Turn

    def _read_first(
        self, container: InputContainer, tally: Tally, no_frame: str
    ) -> tuple[VideoStream, DecodedFrame, Iterator[DecodedFrame]]:
        """Set size, rate, pixel aspect, colours and rotation by the stream to read; return it, its first frame and the
        further frames. Raises `InputError` with the message `no_frame` if none can be decoded."""
        stream = pick_stream(container, self.label)
        rates = (stream.average_rate, getattr(stream, "guessed_rate", None))
        self.fps = next((float(rate) for rate in rates if rate and 0 < rate <= 1000), _DEFAULT_FPS)
        self.warn(describe_unused(container, stream, self.label))
        decoded = decode_frames(container, stream, tally)
        first = next(decoded, None)
        if first is None:
            raise InputError(no_frame)
        self._turn = turn = read_turn(first.frame)
        self.height, self.width = upright_size(first.frame, turn)
        ratios = (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio)
        aspect = next((Fraction(ratio) for ratio in ratios if ratio and Fraction(1, 20) <= ratio <= 20), Fraction(1))
        self.pixel_aspect = aspect if turn is None or turn[0, 0] else 1 / aspect
        self.colours = Colours.of(first.frame, stream.codec_context)
        return stream, first, decoded

    def _numbered(self, decoded: Iterator[DecodedFrame], first: int) -> Iterator[Frame]:
        """Turn decoded pictures into `Frame`s: index, time since the first, upright picture of the source's size.
        Pictures before `first` are not converted; iteration stops at `end`."""
        clock = _Clock(self.fps)
        decoded, value_range = self._measured(decoded)
        index = -1
        for index, item in enumerate(decoded):
            time = clock.at(item.time)
            if index >= first:
                height, width = upright_size(item.frame, self._turn)
                if (height, width) != (self.height, self.width):
                    self.warn(
                        f"{self.label} changes its size to {width}x{height} at frame {index}; such frames are scaled "
                        f"to {self.width}x{self.height}"
                    )
                picture = picture_of(item.frame, self._turn, (self.height, self.width), self.colours, value_range)
                yield Frame(index, f"{index:05d}", picture, time, item.duration)
            if self.end is not None and index + 1 >= self.end:
                return
        self.require_start(index + 1)

    def _measured(self, decoded: Iterator[DecodedFrame]) -> tuple[Iterator[DecodedFrame], ValueRange | None]:
        """The same frames, and for 16-bit grey the value range: the given one, or measured on the first frames."""
        head = list(islice(decoded, 1))
        if not head or deep_values(head[0].frame) is None:
            return chain(head, decoded), None
        value_range = self.value_range
        if value_range is None:
            head += islice(decoded, _MEASURED_FRAMES - 1)
            value_range = measure_range([v for item in head if (v := deep_values(item.frame)) is not None], self.warn)
        return chain(head, decoded), value_range

    def _report_damage(self, tally: Tally) -> None:
        """Add the damage inside the stream to the warnings."""
        if tally.damaged:
            skipped = plural(tally.damaged, "packet")
            self.warn(
                f"{self.label} is damaged: {skipped} could not be decoded and were skipped; later frames are numbered"
                " without them"
            )
        if tally.patched:
            patched = plural(tally.patched, "frame")
            self.warn(f"{self.label} is damaged or cut off: the decoder had to fill in missing parts of {patched}")


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
