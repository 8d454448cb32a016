"""Decoding with PyAV: packets to frames with their times, frames to upright RGB arrays."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hodor_cli.images.value_range import ValueRange, scale_to_rgb8

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Turn = np.ndarray | None
T = TypeVar("T")


@dataclass
class Tally:
    """The damage that `decode_frames` meets in a stream."""

    damaged: int = 0  # packets or frames that could not be decoded
    patched: int = 0  # incomplete frames whose missing parts the decoder filled in
    cut_tail: bool = False  # the last packet or frame is incomplete
    finished: bool = False  # the stream was read to its end


@dataclass(frozen=True)
class DecodedFrame:
    """A decoded frame, its time in the container's seconds, and for how many seconds it is shown (each None if the
    container does not say)."""

    frame: VideoFrame
    time: float | None
    duration: float | None


def decode_frames(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[DecodedFrame]:
    """Yield every decoded frame. Damaged packets are skipped and counted in `tally`; they raise nothing."""
    for item in _without_cut_end(_decode(container, stream, tally), lambda item: item.frame.is_corrupt, tally):
        tally.patched += item.frame.is_corrupt
        yield item
    tally.finished = True


def _decode(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[DecodedFrame]:
    import av

    tick = float(stream.time_base or 0)
    durations: dict[int, float] = {}  # of the packets that are being decoded, by their presentation time
    # A last packet that is cut off is left out: when several threads decode, its error loses the good frames before it.
    packets = _without_cut_end(_packets(container, stream, tally), lambda packet: packet.is_corrupt, tally)
    for packet in chain(packets, [None]):  # None flushes the decoder
        if packet is not None and packet.pts is not None and packet.duration:
            durations[packet.pts] = packet.duration * tick
        try:
            frames = stream.codec_context.decode(packet)
        except (av.error.FFmpegError, ValueError):
            # After a flush that fails, a second one gives the frames behind the damaged one.
            tally.damaged += 1
            frames = _drain(stream) if packet is None else []
        for frame in frames:
            # Frames of the final flush have no time base, so the stream's is used for all.
            if frame.pts is None:
                yield DecodedFrame(frame, None, None)
            else:
                yield DecodedFrame(frame, frame.pts * tick, durations.pop(frame.pts, None))
        if len(durations) > 1000:  # packets that gave no frame
            durations.clear()


def _packets(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[Packet]:
    import av

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


def _drain(stream: VideoStream) -> list[VideoFrame]:
    import av

    try:
        return list(stream.codec_context.decode(None))
    except (av.error.FFmpegError, ValueError):
        return []


def count_packets(container: InputContainer, stream: VideoStream, stop_at: int) -> int:
    """Number of frames according to the file's packets, which are not decoded; the count stops at `stop_at`."""
    import av

    count = 0
    try:
        for packet in container.demux(stream):
            if packet.size and not getattr(packet, "is_discard", False):
                count += 1
            if count >= stop_at:
                break
    except (av.error.FFmpegError, OSError, ValueError):
        pass
    return count


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


def to_rgb(
    frame: VideoFrame, turn: Turn, size: tuple[int, int] | None = None, value_range: ValueRange | None = None
) -> np.ndarray:
    """Convert a decoded frame of any pixel format to (H, W, 3) uint8 RGB, made upright by `turn`.

    size: (H, W); a frame of another size is scaled to it, because a stream may change its size midway. value_range: the
    values that become black and white in a frame of `deep_values`.
    """
    height, width = (frame.height, frame.width) if size is None else lying(size, turn)
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width=width, height=height)
    if value_range is not None and (values := deep_values(frame)) is not None:
        pixels = scale_to_rgb8(values, value_range)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(apply_turn(pixels, turn))


def deep_values(frame: VideoFrame) -> np.ndarray | None:
    """(H, W) uint16 values of a frame of 16-bit grey, as cameras of 10 to 14 bits write it; None for other frames."""
    return frame.to_ndarray(format="gray16le") if frame.format.name in ("gray16le", "gray16be") else None


def upright_size(frame: VideoFrame, turn: Turn) -> tuple[int, int]:
    """(height, width) of a frame after rotation."""
    return lying((frame.height, frame.width), turn)


def upright_aspect(aspect: Fraction, turn: Turn) -> Fraction:
    """Width of a pixel divided by its height after rotation."""
    return aspect if turn is None or turn[0, 0] else 1 / aspect


def lying(size: tuple[int, int], turn: Turn) -> tuple[int, int]:
    """(height, width) before the rotation of a frame of this size after it, or the reverse."""
    return size if turn is None or turn[0, 0] else (size[1], size[0])


def read_turn(frame: VideoFrame) -> Turn:
    """Read the rotation of a stream from its first frame: a 2x2 matrix of -1, 0, 1 that maps stored (x, y) rows to
    shown ones, or None if the frame is upright. Angles are rounded to multiples of 90 degrees.

    Call it for one frame only: PyAV makes a reference cycle of a frame and its side data, which keeps the picture in
    memory until Python collects garbage.
    """
    side_data: Any = frame.side_data
    found = side_data.get("DISPLAYMATRIX")
    if found is None:
        return None
    full = np.frombuffer(bytes(found), dtype=np.int32, count=9).reshape(3, 3)
    linear = full[:2, :2].astype(np.float64)
    kept = np.eye(2) if abs(linear[0, 0]) >= abs(linear[0, 1]) else np.eye(2)[::-1]
    matrix = (np.sign(linear) * kept).astype(int)
    if abs(round(float(np.linalg.det(matrix)))) != 1 or np.array_equal(matrix, np.eye(2)):
        return None
    return matrix


def apply_turn(image: np.ndarray, turn: Turn) -> np.ndarray:
    """Turn and mirror `image` (H, W, ...) by the matrix of `read_turn`."""
    if turn is None:
        return image
    if not turn[0, 0]:  # x' comes from y and y' from x
        image = image.swapaxes(0, 1)
    to_x, to_y = turn.sum(axis=0)  # the direction of each shown axis
    if to_x < 0:
        image = image[:, ::-1]
    if to_y < 0:
        image = image[::-1]
    return image
