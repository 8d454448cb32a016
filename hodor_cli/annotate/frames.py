"""Random access to the frames of a source, as pixels or as JPEGs for the page.

Sources are streams, so one iterator is kept open and continued if the wanted frame follows soon; otherwise reading
starts again at the keyframe before that frame. A limited number of frames is cached, however long the video is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.sheet import scaled
from hodor_cli.pages import jpeg_bytes
from hodor_cli.records import FrameRecord
from hodor_cli.video.frames import Frame, FrameSource

_KEPT_BYTES, _KEPT_FRAMES = 64 << 20, 200  # whichever is less
_FEW = 8  # reading through this many frames costs no more than opening the file again
_BACK = 16  # frames read together when the user steps backward
_THUMB_HEIGHT = 54


class FrameReader:
    """Reads frames of a source by index. Thread-safe: one thread reads at a time, the others wait.

    few: cache only a few frames. Raises UsageError for a source that can be read only once.
    """

    def __init__(self, source: FrameSource, *, few: bool = False) -> None:
        if not source.reiterable:
            raise UsageError(f"{source.label} can be read only once; save it as a file to annotate it")
        self.source, self.fps, self._kept_bytes = source, source.fps, 0 if few else _KEPT_BYTES
        counted = source.count_up_to(1 << 31)
        last = counted if source.end is None else min(source.end, counted or source.end)
        #: The reader has the frames start <= index < end.
        self.start, self.end = source.start, int(last or source.start + (source.length or 1))
        self._names = source.frame_names()
        self._lock = threading.Lock()
        self._open: Iterator[Frame] | None = None
        self._next = source.start
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def name(self, index: int) -> str:
        """The frame's name, which is the file name of its mask without the suffix."""
        return self._names[index] if self._names else f"{index:05d}"

    def blank(self, index: int) -> FrameRecord:
        """The record of a frame without objects."""
        return FrameRecord(index, self.name(index), round(index / self.fps, 6), {})

    def has(self, index: int) -> bool:
        return self.start <= index < self.end

    def read(self, index: int) -> NDArray[np.uint8]:
        """The (H, W, 3) RGB pixels of a frame. Raises InputError if it cannot be decoded."""
        with self._lock:
            kept = self._kept.get(index)
            if kept is None:
                kept = self._keep(index, self._seek(index).image)
            self._kept.move_to_end(index)
            return kept

    def peek(self, index: int) -> NDArray[np.uint8] | None:
        """The frame if it is in memory, without waiting for another thread."""
        return self._kept.get(index)

    def _seek(self, index: int) -> Frame:
        if not self.has(index):
            raise InputError(f"there is no frame {index}; {self.source.label} has {self.start} to {self.end - 1}")
        steps_back = 0
        if self._open is None or index < self._next or not self._soon(index):
            if self._next - 2 * _BACK <= index < self._next:
                # A user who steps back a little will ask for the frames before this one next.
                steps_back = min(_BACK, self._room(self.source.height * self.source.width * 3) // 2)
            self._next = max(self.start, index - steps_back)
            self._open = iter(self.source.between(self._next, self.end))
        opened, self._open = self._open, None  # after an error, or at the end, the next frame opens the source again
        for frame in opened:
            self._next = frame.index + 1
            if frame.index == index:
                self._open = opened if self._next < self.end else None  # closing it reports what is damaged
                return frame
            if steps_back:
                self._keep(frame.index, frame.image)
        raise InputError(f"frame {index} of {self.source.label} cannot be decoded; use earlier frames, or convert it")

    def _soon(self, index: int) -> bool:
        """Whether reading on is faster than seeking to the keyframe before `index`: reading on converts every frame on
        the way to RGB, whereas frames after a seek are only decoded."""
        passed = index - self._next
        return passed < _FEW or 2 * passed <= index - self.source.nearest_start(index)

    def _keep(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._kept[index] = image
        while len(self._kept) > self._room(image.nbytes):
            self._kept.popitem(last=False)
        return image

    def _room(self, frame_bytes: int) -> int:
        return max(4, min(_KEPT_FRAMES, self._kept_bytes // frame_bytes))


def jpeg_of(rgb: NDArray[np.uint8]) -> bytes:
    """A frame as a JPEG at full size and full colour resolution."""
    return jpeg_bytes(rgb, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


def thumbnail_of(rgb: NDArray[np.uint8]) -> bytes:
    """A frame as a small JPEG for the timeline."""
    return jpeg_bytes(scaled(rgb, _THUMB_HEIGHT / rgb.shape[0]), 80)
