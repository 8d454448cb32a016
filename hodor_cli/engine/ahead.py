"""Looking ahead: the part of a step that needs no result of the step before is computed beside that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from hodor_cli.engine.matching_memory import Carried, StoredFrame
from hodor_cli.engine.state import Followed
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Maps
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import Geometry, Scalable, prepare_frame
from hodor_cli.runtime.second_thread import SecondThread

Item = TypeVar("Item")


class Expected(NamedTuple):
    """A frame to come, as the network will see it, and what the second thread prepares for it."""

    frame: np.ndarray | Scalable
    geometry: Geometry
    maps: Future[Maps]
    carried: Future[list[Carried]]


class Preparation:
    """The part of a `Segmenter` that extracts the maps of frames, in its own step or ahead of it.

    second: a thread that computes beside the steps; `LookAhead` sets it. maps_are_read: whether other code reads the
    backbone's maps of every frame, even if no object is followed; then no frame is extracted ahead.
    """

    model: Hodor
    device: torch.device
    dtype: torch.dtype
    matching: bool
    second: SecondThread | None
    maps_are_read: bool
    _known: Followed
    _geometry: Geometry | None
    _expected: list[Expected]

    def expect(self, frame: np.ndarray | Scalable) -> None:
        """Begin to extract the maps of a frame in the second thread; it is given to the step after the next one.

        Nothing happens without that thread, before the first step, and while no object is followed.
        """
        known, geometry = self._known, self._geometry
        if self.second is None or self.maps_are_read or not known.ids:
            return
        if geometry is None or geometry.original != frame.shape[:2]:
            return
        maps = self.second.start(self._extract, frame, geometry)
        stored = list(known.memory.lasting) if self.matching else []
        carried = self.second.start(self._carry, maps, stored, tuple(known.ids))
        self._expected = [*self._expected[-1:], Expected(frame, geometry, maps, carried)]

    def _prepared(self, frame: np.ndarray | Scalable, geometry: Geometry) -> tuple[Maps, list[Carried]]:
        """The maps of a frame, and the masks that were carried to it if it was expected."""
        for expected in self._expected:
            if expected.frame is frame and expected.geometry == geometry:
                self._expected = [other for other in self._expected if other is not expected]
                return expected.maps.result(), expected.carried.result()
        return self._extract(frame, geometry), []

    @torch.inference_mode()
    def _extract(self, frame: np.ndarray | Scalable, geometry: Geometry) -> Maps:
        config = self.model.config
        with autocast(self.device, self.dtype):
            return self.model.extract(prepare_frame(frame, geometry, config.pixel_mean, config.pixel_std, self.device))

    @torch.inference_mode()
    def _carry(self, maps: Future[Maps], stored: list[StoredFrame], ids: tuple[int, ...]) -> list[Carried]:
        """Masks carried to a frame from stored ones, for the case that these are still stored in its step."""
        if self.model.matcher is None:
            return []
        with autocast(self.device, self.dtype):
            return [Carried.of(self.model.matcher, maps.result(), source, ids) for source in stored]


class LookAhead(Generic[Item]):
    """Iterates over frames, and tells the segmenter of each one before it steps through the frame before.

        with LookAhead(source, segmenter, lambda frame: frame.picture) as frames:
            for frame in frames:
                labels = segmenter.step(frame.picture)

    Within the block the segmenter computes in two threads. Where PyTorch has one thread alone, and on a GPU, frames
    are handed on and nothing else happens. Results are the same but for the last bits of floats. An error of the
    frames is raised after the frame before it.
    """

    def __init__(
        self, frames: Iterable[Item], segmenter: object, picture: Callable[[Item], np.ndarray | Scalable]
    ) -> None:
        """segmenter: anything but a `Segmenter` is left alone. picture: what a step is given of an item."""
        self._frames, self._picture = frames, picture
        self._segmenter: Preparation | None = None
        if isinstance(segmenter, Preparation) and segmenter.device.type == "cpu" and torch.get_num_threads() > 1:
            self._segmenter = segmenter

    @property
    def threads(self) -> int:
        """How many threads compute."""
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
            self._segmenter.second = SecondThread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._segmenter is not None and self._segmenter.second is not None:
            self._segmenter.second.close()
            self._segmenter.second = None
