"""Joins pieces of a video without encoding them again.

Pieces make writing a long video safe against interruption: a finished piece never changes and depends only on its own
frames, so the joined video is the same whether or not the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av

from hodor_cli.errors import OutputError
from hodor_cli.files import replacing
from hodor_cli.video.h264 import Timeline


class Piece(NamedTuple):
    """Frames of an MP4 file written by `VideoWriter` or `join_videos`: `length` frames (None: all) starting with number
    `first`, which is a keyframe. start: when the first one is shown in the joined video, in ticks."""

    path: Path
    start: int
    first: int = 0
    length: int | None = None


def join_videos(pieces: Iterable[Piece], target: Path, fps: float) -> None:
    """Join pieces, without encoding them again, into one video that can play while it downloads.

    Times are in ticks of `Timeline(fps)`. Raises OSError if the disk is full, OutputError if a piece is damaged or has
    another frame size; `target` then stays unchanged.
    """
    tick = Timeline(fps).time_base
    out: Any = None
    options = {"movflags": "+faststart"}
    with replacing(target) as temporary, av.open(f"file:{temporary}", "w", format="mp4", options=options) as joined:
        for piece in pieces:
            try:
                file = av.open(f"file:{piece.path}")
            except (av.FFmpegError, OSError) as error:
                raise OutputError(f"the overlay's piece {piece.path} is missing or damaged; set `overwrite`") from error
            with file:
                stream = file.streams.video[0]
                if out is None:
                    out = joined.add_stream_from_template(stream)
                    out.time_base = tick
                if (stream.width, stream.height) != (out.width, out.height):
                    raise OutputError(f"the overlay's piece {piece.path} has another frame size; set `overwrite`")
                begin: int | None = None
                end = None if piece.length is None else piece.first + piece.length
                for packet in islice(video_packets(file), piece.first, end):
                    ticks = round(packet.pts * stream.time_base / tick)
                    begin = ticks if begin is None else begin
                    packet.pts = packet.dts = piece.start + ticks - begin
                    packet.duration = round((packet.duration or 0) * stream.time_base / tick)
                    packet.time_base = tick
                    packet.stream = out
                    joined.mux(packet)


def frame_times(path: Path, fps: float) -> list[tuple[int, bool]]:
    """For each frame of a joined video, its time in ticks of `Timeline(fps)` and whether it is a keyframe. Empty if
    there is no readable video."""
    tick = Timeline(fps).time_base
    try:
        with av.open(f"file:{path}") as file:
            return [
                (round(packet.pts * packet.time_base / tick), bool(packet.is_keyframe))
                for packet in video_packets(file)
            ]
    except (av.FFmpegError, OSError, IndexError):
        return []


def video_packets(file: Any) -> Iterator[Any]:
    """The packets of the first video stream of an open file."""
    packets = file.demux(file.streams.video[0])
    return (packet for packet in packets if packet.dts is not None)  # demuxing ends with an empty packet
