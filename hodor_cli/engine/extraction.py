"""Extracting the maps of frames, in the second thread if there is one, while the step before them is computed."""

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
    """An upcoming frame, and what the second thread prepares for it: its maps, and the masks carried to it."""

    frame: np.ndarray | Scalable
    geometry: Geometry
    maps: Future[Maps]
    carried: Future[list[Carried]]


class Extraction:
    """The part of a `Segmenter` that extracts the maps of frames.

    second: a thread that works on the next frame during a step; `LookAhead` sets it.
    maps_are_read: other code reads the backbone's maps of every frame, so no frame is extracted ahead of its step.
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
        """Start extracting a frame's maps in the second thread, while the next step works on the frame before it.

        Does nothing without that thread, before the first step, or while no object is followed.
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
        """The maps of a frame and, if it was expected, the masks already carried to it."""
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
        """Masks carried to a frame from stored frames; its step uses those whose source is still stored by then."""
        if self.model.matcher is None:
            return []
        with autocast(self.device, self.dtype):
            return [Carried.of(self.model.matcher, maps.result(), source, ids) for source in stored]
