"""Decoded frames as they are coded: brightness (Y) at full size, colour (U, V) at half the size, 8 bits each.

The network processes a small picture, and the overlay is coded in YUV again, so full-size RGB is rarely needed. A
written video has the colour coding of its source, so that both look the same in a player.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from hodor_cli.images.value_range import ValueRange, scale_to_rgb8

Plane = NDArray[np.uint8]
#: The rotation of a stream: see `read_turn`.
Turn = np.ndarray | None

_RGB, _BT709, _NOT_STATED = 0, 1, 2
_BT2020, _BT2020_CONSTANT_LUMINANCE = 9, 10
# Matrices of ITU-T H.273 that FFmpeg's scaler supports -> its own numbers for them; it treats "not stated" as BT.601.
_SCALERS = {_BT709: 1, _NOT_STATED: 5, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# The scaler's number -> the weights of red and blue in the brightness Y.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.3, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_LIMITED, _FULL = 1, 2
_RESERVED = (0, 3)


@dataclass(frozen=True)
class Colours:
    """Range, matrix, primaries and transfer curve by the numbers of ITU-T H.273 (1: BT.709, 2: not stated).

    full: values span 0..255 instead of 16..235 (luma) and 16..240 (chroma).
    """

    full: bool = False
    matrix: int = _BT709
    primaries: int = _BT709
    transfer: int = _BT709

    @classmethod
    def of(cls, frame: VideoFrame, context: Any) -> Colours:
        """The coding of a stream, from a decoded frame and the stream's codec context; BT.709 for RGB."""
        matrix, primaries, transfer = _matrix(frame), int(context.color_primaries), int(context.color_trc)
        if frame.format.is_rgb or matrix not in _SCALERS:
            full, matrix = False, _BT709
        else:
            full = _is_full(frame)
        stated = [_NOT_STATED if code in _RESERVED else code for code in (primaries, transfer)]
        return cls(full, matrix, *stated)

    def decoded(self, planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """(H, W, 3) RGB from Y, U and V planes of the same size. Faster than FFmpeg's scaler for small pictures."""
        return np.asarray(cv2.transform(cv2.merge(list(planes)), self._to_rgb), dtype=np.uint8)

    @cached_property
    def _to_rgb(self) -> NDArray[np.float32]:
        """(3, 4) matrix that maps (Y, U, V, 1) to RGB."""
        red, blue = _WEIGHTS[_SCALERS[self.matrix]]
        green = 1 - red - blue
        of_u = (0, -2 * blue * (1 - blue) / green, 2 * (1 - blue))
        of_v = (2 * (1 - red), -2 * red * (1 - red) / green, 0)
        matrix = np.array(((1, 1, 1), of_u, of_v)).T
        matrix *= 1 if self.full else (255 / 219, 255 / 224, 255 / 224)
        zero = (0 if self.full else 16, 128, 128)
        return np.column_stack((matrix, -matrix @ zero)).astype(np.float32)

    def encoded(self, frame: VideoFrame, pixels: str) -> VideoFrame:
        """A frame, in RGB or in this coding, converted to the YUV format `pixels`."""
        span = _FULL if self.full else _LIMITED
        if self.matrix == _BT2020:
            frame.colorspace = _BT2020  # PyAV 17 takes it from here, not from dst_colorspace
        # One thread: with several, FFmpeg spoils pixels of 16-bit frames whose width is not a multiple of 16.
        frame = frame.reformat(format=pixels, dst_colorspace=_SCALERS[self.matrix], dst_color_range=span, threads=1)
        self.tag(frame)  # ProRes states what its frames do
        return frame

    def tag(self, context: Any) -> None:
        """Set the coding in a frame or in an encoder's context."""
        context.colorspace, context.color_primaries, context.color_trc = self.matrix, self.primaries, self.transfer
        context.color_range = _FULL if self.full else _LIMITED


def is_convertible(frame: VideoFrame) -> bool:
    """Whether FFmpeg's scaler can convert a decoded frame to RGB."""
    return frame.format.is_rgb or _matrix(frame) in (_RGB, *_RESERVED, *_SCALERS)


def _matrix(frame: VideoFrame) -> int:
    """The frame's matrix; BT.2020 with constant luminance counts as BT.2020, because the scaler supports only that."""
    matrix = int(frame.colorspace)
    return _BT2020 if matrix == _BT2020_CONSTANT_LUMINANCE else matrix


def _is_full(frame: VideoFrame) -> bool:
    return int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj")


@dataclass(frozen=True)
class YuvPicture:
    """A 4:2:0 frame with even sides. `np.asarray` converts it to upright (H, W, 3) uint8 RGB.

    frame: must not be changed, because the decoder still uses it. turn: makes it upright. colours: how it is coded.
    """

    frame: VideoFrame
    turn: Turn
    colours: Colours

    @classmethod
    def of(cls, frame: VideoFrame, turn: Turn, colours: Colours) -> YuvPicture | None:
        """The picture of a frame, reduced to 8 bits; None if the frame is coded in another way."""
        coding = int(frame.colorspace), _is_full(frame)
        if frame.width % 2 or frame.height % 2 or frame.format.is_rgb or coding != (colours.matrix, colours.full):
            return None
        name = frame.format.name
        if name not in ("yuv420p", "yuvj420p"):
            if not name.startswith("yuv420p"):
                return None
            frame = colours.encoded(frame, "yuv420p")
        return cls(frame, turn, colours)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return (*upright_size(self.frame, self.turn), 3)

    def scaled(self, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB, resized bilinearly without antialiasing, like the network's input."""
        rows, columns = turned_size((height, width), self.turn)
        planes = [cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_LINEAR) for plane in planes_of(self.frame)]
        return np.ascontiguousarray(apply_turn(self.colours.decoded(planes), self.turn))

    def upright(self, size: tuple[int, int]) -> VideoFrame:
        """An upright copy that may be changed, in this size (H, W), whose sides are even."""
        height, width = size
        copy = av.VideoFrame(width, height, "yuv420p")
        for plane, own in zip(planes_of(copy), planes_of(self.frame), strict=True):
            rows, columns = turned_size(plane.shape, self.turn)
            if own.shape != (rows, columns):
                own = cv2.resize(own, (columns, rows), interpolation=cv2.INTER_AREA)
            plane[:] = apply_turn(own, self.turn)
        return copy

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return to_rgb(self.frame, self.turn).astype(dtype or np.uint8, copy=False)


#: A frame's picture: (H, W, 3) uint8 RGB, or a frame of a video that is converted to RGB only when needed.
Picture = NDArray[np.uint8] | YuvPicture


def picture_of(
    frame: VideoFrame, turn: Turn, size: tuple[int, int], colours: Colours, value_range: ValueRange | None = None
) -> Picture:
    """The picture of a decoded frame in a source of this (H, W) and coding; RGB if the frame differs in either."""
    # The scaler refuses frames with tags that it does not support. It ignores transfer curves anyway, and in a damaged
    # stream the matrix of a frame can be wrong.
    frame.colorspace = _matrix(frame) if is_convertible(frame) else colours.matrix
    frame.color_trc = _NOT_STATED
    picture = YuvPicture.of(frame, turn, colours) if upright_size(frame, turn) == size else None
    return to_rgb(frame, turn, size, value_range) if picture is None else picture


def planes_of(frame: VideoFrame) -> list[Plane]:
    """The planes of an 8-bit frame as arrays that share its memory."""
    shaped = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]  # type: ignore[call-overload]
    return [rows[: plane.height, : plane.width] for rows, plane in zip(shaped, frame.planes, strict=True)]


