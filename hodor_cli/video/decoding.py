"""Decoding with PyAV: from packets to frames with their times, even if the stream is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hodor_cli.errors import InputError
from hodor_cli.images.paths import size_text
from hodor_cli.images.value_range import ValueRange, measure_range
from hodor_cli.video.container import describe_unused, pick_stream
from hodor_cli.video.damage import Damage, SentPackets
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.packets import packets_of
from hodor_cli.video.yuv import Colours, Turn, deep_values, is_convertible, picture_of, read_turn, upright_size

T = TypeVar("T")
_MEASURED_FRAMES = 9
_HDR = {16: "PQ", 18: "HLG"}  # transfer curves, by their numbers in ITU-T H.273
_DEFAULT_FPS = 25.0  # if the header has no plausible rate


class DecodedFrame(NamedTuple):
    """A decoded frame, its time stamp in ticks, its time in the container's seconds, and for how many seconds it is
    shown (each None if unknown). missing: it is a copy of the previous frame, in place of one that was not decoded."""

    frame: VideoFrame
    stamp: int | None
    time: float | None
    duration: float | None
    missing: bool = False


def decode_frames(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[DecodedFrame]:
    """Yield every frame; in place of one that cannot be decoded, the previous frame. Damage is recorded in `damage` and
    raises no error."""
    whole = _without_cut_end(_timed(container, stream, damage), lambda item: item.frame.is_corrupt, damage)
    step = 1 / _rate(stream)
    end = 0.0  # of the frame before
    for index, item in enumerate(whole):
        damage.note(index, missing=item.missing, patched=item.frame.is_corrupt)
        if item.time is None:
            damage.timed = False
        else:
            if item.time - end > step / 2:
                damage.jumps[index] = item.time - end
            end = item.time + (item.duration or step)
        yield item
    damage.finished = True


def _timed(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[DecodedFrame]:
    """The frames with their times, and copies in place of missing frames, which the times reveal."""
    tick = float(stream.time_base or 0)  # frames of the final flush have no time base, so the stream's is used for all
    sent = SentPackets(1 / (_rate(stream) * tick) if tick else 0.0)
    shown: VideoFrame | None = None
    for frame in _decode(container, stream, damage, sent):
        if frame.pts is None:
            yield DecodedFrame(frame, None, None, None)
        else:
            missing = sent.missing_before(frame.pts)
            if shown is None:
                damage.before = len(missing)
            for stamp, ticks in missing if shown else ():
                yield DecodedFrame(shown, stamp, stamp * tick, ticks * tick or None, missing=True)
            yield DecodedFrame(frame, frame.pts, frame.pts * tick, sent.take(frame.pts) * tick or None)
        shown = frame
    damage.after = len(sent.missing_before())


def _decode(container: InputContainer, stream: VideoStream, damage: Damage, sent: SentPackets) -> Iterator[VideoFrame]:
    # A truncated last packet is left out: with several threads, its error would lose the good frames before it.
    packets = _without_cut_end(packets_of(container, stream, damage), lambda packet: packet.is_corrupt, damage)
    # None flushes the decoder; if a flush fails, a second one returns the frames after the damaged one.
    for packet in chain(packets, [None, None]):
        if packet is not None:
            sent.add(packet)
            damage.left_out += packet.is_discard
        try:
            yield from stream.codec_context.decode(packet)
        except av.error.EOFError:
            break  # the first flush returned all frames
        except (av.error.MemoryError, av.error.BlockingIOError) as error:  # no memory or thread: no damage in the file
            raise MemoryError from error
        except (av.error.FFmpegError, ValueError):
            damage.failed += 1


def _without_cut_end(items: Iterable[T], is_corrupt: Callable[[T], bool], damage: Damage) -> Iterator[T]:
    """All items, except a corrupt last one: a corrupt item is yielded only if another item follows."""
    held: T | None = None
    for item in items:
        if held is not None:
            yield held
        held = item if is_corrupt(item) else None
        if held is None:
            yield item
    damage.cut_tail |= held is not None


def _rate(stream: VideoStream) -> float:
    """Frames per second according to the file's header."""
    rates = (stream.average_rate, stream.guessed_rate)
    return next((float(rate) for rate in rates if rate and 0 < rate <= 1000), _DEFAULT_FPS)


