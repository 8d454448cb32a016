"""The packets of a video file: how many there are, and which frame each one holds; none is decoded."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from hodor_cli.video.damage import Tally


def packets_of(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[Packet]:
    """The packets of a stream up to the end or to where the file cannot be read; damage is noted in `tally`."""
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
            tally.torn |= packet.is_corrupt
            yield packet


def count_packets(container: InputContainer, stream: VideoStream, stop_at: int) -> int:
    """Number of frames according to the file's packets, which are not decoded; the count stops at `stop_at`."""
    packets = packets_of(container, stream, Tally())
    shown = (packet for packet in packets if not packet.is_discard)
    return sum(1 for _ in islice(shown, stop_at))


@dataclass(frozen=True)
class Entries:
    """A file's table of frames: their time stamps in order, and those at which decoding can start."""

    stamps: list[int]
    keyframes: list[int]

    def without_start(self, stamp: int) -> Entries:
        """The table from this time stamp on."""
        return Entries(*([at for at in stamps if at >= stamp] for stamps in (self.stamps, self.keyframes)))

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
    for packet in packets_of(container, stream, Tally()):
        if packet.pts is None or packet.is_discard:
            return None
        stamps.append(packet.pts)
        if packet.is_keyframe:
            keyframes.append(packet.pts)
    if not keyframes or len(set(stamps)) != len(stamps):
        return None
    return Entries(sorted(stamps), sorted(keyframes))
