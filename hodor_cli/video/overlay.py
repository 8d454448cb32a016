"""Draws objects over frames: translucent colours, outlines and, optionally, object ids.

The result depends only on the arguments, so a frame drawn again after an interruption is the same. Still pictures are
drawn in RGB, frames of a video in the YUV in which they are coded, both a plane at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from hodor_cli.images.label_png import box_of, davis_palette, ids_in, window_of
from hodor_cli.images.paths import size_text
from hodor_cli.video.h264 import VideoWriter
from hodor_cli.video.yuv import Colours, Picture, Plane, planes_of

#: Weight of the object's colour in a covered pixel.
DEFAULT_OPACITY = 0.5
# Paint is hardly visible if its mean difference per channel from the picture is smaller than this.
_ALIKE = 62
# An object gets its own shade if at most the first of these fractions of it resembles its paint, another shade from the
# second fraction on, and a mixture in between.
_FEW, _MANY = 0.25, 0.75
# Positions for object numbers are searched at about this picture height.
_SEARCH_HEIGHT = 480

Window = tuple[slice, slice]
#: The value of a plane's pixels, or the colour of a picture's.
Value = int | tuple[int, int, int]


def colour_of(object_id: int) -> tuple[int, int, int]:
    """The RGB colour of an object: from the DAVIS palette, which repeats after its 255 colours."""
    red, green, blue = davis_palette()[_rows(np.array(object_id))].tolist()
    return red, green, blue


def draw_overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    *,
    opacity: float = DEFAULT_OPACITY,
    outline: bool = True,
    ids: bool = False,
) -> NDArray[np.uint8]:
    """Return a copy of `image` (H, W, 3) RGB uint8 with the objects of the (H, W) label map drawn over it.

    `opacity` is the weight 0..1 of the object's colour in its pixels; `outline` draws an edge inside the object in a
    brighter shade of its colour, wider in larger frames; `ids` writes each object's number at its middle. An object
    that resembles its paint gets another shade. Pixels without an object stay unchanged. Raises ValueError if the sizes
    differ.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image is {size_text(image.shape)}, labels {size_text(labels.shape)}")
    result = image.copy()
    window = _window(labels)
    if window is None:
        return result
    rows = _rows(labels[window])
    edge = _edge(rows, labels.shape) if outline else np.zeros_like(rows)
    shaded = _shaded(result[window], rows)
    planes = list(cv2.split(result[window]))
    numbers = list(_numbers(labels, window)) if ids else []
    for plane, paint in zip(planes, _paints(), strict=True):
        _mix(plane, paint, rows, edge, shaded, opacity)
        for number in numbers:
            number.write(plane, 0, 255)
    result[window] = cv2.merge(planes)
    return result


def draw_on_video(video: VideoWriter, picture: Picture, labels: NDArray[np.uint16], *, ids: bool = False) -> VideoFrame:
    """The picture with the objects of its label map drawn over it, as by `draw_overlay`, as a frame for `video`.

    Drawing is done in YUV, so frames of a video are never converted to RGB.
    """
    canvas, labels = video.canvas(picture), video.fitted(labels, labels=True)
    window = _window(labels, even=True)
    if window is None:
        return canvas
    half = tuple(slice(side.start // 2, side.stop // 2) for side in window)
    planes = [plane[part] for plane, part in zip(planes_of(canvas), (window, half, half), strict=True)]
    rows = _rows(labels[window])
    edge = _edge(rows, labels.shape)
    # Blocks of 2x2 pixels share one value of U and V.
    block_rows = np.ascontiguousarray(cv2.dilate(rows, np.ones((2, 2), np.uint8), anchor=(0, 0))[::2, ::2])
    block_edge = cv2.resize(edge, block_rows.shape[::-1], interpolation=cv2.INTER_AREA) & 128
    blocks = [np.ascontiguousarray(plane) for plane in (planes[0][::2, ::2], *planes[1:])]
    shaded = _shaded(video.colours.decoded(blocks), block_rows)
    luma, *chroma = zip(planes, _paints(video.colours), strict=True)
    _mix(*luma, rows, edge, shaded, DEFAULT_OPACITY)
    for plane, paint in chroma:
        _mix(plane, paint, block_rows, block_edge, shaded, DEFAULT_OPACITY)
    for number in _numbers(labels, window) if ids else ():
        number.write(planes[0], *((0, 255) if video.colours.full else (16, 235)))
        for plane in planes[1:]:
            number.write(plane, 128, 128, 0.5)
    return canvas


def inner_edge(labels: NDArray[np.unsignedinteger], thickness: int = 1) -> NDArray[np.bool_]:
    """(H, W) bool: object pixels within `thickness` pixels of another label. The frame's border does not count."""
    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), dtype=np.uint8)
    lowest = cv2.erode(labels, kernel, borderType=cv2.BORDER_REPLICATE)
    highest = cv2.dilate(labels, kernel, borderType=cv2.BORDER_REPLICATE)
    edge: NDArray[np.bool_] = (labels != 0) & (lowest != highest)
    return edge


