"""Writing videos, H.264 by default: the encoder, the times of frames, and the size at which pictures are written."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import put_in_place, require_replaceable
from hodor_cli.video.yuv import Colours, Picture, YuvPicture

# The number of threads slightly changes the encoder's output, so it is fixed.
_THREADS = 2
MOST_SIDE = 8192  # the largest that common decoders accept
_FALLBACK_RATE = Fraction(25)  # for implausible frame rates


class Codec(NamedTuple):
    """How a video is encoded. encoders: the first one available in PyAV is used; pixels: their format; container: the
    file format; full_range: whether the codec can signal that values use the full range; even: whether the sides of a
    picture must be even."""

    name: str
    encoders: tuple[str, ...]
    pixels: str
    container: str
    options: dict[str, str]
    full_range: bool = True
    even: bool = False

    def encoder(self) -> str:
        """The name of the encoder. Raises OutputError if there is none."""
        if found := next((name for name in self.encoders if name in av.codecs_available), None):
            return found
        raise OutputError(f"this PyAV has no encoder for {self.name}; install av from wheels, or set `overlay=False`")


# No B-frames: they reorder packets, and joining would depend on the encoder's delay. At this quality, the fastest
# preset makes files of nearly the size and quality of "superfast" at 20 in half the time.
H264 = Codec(
    "H.264", ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf"), "yuv420p", "mp4",
    {"preset": "ultrafast", "crf": "21", "bf": "0", "x264-params": "no-deblock=0"}, even=True,
)  # fmt: skip


class Timeline:
    """Maps a source's times in seconds to the ticks of the written video.

    `rate` is the frame rate as a fraction, `time_base` the length of a tick in seconds, `duration` the ticks per frame.
    Times within a container's rounding error (1 ms) of a constant rate become exact multiples of `duration`; all other
    times are kept.
    """

    def __init__(self, fps: float) -> None:
        usable = math.isfinite(fps) and 0.01 <= fps <= 1000
        self.rate = Fraction(fps).limit_denominator(1001) if usable else _FALLBACK_RATE
        self.duration = self.rate.denominator
        ticks_per_second = self.rate.numerator
        while ticks_per_second < 10_000:
            ticks_per_second *= 2
            self.duration *= 2
        self.time_base = Fraction(1, ticks_per_second)

    def ticks(self, position: int, seconds: float, previous: int | None) -> int:
        """The presentation time, in ticks, of frame number `position` (from 0), shown `seconds` after the first.

        `previous` is the previous frame's result, None for the first frame.
        """
        nominal = position * self.duration
        actual = round(Fraction(seconds) / self.time_base) if math.isfinite(seconds) else nominal
        ticks = nominal if abs(actual - nominal) <= min(self.duration / 4, 0.0011 / self.time_base) else actual
        return ticks if previous is None else max(ticks, previous + 1)


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Writes pictures as H.264 (yuv420p) MP4, where odd sides are made even by repeating the last row or column; other
    codecs may also take RGBA. Frames with a side longer than `side` pixels are scaled down and keep their displayed
    aspect.

    `target` is a path or a seekable binary file object; a path appears only when `close()` succeeds. `pixel_aspect` is
    the width of a pixel divided by its height, `colours` is how colours are coded. As a context manager it calls
    `close` after success and `discard` after an error. Raises OutputError if the video cannot be written.
    """

    def __init__(
        self,
        target: Path | str | io.IOBase,
        fps: float,
        pixel_aspect: Fraction = Fraction(1),
        colours: Colours | None = None,
        codec: Codec = H264,
        side: int = MOST_SIDE,
    ) -> None:
        self._timeline = Timeline(fps)
        self._pixel_aspect = pixel_aspect
        self._codec, self.colours, self._side = codec, colours or Colours(), min(side, MOST_SIDE)
        self.colours = replace(self.colours, full=self.colours.full and codec.full_range)
        self._target = Path(target) if isinstance(target, (str, Path)) else None
        self._sink: Any = target if self._target is None else self._target.with_name(f".{self._target.name}.tmp")
        self._container: Any = None
        self._stream: Any = None
        self._frames = 0
        self._begin: float | None = None  # time of the first frame
        self._last: int | None = None  # ticks of the latest frame
        self._durations: dict[int, int] = {}  # time of each frame in the encoder -> its duration, in ticks

    def canvas(self, picture: Picture) -> VideoFrame:
        """The picture as a frame in the written size and format, which can be drawn on before it is written.

        picture: the picture of a `Frame`, or (H, W, 4) RGBA uint8.
        """
        height, width = picture.shape[:2]
        if self._container is None:
            self._open(height, width)
        if isinstance(picture, YuvPicture) and (picture.colours, "yuv420p") == (self.colours, self._codec.pixels):
            return picture.upright(_fitting_size(height, width, self._side))
        image = self.fitted(np.asarray(picture))
        pixels = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
        return self.colours.encoded(pixels, self._codec.pixels)

    def fitted(self, image: NDArray[Any], *, labels: bool = False) -> NDArray[Any]:
        """A picture (H, W, C) or a label map (H, W) at the size at which it is written."""
        height, width = _fitting_size(image.shape[0], image.shape[1], self._side)
        if (height, width) != image.shape[:2]:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST if labels else cv2.INTER_AREA)
        if self._codec.even and (height % 2 or width % 2):
            return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0))[: image.ndim], mode="edge")
        return np.ascontiguousarray(image)

    def write(
        self,
        picture: Picture | VideoFrame,
        *,
        time: float | None = None,
        ticks: int | None = None,
        duration: float | None = None,
    ) -> None:
        """Append a picture, or a frame from `canvas`; all frames must have the size of the first.

        time: when the frame is shown, in seconds of the source; by default, it follows the frame rate. ticks: the same
        in units of `Timeline.time_base`, instead of `time`. duration: for how many seconds the frame is shown if it is
        the last; by default, one frame interval.
        """
        frame = self.canvas(picture) if isinstance(picture, (np.ndarray, YuvPicture)) else picture
        if ticks is None:
            self._begin = time if self._begin is None else self._begin
            since = math.nan if time is None or self._begin is None else time - self._begin
            ticks = self._timeline.ticks(self._frames, since, self._last)
        frame.pts = ticks
        frame.time_base = self._timeline.time_base
        self._frames, self._last = self._frames + 1, frame.pts
        if duration is not None and math.isfinite(duration) and duration > 0:
            self._durations[frame.pts] = max(1, round(duration / self._timeline.time_base))
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the video and move it to `target`. A video without frames is not written."""
        if self._container is None:
            return
        self._mux(self._stream.encode(None))
        self._container.close()
        self._container = None
        if self._target is not None:
            require_replaceable(self._target)
            put_in_place(self._sink, self._target)

    def discard(self) -> None:
        """Close and delete the unfinished file."""
        if self._container is not None:
            with suppress(OSError):  # the caller already has the error that ended the video
                self._container.close()
            self._container = None
        if self._target is not None:
            Path(self._sink).unlink(missing_ok=True)

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            # The last packet's duration determines where the video ends.
            packet.duration = self._durations.pop(packet.pts, self._timeline.duration)
            self._container.mux(packet)

    def _open(self, height: int, width: int) -> None:
        sink = self._sink if self._target is None else f"file:{self._sink}"
        codec = self._codec
        options = {} if self._target is None or codec.container == "webm" else {"movflags": "+faststart"}
        encoder = codec.encoder()
        self._container = av.open(sink, "w", format=codec.container, options=options)
        stream = self._container.add_stream(encoder, rate=self._timeline.rate)
        shown = _fitting_size(height, width, self._side)
        stream.height, stream.width = (side + side % 2 * codec.even for side in shown)
        stream.pix_fmt = codec.pixels
        context = stream.codec_context
        context.time_base = self._timeline.time_base
        aspect = self._pixel_aspect * Fraction(width * shown[0], height * shown[1])
        context.sample_aspect_ratio = aspect.limit_denominator(255)
        context.thread_count = _THREADS
        context.bit_rate = 0  # constant quality
        if codec.pixels.startswith("yuva"):
            stream.metadata["alpha_mode"] = "1"
        self.colours.tag(context)
        stream.options = dict(codec.options)
        self._stream = stream

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()  # what an error has left


def _fitting_size(height: int, width: int, side: int) -> tuple[int, int]:
    """The size of a picture that has no side longer than `side`; even if it is another one."""
    scale = side / max(height, width)
    if scale >= 1:
        return height, width
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))
