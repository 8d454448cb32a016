"""The packets of a video file, without decoding them: how many there are, and which frame each one holds."""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from hodor_cli.video.damage import Damage


def packets_of(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[Packet]:
    """The packets of a stream, up to its end or where the file becomes unreadable. Damage is recorded in `damage`."""
    try:
        for packet in container.demux(stream):
            if packet.size:  # PyAV ends with an empty packet
                damage.torn |= packet.is_corrupt
                yield packet
    except (av.error.FFmpegError, OSError, ValueError):
        damage.cut_tail = True


def count_packets(container: InputContainer, stream: VideoStream, stop_at: int) -> int:
    """Number of frames according to the file's packets; counting stops at `stop_at`."""
    packets = packets_of(container, stream, Damage())
    shown = (packet for packet in packets if not packet.is_discard)
    return sum(1 for _ in islice(shown, min(stop_at, sys.maxsize)))


@dataclass(frozen=True)
class FrameTable:
    """A file's table of frames: their time stamps in order, and the time stamps at which decoding can start."""

    stamps: list[int]
    keyframes: list[int]

    def without_start(self, stamp: int) -> FrameTable:
        """The table from this time stamp on."""
        return FrameTable(*([at for at in stamps if at >= stamp] for stamps in (self.stamps, self.keyframes)))

    def index(self, stamp: int | None) -> int | None:
        """The frame with this time stamp; None if there is none."""
        place = bisect_left(self.stamps, stamp) if stamp is not None else len(self.stamps)
        return place if place < len(self.stamps) and self.stamps[place] == stamp else None

    def keyframe(self, index: int) -> int:
        """The time stamp at which decoding must start to reach this frame."""
        place = bisect_right(self.keyframes, self.stamps[index])
        return self.keyframes[place - 1] if place else self.stamps[0]


def read_frame_table(container: InputContainer, stream: VideoStream) -> FrameTable | None:
    """Read the table from the packets. None if their time stamps do not identify every frame."""
    stamps, keyframes = [], []
    for packet in packets_of(container, stream, Damage()):
        if packet.pts is None:
            return None
        if not packet.is_discard:  # an edit list leaves it out, but decoding may start there
            stamps.append(packet.pts)
        if packet.is_keyframe:
            keyframes.append(packet.pts)
    if not keyframes or len(set(stamps)) != len(stamps):
        return None
    return FrameTable(sorted(stamps), sorted(keyframes))
