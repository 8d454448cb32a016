"""The frames of a source from the last to the first, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from hodor_cli.errors import InputError
from hodor_cli.video.frames import Frame, FrameSource

#: Pixels of decoded frames held at a time, in bytes; a video is decoded forward in pieces of that size.
_HELD = 192 * 2**20


def backwards(source: FrameSource, first: int, stop: int) -> Iterator[Frame]:
    """Yield the frames stop - 1 down to `first`, a piece at a time, as `source.between` reads them forward.

    Raises InputError if the source gives fewer frames than before.
    """
    count = max(4, _HELD // (source.height * source.width * 3))
    for low in reversed(range(first, stop, count)):
        high = min(low + count, stop)
        frames = list(source.between(low, high))
        if len(frames) != high - low:
            raise InputError(
                f"{source.label} has {len(frames)} of the frames {low} to {high - 1} when it is read backward; convert"
                " it to a new file first"
            )
        while frames:
            yield frames.pop()
