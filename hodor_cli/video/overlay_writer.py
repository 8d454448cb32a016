"""The overlay video of a segmented clip, frame by frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hodor_cli.video.h264 import VideoWriter
from hodor_cli.video.overlay import DEFAULT_OPACITY, draw_overlay


class OverlayWriter:
    """Draws label maps over frames and writes them as an H.264 MP4 at `fps` frames per second.

        with OverlayWriter("overlay.mp4", fps=source.fps, pixel_aspect=source.pixel_aspect) as overlay:
            for frame in source:
                overlay.write(frame.image, segmenter.step(frame.image))

    The file appears when the writer is closed; after an error in the `with` block none is left.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float,
        *,
        pixel_aspect: Fraction = Fraction(1),
        opacity: float = DEFAULT_OPACITY,
        ids: bool = False,
    ) -> None:
        self._video = VideoWriter(path, fps, pixel_aspect)
        self._opacity = opacity
        self._ids = ids

    def write(self, image: NDArray[np.uint8], labels: NDArray[np.uint16]) -> None:
        """Append one (H, W, 3) RGB uint8 frame with its (H, W) label map drawn over it."""
        self._video.write(draw_overlay(image, labels, opacity=self._opacity, ids=self._ids))

    def close(self) -> None:
        """Finish the video and put it in its place."""
        self._video.close()

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._video.__exit__(kind, error, trace)
