"""The network of a segmenter. A second thread may prepare the next frame while a step is computed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import COLOUR_CHANNELS
from hodor_cli.engine.decoded import require_numbers
from hodor_cli.engine.fitting import fitted_to_frame
from hodor_cli.engine.matched_ahead import NOTHING_AHEAD, Carried, KnownAffinity, MatchedAhead
from hodor_cli.engine.palette import palettes_of
from hodor_cli.engine.planned import PlannedStep
from hodor_cli.engine.state import Followed
from hodor_cli.engine.stored_frame import rounded
from hodor_cli.model.background import reference_masks, to_stride8
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Descriptors, Maps
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import Geometry, Scalable, prepare_frame, prepare_masks
from hodor_cli.runtime.second_thread import SecondThread


class Expected(NamedTuple):
    """An upcoming frame, and what the second thread prepares for it."""

    frame: np.ndarray | Scalable
    geometry: Geometry
    maps: Future[Maps]
    ahead: Future[MatchedAhead]


class Encoded(NamedTuple):
    """Given masks at stride 8, (1, I, h, w), and their descriptors; where these are used alone, also their palettes and
    those of the background."""

    masks: Tensor
    descriptors: Descriptors
    palettes: tuple[Tensor, Tensor] | None


class Network:
    """A network on its device, in its precision, and what it computes from single frames.

    second: a thread that prepares the next frame and makes the label map during a step, between `start_second` and
    `stop_second`.
    maps_are_read: other code reads the backbone's maps of every frame, so no frame is extracted ahead of its step.
    whole_frames: other code reads the decoder's logits, so all of each frame is decoded, not only where objects can be.
    """

    def __init__(self, model: Hodor, device: torch.device, dtype: torch.dtype, *, matching: bool) -> None:
        self.model, self.device, self.dtype, self.matching = model, device, dtype, matching
        #: Whether descriptors of given masks are fitted to their frame. Models that match gain nothing from it.
        self.fits = model.config.fitted_steps > 0 and not (matching and model.matcher is not None)
        self.second: SecondThread | None = None
        self.maps_are_read = self.whole_frames = False
        self._expected: list[Expected] = []

    def start_second(self) -> None:
        """Start the second thread."""
        self.second = SecondThread()

    def stop_second(self) -> None:
        """Stop the second thread, and forget what it has prepared."""
        if self.second is not None:
            self.second.close()
        self.second, self._expected = None, []

    def expect(self, frame: np.ndarray | Scalable, geometry: Geometry, known: Followed) -> None:
        """Start to extract and match a frame in the second thread, while the next step works on the frame before it.

        Does nothing without that thread, or while no object is followed.
        """
        if self.second is None or self.maps_are_read or not known.ids:
            return
        maps = self.second.start(self.extract, frame, geometry)
        before = self._expected[-1].ahead if self._expected else None
        ahead = self.second.start(self._match, maps, before, known.copy())
        self._expected = [*self._expected[-1:], Expected(frame, geometry, maps, ahead)]

    def prepared(self, frame: np.ndarray | Scalable, geometry: Geometry) -> tuple[Maps, MatchedAhead]:
        """The maps of a frame and, if it was expected, what it was already matched with."""
        for expected in self._expected:
            if expected.frame is frame and expected.geometry == geometry:
                self._expected = [other for other in self._expected if other is not expected]
                return expected.maps.result(), expected.ahead.result()
        return self.extract(frame, geometry), NOTHING_AHEAD

    @torch.inference_mode()
    def extract(self, frame: np.ndarray | Scalable, geometry: Geometry) -> Maps:
        """The maps of a frame."""
        config = self.model.config
        with autocast(self.device, self.dtype):
            return self.model.extract(prepare_frame(frame, geometry, config.pixel_mean, config.pixel_std, self.device))

    @torch.inference_mode()
    def _match(self, maps: Future[Maps], before: Future[MatchedAhead] | None, known: Followed) -> MatchedAhead:
        """Match a frame in advance; its step uses what is from frames that are still stored by then.

        before: the same of the frame before it, if that is known. known: what was known before that frame's step.
        """
        matcher, keys = self.model.matcher, maps.result().keys
        if matcher is None or keys is None or not self.matching:
            return NOTHING_AHEAD
        with autocast(self.device, self.dtype):
            carried = Carried.all_of(matcher, keys, known.memory.lasting, known.ids)
            own, earlier = rounded(keys[0]), None if before is None else before.result().rounded
            if earlier is None or earlier[0].shape != own[0].shape:
                return MatchedAhead(carried, None, own)
            region = None if self.whole_frames else known.region_ahead(matcher)
            return MatchedAhead(carried, KnownAffinity.of(matcher, keys, earlier, region), own)

    def visible(self, given: Mapping[int, np.ndarray], geometry: Geometry) -> dict[int, Tensor]:
        """Those of the masks that are large enough to be encoded, as the network sees them: (padded H, padded W)."""
        prepared = prepare_masks(np.stack(list(given.values())), geometry, self.device)
        visible = (to_stride8(prepared)[0] > 0.5).flatten(1).any(dim=1).tolist()
        return {key: mask for key, mask, seen in zip(given, prepared[0], visible, strict=True) if seen}

    def encode(self, maps: Maps, full: Mapping[int, Tensor], frame: int, planned: PlannedStep | None = None) -> Encoded:
        """Encode given masks, of which a planned step may have the fitted descriptors already."""
        masks = torch.stack(list(full.values()))
        objects, background = reference_masks(masks[None])
        descriptors = self.model.encode(maps, objects, background)
        require_numbers(descriptors.objects, frame, self.dtype)
        palettes = None
        if self.fits:
            known = None if planned is None else planned.fitted(list(full))
            descriptors = known or fitted_to_frame(self.model, maps, descriptors, masks)
            if (codes := self.colours(maps)) is not None:
                palettes = palettes_of(codes, objects[0]), palettes_of(codes, background[0])
        return Encoded(objects, descriptors, palettes)

    def colours(self, maps: Maps) -> Tensor | None:
        """The colour codes (6, h, w) of a frame; None for a model without them."""
        matcher = self.model.matcher
        return maps.keys[0, -COLOUR_CHANNELS:] if matcher and matcher.colours and maps.keys is not None else None