class DecodedSource(FrameSource):
    """A video that is decoded; base of files and pipes."""

    kind = "video"
    _turn: Turn

    def _read_first(
        self, container: InputContainer, damage: Damage, no_frame: str
    ) -> tuple[VideoStream, DecodedFrame, Iterator[DecodedFrame]]:
        """Set size, rate, pixel aspect, colours and rotation from the stream to read; return it, its first frame and
        the remaining frames. Raises `InputError` with the message `no_frame` if no frame can be decoded."""
        stream = pick_stream(container, self.label)
        self.fps = _rate(stream)
        self.warn(describe_unused(container, stream, self.label))
        decoded = decode_frames(container, stream, damage)
        first = next(decoded, None)
        if first is None:
            raise InputError(no_frame)
        if not is_convertible(first.frame):
            raise InputError(
                f"{self.label} codes its colours with matrix {int(first.frame.colorspace)} of ITU-T H.273, which "
                "cannot be converted to RGB; convert the video first, for example with FFmpeg's filter "
                "zscale=matrix=709"
            )
        self._turn = turn = read_turn(first.frame)
        self.height, self.width = upright_size(first.frame, turn)
        ratios = (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio)
        aspect = next((Fraction(ratio) for ratio in ratios if ratio and Fraction(1, 20) <= ratio <= 20), Fraction(1))
        self.pixel_aspect = aspect if turn is None or turn[0, 0] else 1 / aspect
        self.colours = Colours.of(first.frame, stream.codec_context)
        if curve := _HDR.get(self.colours.transfer):
            self.warn(
                f"{self.label} is HDR ({curve}), which is read without tone mapping: pictures look pale, and the"
                " objects in the overlay too bright; convert it to SDR first if that matters"
            )
        return stream, first, decoded

    def _numbered(self, decoded: Iterator[DecodedFrame], first: int) -> Iterator[Frame]:
        """Turn decoded frames into `Frame`s: index, time since the first, upright picture of the source's size. Frames
        before `first` are skipped without converting their pictures; iteration stops at `end`."""
        clock = _Clock(self.fps)
        decoded, value_range = self._measured(decoded)
        index, sizes = -1, {(self.height, self.width)}
        for index, item in enumerate(decoded):
            time = clock.at(item.time)
            if (size := upright_size(item.frame, self._turn)) not in sizes:
                sizes.add(size)
                self.warn(
                    f"{self.label} changes its size to {size_text(size)} at frame {index}; frames of that size are "
                    f"scaled to {self.width}x{self.height}"
                )
            if index >= first:
                picture = picture_of(item.frame, self._turn, (self.height, self.width), self.colours, value_range)
                yield Frame(index, f"{index:05d}", picture, time, item.duration)
            if self.end is not None and index + 1 >= self.end:
                return
        self.require_start(index + 1)

    def _measured(self, decoded: Iterator[DecodedFrame]) -> tuple[Iterator[DecodedFrame], ValueRange | None]:
        """The same frames and, for 16-bit grey, the value range: as given, or measured on the first frames."""
        head = list(islice(decoded, 1))
        if not head or deep_values(head[0].frame) is None:
            return chain(head, decoded), None
        value_range = self.value_range
        if value_range is None:
            head += islice(decoded, _MEASURED_FRAMES - 1)
            value_range = measure_range([v for item in head if (v := deep_values(item.frame)) is not None], self.warn)
        return chain(head, decoded), value_range

    @contextmanager
    def _reporting(self, damage: Damage | None = None) -> Iterator[Damage]:
        """When reading ends, at the end or earlier, add the damage it found to the warnings."""
        damage = damage or Damage()
        try:
            yield damage
        finally:
            for sentence in damage.sentences(self.label):
                self.warn(sentence)


class _Clock:
    """Turns time stamps, which may be missing, repeat or start over, into increasing seconds since the first frame.

    Time stamps start over where streams were joined by copying their bytes; the time then continues one frame later.
    """

    def __init__(self, fps: float) -> None:
        self._step = 1 / fps
        self._offset = 0.0
        self._last: float | None = None

    def at(self, stamp: float | None) -> float:
        """The time of the next frame. stamp: its time stamp in seconds, None if it has none."""
        if self._last is None:
            self._offset, self._last = -(stamp or 0.0), 0.0
            return 0.0
        time = self._last + self._step if stamp is None else stamp + self._offset
        if time <= self._last - 4 * self._step:
            self._offset += self._last + self._step - time
            time = self._last + self._step
        self._last = time if time > self._last else self._last + self._step / 8
        return self._last