def to_rgb(
    frame: VideoFrame, turn: Turn, size: tuple[int, int] | None = None, value_range: ValueRange | None = None
) -> np.ndarray:
    """Convert a decoded frame of any pixel format to (H, W, 3) uint8 RGB, made upright by `turn`.

    size: (H, W); frames of another size are scaled to it, because a stream may change its size midway. value_range: the
    values that become black and white in a frame with `deep_values`.
    """
    height, width = (frame.height, frame.width) if size is None else turned_size(size, turn)
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width=width, height=height)
    if value_range is not None and (values := deep_values(frame)) is not None:
        pixels = scale_to_rgb8(values, value_range)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(apply_turn(pixels, turn))


def deep_values(frame: VideoFrame) -> np.ndarray | None:
    """(H, W) uint16 values of a 16-bit grey frame, as cameras with 10 to 14 bits write it; None for other frames."""
    return frame.to_ndarray(format="gray16le") if frame.format.name in ("gray16le", "gray16be") else None


def upright_size(frame: VideoFrame, turn: Turn) -> tuple[int, int]:
    """(height, width) of a frame after rotation."""
    return turned_size((frame.height, frame.width), turn)


def turned_size(size: tuple[int, int], turn: Turn) -> tuple[int, int]:
    """(height, width) of a frame before rotation from the size after it, or the other way round."""
    return size if turn is None or turn[0, 0] else (size[1], size[0])


def read_turn(frame: VideoFrame) -> Turn:
    """Read the rotation of a stream from its first frame: a 2x2 matrix of -1, 0, 1 that maps stored (x, y) row vectors
    to displayed ones, or None if the frame is upright. Angles are rounded to multiples of 90 degrees.

    Call it for one frame only: PyAV links a frame and its side data in a reference cycle, which keeps the picture in
    memory until garbage collection.
    """
    side_data: Any = frame.side_data
    found = side_data.get("DISPLAYMATRIX")
    if found is None:
        return None
    full = np.frombuffer(bytes(found), dtype=np.int32, count=9).reshape(3, 3)
    linear = full[:2, :2].astype(np.float64)
    kept = np.eye(2) if abs(linear[0, 0]) >= abs(linear[0, 1]) else np.eye(2)[::-1]
    matrix = (np.sign(linear) * kept).astype(int)
    if abs(round(float(np.linalg.det(matrix)))) != 1 or np.array_equal(matrix, np.eye(2)):
        return None
    return matrix


def apply_turn(image: np.ndarray, turn: Turn) -> np.ndarray:
    """Rotate and mirror `image` (H, W, ...) by the matrix from `read_turn`."""
    if turn is None:
        return image
    if not turn[0, 0]:  # x' comes from y and y' from x
        image = image.swapaxes(0, 1)
    to_x, to_y = turn.sum(axis=0)  # the direction of each displayed axis
    if to_x < 0:
        image = image[:, ::-1]
    if to_y < 0:
        image = image[::-1]
    return image
