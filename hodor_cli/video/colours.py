"""The colour coding of a video. A written video has that of its source, so that both look the same in a player."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BT709, _NOT_STATED = 1, 2
# Matrices of ITU-T H.273 that FFmpeg's scaler computes, by its own numbers; one that is not stated is BT.601 to it.
_SCALERS = {_BT709: 1, _NOT_STATED: 5, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
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
        name, matrix = frame.format.name, int(getattr(frame, "colorspace", _NOT_STATED))
        primaries, transfer = (int(getattr(context, key, _NOT_STATED)) for key in ("color_primaries", "color_trc"))
        if frame.format.is_rgb or matrix not in _SCALERS:
            full, matrix = False, _BT709
        else:
            full = int(getattr(frame, "color_range", 0)) == _FULL or name.startswith("yuvj")
        stated = [_NOT_STATED if code in _RESERVED else code for code in (primaries, transfer)]
        return cls(full, matrix, *stated)

    def encoded(self, frame: VideoFrame, pixels: str) -> VideoFrame:
        """An RGB(A) frame converted to the YUV format `pixels`."""
        span = _FULL if self.full else _LIMITED
        return frame.reformat(format=pixels, dst_colorspace=_SCALERS[self.matrix], dst_color_range=span)

    def tag(self, context: Any) -> None:
        """Write the coding into an encoder's stream."""
        context.colorspace, context.color_primaries, context.color_trc = self.matrix, self.primaries, self.transfer
        context.color_range = _FULL if self.full else _LIMITED
