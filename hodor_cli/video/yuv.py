"""A decoded frame as it is coded: brightness (Y) at its full size, colour (U, V) at half the size, 8 bits each.

The network sees a small picture, and the overlay is coded as YUV again, so RGB of the full size is rarely needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.images.value_range import ValueRange
from hodor_cli.video.colours import Colours
from hodor_cli.video.decoding import Turn, apply_turn, lying, to_rgb, upright_size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class YuvPicture:
    """A frame of 4:2:0 with even sides. `np.asarray` gives it as upright (H, W, 3) uint8 RGB.

    frame: must not be changed, because the decoder reads it. turn: makes it upright. colours: how it is coded.
    """

    frame: VideoFrame
    turn: Turn
    colours: Colours

    @classmethod
    def of(cls, frame: VideoFrame, turn: Turn, colours: Colours) -> YuvPicture | None:
        """None for a frame that is coded in another way. More than 8 bits become 8."""
        if frame.width % 2 or frame.height % 2 or not colours.are_of(frame):
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
        """(height, width, 3) uint8 RGB, resized bilinearly without antialiasing, as the network's input is."""
        import cv2

        rows, columns = lying((height, width), self.turn)
        planes = [cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_LINEAR) for plane in planes_of(self.frame)]
        return np.ascontiguousarray(apply_turn(self.colours.decoded(planes), self.turn))

    def upright(self) -> VideoFrame:
        """An upright copy that may be changed."""
        import av

        height, width, _ = self.shape
        copy = av.VideoFrame(width, height, "yuv420p")
        for plane, own in zip(planes_of(copy), planes_of(self.frame), strict=True):
            plane[:] = apply_turn(own, self.turn)
        return copy

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return to_rgb(self.frame, self.turn).astype(dtype or np.uint8, copy=False)


#: A frame's picture: (H, W, 3) uint8 RGB, or a frame of a video that is converted to RGB only where that is needed.
Picture = NDArray[np.uint8] | YuvPicture


def picture_of(
    frame: VideoFrame, turn: Turn, size: tuple[int, int], colours: Colours, value_range: ValueRange | None = None
) -> Picture:
    """The picture of a decoded frame in a source of this (H, W) and coding; RGB if the frame is of another kind."""
    picture = YuvPicture.of(frame, turn, colours) if upright_size(frame, turn) == size else None
    return to_rgb(frame, turn, size, value_range) if picture is None else picture


def planes_of(frame: VideoFrame) -> list[Plane]:
    """The planes of a frame of 8 bits as arrays that share its memory."""
    shaped = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]  # type: ignore[call-overload]
    return [rows[: plane.height, : plane.width] for rows, plane in zip(shaped, frame.planes, strict=True)]
