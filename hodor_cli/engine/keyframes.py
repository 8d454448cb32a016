"""Segments a video forward and backward from masks that are all known beforehand.

All given masks are encoded first. A frame between two masks of an object is decoded with the descriptors of both, and
its matching cue uses both, weighted by how near they are. Each frame is decoded twice, in a pass forward from the
earlier mask and in a pass backward from the later one, and the two results are joined per pixel. Only an object's
nearest masks before and after a frame influence that frame. So an additional mask changes only the frames between its
neighbours, and memory grows with the number of masks (2 MB for each at 480 lines) but not with the video.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from hodor_cli.engine.history import HistoryEntry, HistoryRing
from hodor_cli.engine.masks import Masks, reference_masks_by_id
from hodor_cli.engine.plan import Plan
from hodor_cli.engine.planned import PlannedStep
from hodor_cli.engine.references import References
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.engine.soft_maps import PackedMaps, SoftMap
from hodor_cli.engine.state import Followed
from hodor_cli.engine.step_result import FrameDescriptors
from hodor_cli.engine.stored_frame import stored_frame
from hodor_cli.errors import InputError
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import Geometry, Scalable


class OfflineSegmenter(Segmenter):
    """A segmenter that knows all masks beforehand. Until `plan` is called, it is a plain `Segmenter`.

    Then call `encode` with each masked frame, in any order. `backward` returns the segmenters for the passes backward,
    which store their results in `maps`. The steps forward join these with their own results.
    `hodor_cli.engine.follow` does all of this.
    """

    def reset(self) -> None:
        """Forget all objects, frames, masks and the plan."""
        super().reset()
        self._plan: Plan | None = None
        self._goes_back = False  # whether the plan has a pass backward
        self._references = References(self.model.matcher)
        self._maps: PackedMaps = {}
        self._first, self._direction, self._shown = 0, 1, True
        self._warnings: list[str] = []  # from encoding; the first step forward reports them

    def plan(self, plan: Plan, *, first: int = 0, maps: PackedMaps | None = None) -> None:
        """Reset, and follow a plan from frame `first` on. maps: for the results of the passes backward."""
        self.reset()
        self._plan, self._first, self._maps = plan, first, {} if maps is None else maps
        self._goes_back = next(plan.stretches(first, max(plan.marked, default=first)), None) is not None

    def choose_resolution(self, masks: Iterable[np.ndarray]) -> None:
        """Choose the working resolution as if these masks (H, W) bool were the first."""
        self._resolution = self._resolution.for_masks(masks)

    @property
    def position(self) -> int:
        """The frame of the next step."""
        return self._first + self._direction * self._next_frame

    def go_to(self, frame: int) -> None:
        """Continue at this frame without the history of others."""
        self._next_frame = self._direction * (frame - self._first)
        self._known = Followed(HistoryRing(self.history))

    @torch.inference_mode()
    def encode(self, frame: int, image: np.ndarray | Scalable, masks: Masks) -> None:
        """Encode a masked frame as a reference for other frames. Objects too small to be encoded are left out.

        frame: its index. image: as `step` takes it. masks: label map (H, W) of object ids, or {id: (H, W) bool}. Raises
        InputError for the same mistakes as `step`.
        """
        assert self._plan is not None
        geometry = self._geometry_of(image)
        given = reference_masks_by_id(masks, size=geometry.original, frame=frame)
        geometry = self._choose_resolution(geometry, given, self._warnings)
        full = self.network.visible(given, geometry)
        if not full:
            return
        with autocast(self.device, self.dtype):
            maps = self.network.extract(image, geometry)
            encoded = self.network.encode(maps, full, frame)
        # If an object of the plan has no mask here, the unmarked pixels are not all background.
        whole = full.keys() >= {*self._plan.forward(frame), *self._plan.backward(frame)}
        entry = HistoryEntry.of(-1, list(full), encoded.descriptors, background=whole, palettes=encoded.palettes)
        stored = stored_frame(maps, list(full), encoded.masks[0]) if self.matching else None
        self._references.put(frame, entry, stored, geometry)

    def backward(self, top: int, *, shown: bool = False) -> OfflineSegmenter:
        """A segmenter for the frames top, top - 1, ..., whose steps store soft maps for this one.

        Pass its steps negative times, `-time`. shown: whether its steps also make label maps, which takes longer.
        """
        other = copy.copy(self)
        Segmenter.reset(other)
        other._resolution = self._resolution
        other._first, other._direction, other._shown = top, -1, shown
        return other

    def step(
        self, frame: np.ndarray | Scalable, masks: Masks | None = None, *, time: float | None = None
    ) -> np.ndarray:
        """Segment the next frame in this direction; see `Segmenter.step`. masks: the ones planned for this frame."""
        if self._plan is None:
            return super().step(frame, masks, time=time)
        at = self.position
        followed = self._plan.forward(at) if self._direction > 0 else self._plan.backward(at)
        for object_id in set(self.object_ids).difference(followed):
            self.remove(object_id)
        if self._plan.marked.get(at, frozenset()).issuperset(self.object_ids):
            # All masks are given, so start over without earlier results.
            self._known = Followed(HistoryRing(self.history))
        self._read_references(at)
        later = self._found_later(at, time)
        # The label map of a step forward is not used if both results are joined in one.
        shows = self._shown if self._direction < 0 else later is None
        self._planned = planned = PlannedStep(at, self._plan, self._references, self._direction < 0, shows, later)
        super().step(frame, masks, time=time)
        if self._direction < 0:
            planned.store(self._maps, self.last, super().descriptors(), time)
        elif later is not None:
            geometry = self._geometry_of(frame)
            if self.network.maps_are_read and masks is None and not self.object_ids:
                self.network.extract(frame, geometry)
            self.last = planned.joined(later, self.last, geometry, has_given=masks is not None)
        if self._direction > 0 and self._next_frame == 1:
            self.last = replace(self.last, warnings=[*self._warnings, *self.last.warnings])
        return self.last.labels

    def descriptors(self) -> FrameDescriptors:
        """As `Segmenter.descriptors`; objects that only the pass backward follows have the descriptors it made."""
        found, later = super().descriptors(), None if self._planned is None else self._planned.later
        if later is None:
            return found
        background = later.descriptors.background if found.background is None else found.background
        return FrameDescriptors({**later.descriptors.objects, **found.objects}, background)

    def _change_resolution(self, geometry: Geometry) -> Geometry:
        # With a pass backward the resolution stays the same: both results are joined cell by cell.
        return geometry if self._goes_back else super()._change_resolution(geometry)

    def _read_references(self, at: int) -> None:
        """Set the references that a frame is decoded and matched with."""
        assert self._plan is not None
        rows: dict[int, dict[int, float]] = {}
        between: set[int] = set()
        for object_id in self._plan.object_ids:
            around = self._plan.references(object_id, at)
            if around.before == at:  # a mask is given here: the object came from the mask that this pass saw last
                around = self._plan.passed(object_id, at, self._direction)
            share = around.nearness(at)
            for key, weight in ((around.before, 1 - share), (around.after, share)):
                if key is not None and key in self._references:
                    rows.setdefault(key, {})[object_id] = weight
            if around.before is not None and around.after is not None:
                between.add(object_id)
        entries = (self._references.entry(key, between.intersection(ids)) for key, ids in sorted(rows.items()))
        self._known.ring.pinned = [entry for entry in entries if entry is not None]
        memory = self._known.memory
        memory.references, memory.weights = [], []
        for key, weights in sorted(rows.items()):
            stored = self._references.stored(key, set(weights), self._resolution)
            if stored is not None:
                memory.references.append(stored)
                memory.weights.append(weights)

    def _found_later(self, at: int, time: float | None) -> SoftMap | None:
        """The result of the pass backward for a frame, None if there is none. Raises InputError if the times differ."""
        if self._direction < 0 or at not in self._maps:
            return None
        later = SoftMap.unpack(self._maps[at], self.device)
        if time is not None and later.time is not None and abs(time + later.time) > 1e-6:
            raise InputError(
                f"frame {at} differs when the video is read backward; convert the video to a new file first"
            )
        return later
