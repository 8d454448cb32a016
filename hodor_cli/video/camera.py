"""A camera as a stream of frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cv2

from hodor_cli.errors import InputError
from hodor_cli.images.paths import plural
from hodor_cli.video.frames import Frame, FrameSource, ReadSettings

_DEFAULT_FPS = 30.0


class CameraSource(FrameSource):
    """A camera by its index, through OpenCV. Endless without `end`; can be read only once.

    A frame's time is when OpenCV returned it, in seconds since the first frame.
    """

    kind = "camera"
    reiterable = False

    def __init__(self, index: int, settings: ReadSettings) -> None:
        super().__init__(f"camera {index}", f"camera{index}", settings)
        self._capture: Any = None
        if 0 <= index < 100:  # OpenCV interprets an index of 100 or more as the number of a driver
            self._capture = _open_capture(index)
        opened, first = self._capture.read() if self._capture and self._capture.isOpened() else (False, None)
        if not opened or first is None:
            self.close()
            raise InputError(f"there is no camera {index}, or it is in use; check its plug (for a file, give its path)")
        self.height, self.width = first.shape[:2]
        self._first: Any = first
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))  # many drivers return 0
        self.fps = fps if 0 < fps <= 1000 else _DEFAULT_FPS
        self.length = None if self.end is None else self.end - self.start

    def __iter__(self) -> Iterator[Frame]:
        if self._first is None:
            raise InputError(f"{self.label} can be read only once")
        picture, self._first = self._first, None
        begin = time.monotonic()
        index = 0
        while True:
            if index >= self.start:
                image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                yield Frame(index, f"{index:05d}", image, time.monotonic() - begin)
            index += 1
            if index == self.end:
                break
            got, picture = self._capture.read()
            if not got:
                self.warn(f"{self.label} stopped delivering pictures after {plural(index, 'frame')}")
                break
        self.length, self.exact_length = max(index - self.start, 0), True

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()


def _open_capture(index: int) -> Any:
    """Open cv2.VideoCapture without OpenCV's messages on stderr about a missing camera."""
    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # since OpenCV 5
    before = logging.getLogLevel()
    logging.setLogLevel(0)  # silent
    try:
        return cv2.VideoCapture(index)
    finally:
        logging.setLogLevel(before)
