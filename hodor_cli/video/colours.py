"""The colour coding of a video. A written video has that of its source, so that both look the same in a player."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BT709, _NOT_STATED = 1, 2
# Matrices of ITU-T H.273 that FFmpeg's scaler computes, by its own numbers; one that is not stated is BT.601 to it.
_SCALERS = {_BT709: 1, _NOT_STATED: 5, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
# By these numbers, the weights of red and blue in the brightness Y.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.3, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_LIMITED, _FULL = 1, 2
_RESERVED = (0, 3)


@dataclass(frozen=True)
class Colours:
    """Range, matrix, primaries and transfer curve by the numbers of ITU-T H.273 (1: BT.709, 2: not stated).

    full: values fill 0..255, and not 16..235 (luma) and 16..240.
    """

    full: bool = False
    matrix: int = _BT709
    primaries: int = _BT709
    transfer: int = _BT709

    @classmethod
    def of(cls, frame: VideoFrame, context: Any) -> Colours:
        """The coding of a stream, from a decoded frame and the stream's codec context; BT.709 for RGB."""
        matrix = int(getattr(frame, "colorspace", _NOT_STATED))
        primaries, transfer = (int(getattr(context, key, _NOT_STATED)) for key in ("color_primaries", "color_trc"))
        if frame.format.is_rgb or matrix not in _SCALERS:
            full, matrix = False, _BT709
        else:
            full = _is_full(frame)
        stated = [_NOT_STATED if code in _RESERVED else code for code in (primaries, transfer)]
        return cls(full, matrix, *stated)

    def are_of(self, frame: VideoFrame) -> bool:
        """Whether a frame of YUV has this range and matrix."""
        matrix = int(getattr(frame, "colorspace", _NOT_STATED))
        return not frame.format.is_rgb and matrix == self.matrix and _is_full(frame) == self.full

    def decoded(self, planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The (H, W, 3) RGB of a Y, a U and a V plane of one size. For small pictures faster than FFmpeg's scaler."""
        import cv2

        return np.asarray(cv2.transform(cv2.merge(list(planes)), self._to_rgb), dtype=np.uint8)

    @cached_property
    def _to_rgb(self) -> NDArray[np.float32]:
        """(3, 4): RGB of (Y, U, V, 1)."""
        red, blue = _WEIGHTS[_SCALERS[self.matrix]]
        green = 1 - red - blue
        of_u = (0, -2 * blue * (1 - blue) / green, 2 * (1 - blue))
        of_v = (2 * (1 - red), -2 * red * (1 - red) / green, 0)
        matrix = np.array(((1, 1, 1), of_u, of_v)).T
        matrix *= 1 if self.full else (255 / 219, 255 / 224, 255 / 224)
        zero = (0 if self.full else 16, 128, 128)
        return np.column_stack((matrix, -matrix @ zero)).astype(np.float32)

    def encoded(self, frame: VideoFrame, pixels: str) -> VideoFrame:
        """A frame converted to the YUV format `pixels`."""
        span = _FULL if self.full else _LIMITED
        return frame.reformat(format=pixels, dst_colorspace=_SCALERS[self.matrix], dst_color_range=span)

    def tag(self, context: Any) -> None:
        """Write the coding into an encoder's stream."""
        context.colorspace, context.color_primaries, context.color_trc = self.matrix, self.primaries, self.transfer
        context.color_range = _FULL if self.full else _LIMITED


def _is_full(frame: VideoFrame) -> bool:
    return int(getattr(frame, "color_range", 0)) == _FULL or frame.format.name.startswith("yuvj")
