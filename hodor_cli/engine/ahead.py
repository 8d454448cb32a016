"""Looking ahead: the part of a step that needs no earlier results is computed during the step before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np
import torch

from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.runtime.preprocess import Scalable

Item = TypeVar("Item")


class LookAhead(Generic[Item]):
    """Iterates over frames, and announces each one to the segmenter before the step on the frame before it.

        with LookAhead(source, segmenter, lambda frame: frame.picture) as frames:
            for frame in frames:
                labels = segmenter.step(frame.picture)

    Within the block the segmenter computes in two threads. If PyTorch has only one thread, or the device is a GPU,
    frames are only passed on. Results differ at most in the last bits of floats. An error in reading a frame is raised
    after the frame before it has been handed out.
    """

    def __init__(
        self, frames: Iterable[Item], segmenter: object, picture: Callable[[Item], np.ndarray | Scalable]
    ) -> None:
        """segmenter: ignored unless it is a `Segmenter`. picture: returns the image of an item, as `step` takes it."""
        self._frames, self._picture = frames, picture
        self._segmenter: Segmenter | None = None
        if isinstance(segmenter, Segmenter) and segmenter.device.type == "cpu" and torch.get_num_threads() > 1:
            self._segmenter = segmenter

    @property
    def threads(self) -> int:
        """The number of threads that compute."""
        return 1 if self._segmenter is None else 2

    def __iter__(self) -> Iterator[Item]:
        if self._segmenter is None:
            yield from self._frames
            return
        error: Exception | None = None
        frames = iter(self._frames)
        here = next(frames, None)
        while here is not None:
            following = None
            try:
                following = next(frames, None)
            except Exception as failed:
                error = failed
            if following is not None:
                self._segmenter.expect(self._picture(following))
            yield here
            here = following
        if error is not None:
            raise error

    def __enter__(self) -> LookAhead[Item]:
        if self._segmenter is not None:
            self._segmenter.network.start_second()
        return self

    def __exit__(self, *error: object) -> None:
        if self._segmenter is not None:
            self._segmenter.network.stop_second()
