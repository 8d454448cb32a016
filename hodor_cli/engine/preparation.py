"""The part of a step that needs no result of the step before, and can be computed beside that."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import torch

from hodor_cli.engine.matching_memory import Carried, StoredFrame
from hodor_cli.engine.state import Followed
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Maps
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import Geometry, Scalable, prepare_frame
from hodor_cli.runtime.second_thread import SecondThread


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
