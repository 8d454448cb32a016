"""Objects cut out of the frames: pictures and videos with alpha, videos on green, and mattes.

Videos keep the source's frame times, pixel aspect, colour coding and sound. Alpha is straight (not premultiplied).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError, OutputError
from hodor_cli.formats.annotations import Annotations, Picture
from hodor_cli.formats.writing import FolderWriter, write_picture
from hodor_cli.images.extent import box_of
from hodor_cli.video.h264 import Timeline, VideoWriter
from hodor_cli.video.sound import add_sound

GREEN = (0, 255, 0)


@dataclass(frozen=True)
class _Codec:
    """How a video with alpha is encoded: the encoder, its pixels and options, the file format, and whether that can say
    that values fill the full range."""

    encoder: str
    pixels: str
    options: dict[str, str]
    container: str
    full_range: bool = True


_PRORES = _Codec(
    "prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"}, "mov", full_range=False
)
_VP9 = _Codec("libvpx-vp9", "yuva420p", {"crf": "24", "deadline": "good", "cpu-used": "4", "auto-alt-ref": "0"}, "webm")


def write_cutouts(annotations: Annotations, out: FolderWriter) -> None:
    """Write ID_NAME/FRAME.png with alpha, each object cropped to its box."""
    for picture in annotations.pictures:
        image = _image(picture)
        for shape in picture.shapes:
            mask = shape.mask(picture.size)
            if (box := box_of(mask)) is None:
                continue
            left, top, width, height = box
            window = slice(top, top + height), slice(left, left + width)
            name = re.sub(r"[^\w-]+", "_", annotations.class_of(shape))
            place = out.place(f"{shape.object_id}_{name}/{Path(picture.name).stem}.png")
            write_picture(place, _with_alpha(image[window], mask[window]))


def write_prores(annotations: Annotations, out: FolderWriter) -> None:
    """Write NAME.mov: ProRes 4444, with alpha 255 inside objects."""
    _write_alpha(annotations, out, _PRORES)


def write_webm(annotations: Annotations, out: FolderWriter) -> None:
    """Write NAME.webm: VP9 with alpha, for browsers."""
    _write_alpha(annotations, out, _VP9)


def write_green(annotations: Annotations, out: FolderWriter) -> None:
    """Write NAME.mp4: the objects on green."""
    _write_h264(annotations, out, lambda image, mask: np.where(mask[..., None], image, np.array(GREEN, np.uint8)))


def write_matte(annotations: Annotations, out: FolderWriter) -> None:
    """Write NAME.mp4: the objects white on black."""
    _write_h264(annotations, out, lambda image, mask: np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))


def _write_h264(
    annotations: Annotations,
    out: FolderWriter,
    draw: Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.uint8]],
) -> None:
    source = annotations.source
    assert source is not None
    path = out.place(f"{annotations.video}.mp4")
    with VideoWriter(path, annotations.fps, source.pixel_aspect, source.colours) as video:
        for picture, ticks in _timed(annotations):
            drawn = draw(_image(picture), picture.labels > 0)
            video.write(np.ascontiguousarray(drawn, dtype=np.uint8), ticks=ticks)
    _add_sound(annotations, path, "mp4")


def _write_alpha(annotations: Annotations, out: FolderWriter, codec: _Codec) -> None:
    import av

    if codec.encoder not in av.codecs_available:
        raise OutputError(f"this PyAV has no encoder {codec.encoder}; install av from its wheels")
    source, timeline = annotations.source, Timeline(annotations.fps)
    assert source is not None
    path = out.place(f"{annotations.video}.{codec.container}")
    colours = replace(source.colours, full=source.colours.full and codec.full_range)
    with ExitStack() as stack:
        container: Any = None
        stream: Any = None
        for picture, ticks in _timed(annotations):
            pixels = _even(_with_alpha(_image(picture), picture.labels > 0))
            if container is None:
                container = stack.enter_context(av.open(str(path), "w", format=codec.container))
                stream = _stream(container, codec, timeline, pixels.shape[:2])
                stream.codec_context.sample_aspect_ratio = source.pixel_aspect.limit_denominator(255)
                colours.tag(stream.codec_context)
            frame = colours.encoded(av.VideoFrame.from_ndarray(pixels, format="rgba"), codec.pixels)
            frame.pts, frame.time_base = ticks, timeline.time_base
            _mux(container, stream.encode(frame), timeline)
        if container is not None:
            _mux(container, stream.encode(None), timeline)
    _add_sound(annotations, path, codec.container)


def _stream(container: Any, codec: _Codec, timeline: Timeline, size: tuple[int, ...]) -> Any:
    stream = container.add_stream(codec.encoder, rate=timeline.rate)
    stream.height, stream.width = size
    stream.pix_fmt = codec.pixels
    stream.options = dict(codec.options)
    stream.metadata["alpha_mode"] = "1"
    context = stream.codec_context
    context.time_base = timeline.time_base
    context.bit_rate = 0  # constant quality
    return stream


def _mux(container: Any, packets: Any, timeline: Timeline) -> None:
    for packet in packets:
        packet.duration = packet.duration or timeline.duration
        container.mux(packet)


def _timed(annotations: Annotations) -> Iterator[tuple[Picture, int]]:
    """Yield each picture with its time in ticks of `Timeline`."""
    timeline, ticks, first = Timeline(annotations.fps), None, None
    for place, picture in enumerate(annotations.pictures):
        time = place / annotations.fps if picture.time is None else picture.time
        first = time if first is None else first
        ticks = timeline.ticks(place, time - first, ticks)
        yield picture, ticks


def _add_sound(annotations: Annotations, path: Path, container: str) -> None:
    source = annotations.source
    if source is None or source.sound is None or not path.is_file():
        return
    begin = next((picture.time or 0.0 for picture in annotations.pictures), 0.0)
    source.warn(add_sound(path, source.sound, begin, container))


def _image(picture: Picture) -> NDArray[np.uint8]:
    if picture.image is None:
        raise InputError(f"the frame {picture.name} is not there to cut objects out of; give the video with `source`")
    return picture.image


def _with_alpha(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.concatenate([image, (mask * np.uint8(255))[..., None]], axis=2)


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with even sides, which subsampled colour needs: an odd side gets a transparent row or column."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0))) if height % 2 or width % 2 else pixels
