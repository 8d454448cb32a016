"""Decoding with PyAV: packets to frames with their times, frames to upright RGB arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from hodor_cli.images.value_range import ValueRange, scale_to_rgb8

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Turn = np.ndarray | None


@dataclass
class Tally:
    """What decoding met on its way; filled by `decode_frames`."""

    damaged: int = 0  # packets or frames that could not be decoded
    patched: int = 0  # frames that are incomplete and were filled up by the decoder
    cut_tail: bool = False  # the last packet or frame is incomplete
    finished: bool = False  # the stream was read to its end


@dataclass(frozen=True)
class Decoded:
    """A frame as the decoder gave it, its time in seconds as the container counts, and for how many seconds it is
    shown (each None where the container does not say)."""

    frame: VideoFrame
    time: float | None
    duration: float | None


def decode_frames(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[Decoded]:
    """Yield every decoded frame. Damaged packets are counted in `tally` and skipped; nothing is raised for them."""
    import av

    held: Decoded | None = None  # A frame marked incomplete is let out only if the stream continues after it.
    tick = float(stream.time_base or 0)
    durations: dict[int, float] = {}  # of the packets that are being decoded, by their presentation time
    for packet in _whole_packets(container, stream, tally):
        if packet is not None and packet.pts is not None and packet.duration:
            durations[packet.pts] = packet.duration * tick
        try:
            frames = stream.codec_context.decode(packet)
        except (av.error.FFmpegError, ValueError):
            # A flush that fails can be asked again for the frames still behind the damaged one.
            tally.damaged += 1
            frames = _drain(stream) if packet is None else []
        for frame in frames:
            if held is not None:
                yield held
                held = None
            # Frames that come out of the final flush know no time base of their own, so the stream's is used for all.
            time = None if frame.pts is None else frame.pts * tick
            stamped = Decoded(frame, time, None if frame.pts is None else durations.pop(frame.pts, None))
            if frame.is_corrupt:
                tally.patched += 1
                held = stamped
            else:
                yield stamped
        if len(durations) > 1000:  # packets that gave no frame
            durations.clear()
    if held is not None:
        tally.patched -= 1
        tally.cut_tail = True
    tally.finished = True


def _whole_packets(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[Packet | None]:
    """Packets of the stream, then None to flush the decoder. A last packet that is cut short is left out: with
    several threads its error would take the good frames still being decoded with it."""
    import av

    held: Packet | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError, ValueError):
            tally.cut_tail = True
            break
        if packet is None:
            break
        if packet.size == 0:  # PyAV's own flush packet comes at the end
            continue
        if held is not None:
            yield held
            held = None
        if packet.is_corrupt:
            held = packet
        else:
            yield packet
    tally.cut_tail |= held is not None
    yield None


def _drain(stream: VideoStream) -> list[VideoFrame]:
    import av

    try:
        return list(stream.codec_context.decode(None))
    except (av.error.FFmpegError, ValueError):
        return []


def count_packets(container: InputContainer, stream: VideoStream, stop_at: int) -> int:
    """Number of frames the file can hold, from its packets alone; the count stops at `stop_at`."""
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


def to_rgb(
    frame: VideoFrame, turn: Turn, size: tuple[int, int] | None = None, value_range: ValueRange | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded frame of any pixel format, made upright by `turn`; `size` (H, W) scales it if it
    differs (streams may change size midway), `value_range` says what is black and white in a frame of `deep_values`."""
    height, width = (frame.height, frame.width) if size is None else _lying(size, turn)
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width=width, height=height)
    if value_range is not None and (values := deep_values(frame)) is not None:
        pixels = scale_to_rgb8(values, value_range)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(apply_turn(pixels, turn))


def deep_values(frame: VideoFrame) -> np.ndarray | None:
    """(H, W) uint16 values of a frame in 16-bit grey, which cameras of 10 to 14 bits rarely fill; None of any other."""
    return frame.to_ndarray(format="gray16le") if frame.format.name in ("gray16le", "gray16be") else None


def upright_size(frame: VideoFrame, turn: Turn) -> tuple[int, int]:
    """(height, width) of a frame after rotation."""
    return _lying((frame.height, frame.width), turn)


def upright_aspect(aspect: Fraction, turn: Turn) -> Fraction:
    """Width of a pixel divided by its height after rotation."""
    return aspect if turn is None or turn[0, 0] else 1 / aspect


def _lying(size: tuple[int, int], turn: Turn) -> tuple[int, int]:
    return size if turn is None or turn[0, 0] else (size[1], size[0])


def read_turn(frame: VideoFrame) -> Turn:
    """The rotation metadata of a stream, from its first frame: a 2x2 matrix of -1, 0, 1 that maps source (x, y) rows to
    shown ones, None if upright. Angles that are no multiple of 90 degrees go to the nearest.

    Ask one frame only: PyAV ties a frame and its side data into a cycle, which keeps the picture in memory until Python
    happens to collect garbage.
    """
    side_data: Any = frame.side_data  # iterates over its values, whatever its type hints say
    found = [data for data in side_data if data.type.name == "DISPLAYMATRIX"]
    if not found:
        return None
    full = np.frombuffer(bytes(found[0]), dtype=np.int32, count=9).reshape(3, 3)
    linear = full[:2, :2].astype(np.float64)
    kept = np.eye(2) if abs(linear[0, 0]) >= abs(linear[0, 1]) else np.eye(2)[::-1]
    matrix = (np.sign(linear) * kept).astype(int)
    if abs(round(float(np.linalg.det(matrix)))) != 1 or np.array_equal(matrix, np.eye(2)):
        return None
    return matrix


def apply_turn(image: np.ndarray, turn: Turn) -> np.ndarray:
    """Turn and mirror `image` (H, W, ...) as `read_turn` says."""
    if turn is None:
        return image
    if not turn[0, 0]:  # x' comes from y and y' from x
        image = image.swapaxes(0, 1)
    to_x, to_y = turn.sum(axis=0)  # the sign with which each shown axis runs
    if to_x < 0:
        image = image[:, ::-1]
    if to_y < 0:
        image = image[::-1]
    return image
