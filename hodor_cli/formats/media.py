"""Writes objects cut out of the frames: pictures and videos with alpha, videos on green, and mattes.

Videos keep the source's frame times, pixel aspect (except WebM), colour coding and sound. Alpha is straight (not
premultiplied).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture
from hodor_cli.formats.writing import FolderWriter, write_picture
from hodor_cli.images.label_png import window_of
from hodor_cli.images.listing import frame_name
from hodor_cli.video.h264 import H264, Codec, VideoWriter
from hodor_cli.video.sound import add_sound

GREEN = np.array((0, 255, 0), np.uint8)
#: Draws a frame of the video from an (H, W, 3) picture and the (H, W) mask of its objects.
Draw = Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.uint8]]


_PRORES = Codec(
    "ProRes", ("prores_ks",), "yuva444p10le", "mov", {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"},
    full_range=False,
)  # fmt: skip
_VP9 = Codec(
    "VP9", ("libvpx-vp9",), "yuva420p", "webm",
    {"crf": "24", "deadline": "good", "cpu-used": "4", "auto-alt-ref": "0"},
)  # fmt: skip
# Nearly lossless: at the quality of H264 and with its deblocking filter, outlines are a fourth of the way to grey.
_MATTE = H264._replace(options={**H264.options, "crf": "4", "x264-params": "no-deblock=1"})


def write_cutouts(annotations: Annotations, out: FolderWriter) -> None:
    """Write ID_NAME/FRAME.png with alpha for each object, cropped to its box."""
    for picture in annotations.pictures:
        image = _image(picture)
        for item in annotations.items(picture):
            window = window_of(item.box)
            name = re.sub(r"[^\w-]+", "_", item.label)
            place = out.place(f"{item.object_id}_{name}/{frame_name(Path(picture.name))}.png")
            write_picture(place, _with_alpha(image[window], item.mask[window]))


def _write_video(annotations: Annotations, out: FolderWriter, codec: Codec, draw: Draw) -> None:
    source = annotations.source
    assert source is not None
    path = out.place(f"{annotations.video}.{codec.container}")
    if codec is _VP9 and (aspect := float(source.pixel_aspect)) != 1:  # PyAV cannot set a WebM's display size
        source.warn(f"{path.name} has square pixels; those of its source are {aspect:.3g} times as wide")
    with VideoWriter(path, annotations.fps, source.pixel_aspect, source.colours, codec) as video:
        for picture in annotations.pictures:
            drawn = draw(_image(picture), picture.labels > 0)
            video.write(drawn, time=picture.time, duration=picture.duration)
    if source.sound is not None and path.is_file():
        begin = next((picture.time or 0.0 for picture in annotations.pictures), 0.0)
        source.warn(add_sound(path, source.sound, begin, codec.container))


def _image(picture: Picture) -> NDArray[np.uint8]:
    if picture.image is None:
        raise InputError(f"the frame {picture.name}, to cut objects out of, is missing; give the video with `source`")
    return picture.image


def _with_alpha(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.concatenate([image, (mask * np.uint8(255))[..., None]], axis=2)


#: NAME.mov: ProRes 4444, with alpha 255 inside objects.
write_prores = partial(_write_video, codec=_PRORES, draw=_with_alpha)
#: NAME.webm: VP9 with alpha, for browsers.
write_webm = partial(_write_video, codec=_VP9, draw=_with_alpha)
#: NAME.mp4: the objects on green, and white on black.
write_green = partial(_write_video, codec=H264, draw=lambda image, mask: np.where(mask[..., None], image, GREEN))
write_matte = partial(
    _write_video, codec=_MATTE, draw=lambda image, mask: np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
)
