"""Copies the sound of a source into the video made from its frames."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from hodor_cli.files import NO_ROOM, replacing
from hodor_cli.video.container import open_container
from hodor_cli.video.joining import video_packets

# By file format: codecs that players support, and the encoder for all other sound, such as PCM.
_CODECS = {
    "mp4": (frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}), "aac"),
    "mov": (frozenset({"aac", "mp3", "ac3", "alac"}), "aac"),
    "webm": (frozenset({"opus", "vorbis"}), "libopus"),
}
_OPUS_RATE = 48_000


@dataclass(frozen=True)
class SoundTrack:
    """The file with a source's sound. zero: when the source's first frame is shown, in the file's seconds. whole: the
    frames are read to the source's end, so the sound after the last frame is copied too."""

    path: Path
    zero: float = 0.0
    whole: bool = True


def add_sound(video: Path, sound: SoundTrack, begin: float, container: str = "mp4") -> str:
    """Add the sound to an MP4 (MOV, WebM) whose first frame is `begin` seconds after the source's first frame.

    Returns "" on success. If the sound cannot be copied, leaves the video without sound and returns the reason as a
    sentence. Raises OSError if the disk is full.
    """
    try:
        with replacing(video) as temporary:
            _mux(video, sound, begin, temporary, container)
    except Exception as error:  # damaged sound must not lose the video
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        return f"the sound of {sound.path} could not be copied ({error})"
    return ""


def _mux(video: Path, sound: SoundTrack, begin: float, target: Path, container: str) -> None:
    options = {} if container == "webm" else {"movflags": "+faststart"}
    with (
        av.open(f"file:{video}") as pictures,
        open_container(str(sound.path), str(sound.path)) as source,
        av.open(f"file:{target}", "w", format=container, options=options) as out,
    ):
        stream = pictures.streams.video[0]
        length = float(stream.duration * stream.time_base) if stream.duration else pictures.duration / 1e6  # WebM
        tracks = {track.index: _Track(out, track, container, begin > 0) for track in source.streams.audio}
        picture_out = out.add_stream_from_template(stream)
        if container == "mov":  # otherwise FFmpeg labels all ProRes as 422, and editors ignore the alpha
            picture_out.codec_context.codec_tag = stream.codec_context.codec_tag

        sounds = _sound_packets(source, tracks, sound.zero + begin, None if sound.whole else length)
        for packet in heapq.merge(video_packets(pictures), sounds, key=lambda packet: packet.pts * packet.time_base):
            if packet.stream is stream:
                packet.stream = picture_out
            out.mux(packet)


def _sound_packets(source: InputContainer, tracks: dict[int, _Track], zero: float, end: float | None) -> Iterator[Any]:
    """The packets of all tracks, with times relative to `zero` (s), without those before `zero` or from `end` on."""
    for packet in source.demux(*source.streams.audio):
        if packet.pts is None:
            continue
        track = tracks[packet.stream.index]
        time = track.since(zero, packet)
        length = float((packet.duration or 0) * packet.time_base)
        if time + track.lead * length <= 0 or (end is not None and time >= end):
            continue
        yield from track.convert(packet, time)
    for track in tracks.values():
        yield from track.flush()


def _without_start(sound: Any, samples: int) -> Any:
    """The sound without its first samples; None if there are no more."""
    if samples >= sound.samples:
        return None
    step = 1 if sound.format.is_planar else len(sound.layout.channels)
    kept = np.ascontiguousarray(sound.to_ndarray()[:, samples * step :])
    shorter = av.AudioFrame.from_ndarray(kept, format=sound.format.name, layout=sound.layout.name)
    shorter.sample_rate = sound.sample_rate
    return shorter


class _Track:
    """A sound track written into a video, copied or encoded again. later: the video begins after the track does."""

    def __init__(self, out: Any, stream: Any, container: str, later: bool) -> None:
        self._stream = stream
        self._shift: float | None = None  # from the file's seconds to the written video's
        self._last: float | None = None  # end of the previous packet, in the written video's seconds
        self._samples: int | None = None  # samples written so far, if the sound is encoded again
        self._cut = 0  # samples still to drop in that case, because they precede the video's beginning
        known, encoder = _CODECS[container]
        opus = stream.codec_context.name == "opus"
        self._copied = stream.codec_context.name in known and not (opus and later)
        # How many packets before the beginning the decoder needs to produce the first sound as in the source: AAC
        # packets overlap, and Opus needs 80 ms. MP4 and MOV tell players to skip them; sound encoded again is cut.
        self.lead = 1 if self._copied and container == "webm" else 6 if opus else 2
        if self._copied:
            self._out = out.add_stream_from_template(stream)
        else:
            self._rate = _OPUS_RATE if encoder == "libopus" else stream.codec_context.sample_rate
            self._out = out.add_stream(encoder, rate=self._rate)
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            self._out.layout = layout
            samples = "flt" if encoder == "libopus" else "fltp"
            self._resampler = av.AudioResampler(samples, layout, self._rate)

    def since(self, zero: float, packet: Any) -> float:
        """The time of a packet in seconds since `zero`; continues if time stamps start over (joined streams)."""
        stamp = float(packet.pts * packet.time_base)
        if self._shift is None:
            self._shift = -zero
        elif self._last is not None and stamp + self._shift < self._last - 0.5:
            self._shift = self._last - stamp
        time = stamp + self._shift
        self._last = time + float((packet.duration or 0) * packet.time_base)
        return time

    def convert(self, packet: Any, time: float) -> list[Any]:
        """The packets to write for a packet from the file."""
        if self._copied:
            packet.pts = packet.dts = round(time / packet.time_base)
            packet.stream = self._out
            return [packet]
        frames = self._stream.codec_context.decode(packet)
        if self._samples is None and frames:
            begin = frames[0].pts  # later than the packet's if the decoder drops the encoder's priming samples
            late = 0.0 if begin is None else float((begin - packet.pts) * packet.time_base)
            self._samples, self._cut = (
                max(0, round((time + late) * self._rate)),
                max(0, round(-(time + late) * self._rate)),
            )
        return [made for frame in frames for made in self._encode(frame)]

    def flush(self) -> list[Any]:
        """The packets that the encoder still holds at the end."""
        if self._copied or self._samples is None:
            return []
        return [*self._encode(None), *self._out.encode(None)]

    def _encode(self, frame: Any) -> list[Any]:
        made = []
        for part in self._resampler.resample(frame):
            if self._cut:
                self._cut, part = max(0, self._cut - part.samples), _without_start(part, self._cut)
                if part is None:
                    continue
            part.pts, part.time_base = self._samples, Fraction(1, self._rate)
            self._samples = (self._samples or 0) + part.samples
            made += self._out.encode(part)
        return made