def _window(labels: NDArray[np.uint16], *, even: bool = False) -> Window | None:
    """The smallest window with all objects and a margin of one pixel, on even coordinates if `even`; None if empty."""
    box = box_of(labels)
    if box is None:
        return None
    step = 2 if even else 1
    rows, columns = (
        slice(max(0, inside.start - 1) // step * step, min(side, -(-(inside.stop + 1) // step) * step))
        for inside, side in zip(window_of(box), labels.shape, strict=True)
    )
    return rows, columns


class _Paint(NamedTuple):
    """The values of a plane, (256,) uint8 by palette row: for an object's pixels, for an object that resembles its
    colour, and for outlines."""

    colour: Plane
    shade: Plane
    edge: Plane


def _mix(plane: Plane, paint: _Paint, rows: Plane, edge: Plane, shaded: NDArray[np.float64], opacity: float) -> None:
    """Paint the objects into a plane (h, w) uint8, in place. rows: palette row of each pixel (0: no object). edge:
    non-zero in outlines. shaded: (256,), the weight of the other shade in each row's paint."""
    colour = np.round(paint.colour + shaded * (paint.shade.astype(np.float64) - paint.colour)).astype(np.uint8)
    mixed: Any = cv2.addWeighted(plane, 1 - opacity, _values(rows, colour), opacity, 0)
    cv2.copyTo(_values(rows, paint.edge), edge, mixed)
    cv2.copyTo(mixed, rows, plane)


def _values(rows: Plane, table: Plane) -> Plane:
    """The value of a table (256,) for each pixel's row."""
    highest = rows.max(initial=0)
    if cv2.countNonZero(rows) != np.count_nonzero(rows == highest):
        return np.asarray(cv2.LUT(rows, table), dtype=np.uint8)
    values = np.full_like(rows, table[0])  # three times as fast if there is one object
    cv2.copyTo(np.full_like(rows, table[highest]), rows, values)
    return values


def _edge(rows: Plane, size: tuple[int, ...]) -> Plane:
    """255 in outlines, 0 elsewhere, for a window of a frame of this size."""
    return inner_edge(rows, max(1, round(min(size) / 300))).view(np.uint8) * np.uint8(255)


def _shaded(picture: NDArray[np.uint8], rows: Plane) -> NDArray[np.float64]:
    """(256,) by palette row, 0..1: how much another shade an object needs, because it resembles its paint.

    An object has a single colour per frame, so that a multicoloured coat is not painted in patches. The colour lies
    between both shades if a part of the object resembles its paint, so that it does not flicker from frame to frame.
    """
    planes, apart = cv2.split(picture), []
    for palette in _palettes()[:2]:  # the mean over the channels, in steps that OpenCV vectorises
        parts = [cv2.absdiff(plane, _values(rows, table)) for plane, table in zip(planes, palette.T, strict=True)]
        total = cv2.add(cv2.add(parts[0], parts[1], dtype=cv2.CV_16U), parts[2], dtype=cv2.CV_16U)
        apart.append(cv2.convertScaleAbs(total, alpha=1 / 3))
    own, other = apart
    better: NDArray[np.bool_] = (own < _ALIKE) & (other > own)
    alike, pixels = (cv2.calcHist([rows], [0], mask, [256], [0, 256]).ravel() for mask in (better.view(np.uint8), None))
    return np.clip((alike / np.maximum(pixels, 1) - _FEW) / (_MANY - _FEW), 0, 1, dtype=np.float64)


@lru_cache
def _palettes() -> tuple[Plane, Plane, Plane]:
    """(256, 3) RGB each: the palette, another shade of each colour (pale if it is dark, else dark), and outlines."""
    palette = davis_palette()
    exact = palette.astype(np.float64)
    # At full brightness, to be visible on dark objects too.
    outlines = np.round(exact * 255 / np.maximum(exact.max(axis=1, keepdims=True), 1)).astype(np.uint8)
    dark = exact.mean(axis=1, keepdims=True) < 120
    return palette, np.where(dark, outlines // 2 + 127, palette // 4).astype(np.uint8), outlines


@lru_cache
def _paints(colours: Colours | None = None) -> list[_Paint]:
    """The paint of each plane: Y, U and V in this coding; None: R, G and B."""
    planes = []
    for palette in _palettes():
        frame = av.VideoFrame.from_ndarray(palette.reshape(16, 16, 3), format="rgb24")
        coded = palette.T if colours is None else planes_of(colours.encoded(frame, "yuv444p"))
        planes.append([plane.flatten() for plane in coded])
    return [_Paint(*values) for values in zip(*planes, strict=True)]


def _rows(labels: NDArray[np.integer]) -> Plane:
    """The palette's row of each id."""
    if labels.max(initial=0) > 255:
        labels = np.where(labels > 255, (labels - 1) % 255 + 1, labels)
    return labels.astype(np.uint8)


@dataclass(frozen=True)
class OutlinedText:
    """A short text, such as an object's number: its left and lower edge, and how it is written."""

    text: str
    left: float
    bottom: float
    scale: float
    stroke: float

    def write(self, plane: Plane, border: Value, ink: Value, size: float = 1.0) -> None:
        """Write the text into a plane or an RGB picture, in place. size: its size relative to the frame's."""
        place, scale = (round(self.left * size), round(self.bottom * size)), self.scale * size
        for colour, wide in ((border, self.stroke * size + 2), (ink, self.stroke * size)):
            stroke = max(1, round(wide))
            cv2.putText(plane, self.text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, stroke, cv2.LINE_AA)


def _numbers(labels: NDArray[np.uint16], window: Window) -> Iterator[OutlinedText]:
    """Each object's number, at the object's innermost point, in a window of the frame."""
    scale = max(0.35, labels.shape[0] / 900)
    stroke = max(1, round(scale * 1.8))
    step = max(1, round(labels.shape[0] / _SEARCH_HEIGHT))
    part = labels[window]
    coarse = np.ascontiguousarray(part[::step, ::step])
    for object_id in ids_in(coarse):
        mask = coarse == object_id
        x, y, wide, high = cv2.boundingRect(mask.view(np.uint8))
        depth = cv2.distanceTransform(np.pad(mask[y : y + high, x : x + wide].view(np.uint8), 1), cv2.DIST_L2, 3)
        within = np.unravel_index(int(depth.argmax()), depth.shape)
        row, column = (int(start + place - 1) * step for start, place in zip((y, x), within, strict=True))
        text = str(object_id)
        (width, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        # The text stays inside the window even if the object is smaller than its number.
        left = min(max(0, column - width // 2), max(0, part.shape[1] - width))
        bottom = min(max(tall, row + tall // 2), part.shape[0] - 1)
        yield OutlinedText(text, left, bottom, scale, stroke)
