"""The sound of a source, copied into the video made from its frames."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.files import NO_ROOM, replacing
from hodor_cli.video.container import open_container
from hodor_cli.video.h264 import add_like

if TYPE_CHECKING:
    from av.container import InputContainer

# What players of MP4 know; anything else, such as PCM or Vorbis, is encoded again.
_MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})


@dataclass(frozen=True)
class SoundTrack:
    """Where the sound of a source is. zero: the time of the source's first frame as the file counts, in seconds.
    whole: the frames are read to the source's end, so that sound after the last one belongs to them too."""

    path: Path
    zero: float = 0.0
    whole: bool = True


def add_sound(video: Path, sound: SoundTrack, begin: float) -> str:
    """Put the sound into an MP4 whose first frame is the source's `begin` seconds after its first one, in place.

    Returns a sentence about why it could not be done, empty after success; the video then stays without sound. Raises
    OSError if the disk is full.
    """
    try:
        with replacing(video) as temporary:
            _mux(video, sound, begin, temporary)
    except Exception as error:  # damaged sound must not cost the video
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        return f"the sound of {sound.path} could not be copied into the overlay ({error})"
    return ""


def _mux(video: Path, sound: SoundTrack, begin: float, target: Path) -> None:
    import av

    options = {"movflags": "+faststart"}
    with (
        av.open(str(video)) as pictures,
        open_container(str(sound.path), str(sound.path)) as source,
        av.open(str(target), "w", format="mp4", options=options) as out,
    ):
        stream = pictures.streams.video[0]
        length = float(stream.duration * stream.time_base)
        tracks = {track.index: _Track(out, track) for track in source.streams.audio}
        picture_out = add_like(out, stream)

        def picture_packets() -> Iterator[tuple[float, Any]]:
            for packet in pictures.demux(stream):
                if packet.dts is not None:
                    packet.stream = picture_out
                    yield float(packet.pts * packet.time_base), packet

        end = None if sound.whole else length
        sounds = _sound_packets(source, tracks, sound.zero + begin, end)
        for _, packet in heapq.merge(picture_packets(), sounds, key=lambda item: item[0]):
            out.mux(packet)


def _sound_packets(
    source: InputContainer, tracks: dict[int, _Track], zero: float, end: float | None
) -> Iterator[tuple[float, Any]]:
    """Packets of all tracks with their times after `zero` (seconds), those before it and from `end` on left out."""
    for packet in source.demux(*source.streams.audio):
        if packet.pts is None:
            continue
        track = tracks[packet.stream.index]
        time = track.since(zero, packet)
        if time + float((packet.duration or 0) * packet.time_base) <= 0 or (end is not None and time >= end):
            continue
        for made in track.convert(packet, time):
            yield float(made.pts * made.time_base), made
    for track in tracks.values():
        for made in track.flush():
            yield float(made.pts * made.time_base), made


class _Track:
    """One track of sound on its way into an MP4: copied as it is, or encoded as AAC."""

    def __init__(self, out: Any, stream: Any) -> None:
        import av

        self._stream = stream
        self._shift: float | None = None  # from the file's seconds to the written video's
        self._last: float | None = None  # the end of the packet before, in the written video's seconds
        self._samples: int | None = None  # written so far, where the sound is encoded again
        self._copied = stream.codec_context.name in _MP4_CODECS
        if self._copied:
            self._out = add_like(out, stream)
        else:
            self._out = out.add_stream("aac", rate=stream.codec_context.sample_rate)
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            self._out.layout = layout
            self._resampler = av.AudioResampler("fltp", layout, stream.codec_context.sample_rate)

    def since(self, zero: float, packet: Any) -> float:
        """The time of a packet in seconds after `zero`; where joined streams start again, it continues."""
        stamp = float(packet.pts * packet.time_base)
        if self._shift is None:
            self._shift = -zero
        elif self._last is not None and stamp + self._shift < self._last - 0.5:
            self._shift = self._last - stamp
        time = stamp + self._shift
        self._last = time + float((packet.duration or 0) * packet.time_base)
        return time

    def convert(self, packet: Any, time: float) -> list[Any]:
        """The packets to write for one that was read."""
        if self._copied:
            packet.pts = packet.dts = round(time / packet.time_base)
            packet.stream = self._out
            return [packet]
        if self._samples is None:
            self._samples = max(0, round(time * self._stream.codec_context.sample_rate))
        return [made for frame in self._stream.codec_context.decode(packet) for made in self._encode(frame)]

    def flush(self) -> list[Any]:
        """What an encoder still holds at the end."""
        if self._copied or self._samples is None:
            return []
        return [*self._encode(None), *self._out.encode(None)]

    def _encode(self, frame: Any) -> list[Any]:
        made = []
        for part in self._resampler.resample(frame):
            part.pts = self._samples
            self._samples = (self._samples or 0) + part.samples
            made += self._out.encode(part)
        return made
