"""What a step does with one frame: encode the given masks, decode the history, make the result and history entry."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import SupportsFloat

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.absence import without_absent
from hodor_cli.engine.decoded import Decoded, Measures, hold_lost, masks_to_encode, require_numbers
from hodor_cli.engine.evidence import GivenLook, agreements, changes
from hodor_cli.engine.history import HistoryEntry
from hodor_cli.engine.labels import label_map
from hodor_cli.engine.matched_ahead import MatchedAhead
from hodor_cli.engine.motion import limited
from hodor_cli.engine.network import Network
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.palette import colour_bias
from hodor_cli.engine.planned import PlannedStep
from hodor_cli.engine.region import WholeFrame, holds_all, in_whole_frame
from hodor_cli.engine.state import Followed
from hodor_cli.engine.step_result import StepResult
from hodor_cli.engine.strays import without_strays
from hodor_cli.errors import InputError
from hodor_cli.model.background import predicted_masks
from hodor_cli.model.decoder import ABSENT
from hodor_cli.model.region import Norms, Region
from hodor_cli.model.types import Cue, Maps
from hodor_cli.runtime.preprocess import Geometry


@dataclass
class FrameStep:
    """A step: `result` updates what is known about the objects, and returns the frame's result.

    index, time (in seconds), geometry, maps: of the frame. ahead: what it was matched with in advance. given: the
    masks given in it, by object id. warnings: the list to which the step adds its own.
    """

    network: Network
    known: Followed
    planned: PlannedStep | None
    index: int
    time: float | None
    geometry: Geometry
    maps: Maps
    ahead: MatchedAhead
    given: dict[int, np.ndarray]
    warnings: list[str]

    def __post_init__(self) -> None:
        if self.time is not None and not (isinstance(self.time, SupportsFloat) and math.isfinite(self.time)):
            raise InputError(
                f"the time of frame {self.index} is {self.time!r}; give seconds, or None for ordinary video"
            )

    def result(self) -> StepResult:
        known = self.known
        known.ring.advance(self.index)
        followed = known.ids
        # 1. As in the paper, objects that start here join the history and so take part in decoding this frame.
        early = self.given.keys() - set(followed) if followed and self.planned is None else set()
        reference = self._encode_given(early, join=True)
        # 2. Decode the history. Corrections join it only later, so that they leave the other objects unchanged.
        decoded = self._decode(followed) if followed else None
        reference |= self._encode_given(self.given.keys() - early, join=not followed)
        if decoded is not None:
            if self.planned is not None:
                decoded = replace(decoded, logits=self.planned.final_logits(decoded.object_ids, decoded.logits))
            # 3. Put the reference masks in, and encode the result as this frame's history entry.
            labels, found = self._finish(decoded, reference)
        else:
            labels, found = np.zeros(self.geometry.original, dtype=np.uint16), Measures()
        found.too_small = self.given.keys() - reference
        for object_id, mask in self.given.items():
            labels[labels == object_id] = 0
            labels[mask] = object_id
            found.confidence[object_id] = 1.0
        # `given` also has objects too small to be encoded.
        return StepResult(labels=labels, objects=found.results(labels, known.ids.adding(self.given)))

    def _encode_given(self, ids: Collection[int], *, join: bool) -> dict[int, Tensor]:
        """Encode given masks, and warn about those that are too small. Returns the others, {id: (padded H, padded W)}.

        join: add them to the history now; otherwise only `_finish` does, with all objects of the frame. Fitted
        descriptors are always added, as a lasting entry.
        """
        network, known = self.network, self.known
        given = {object_id: mask for object_id, mask in self.given.items() if object_id in ids}
        if not given:
            return {}
        scaled, full = self.geometry.scaled, network.visible(given, self.geometry)
        for object_id in (key for key in given if key not in full):
            self.warnings.append(
                f"a mask of object {object_id} is too small to be encoded at {scaled[1]}x{scaled[0]};"
                " raise `min_dim` or leave it out"
            )
        if not full:
            return {}
        ids, existed = list(full), bool(known.ids)
        for object_id in ids:
            if object_id in known.ids:  # a correction makes earlier results for the object invalid
                known.forget(object_id)
        known.ids = known.ids.adding(ids)
        masks, descriptors, palettes = network.encode(self.maps, full, self.index, self.planned)
        shown, scene = descriptors.objects[0].float().cpu(), descriptors.background[0].float().cpu()
        known.looks = known.looks | {object_id: GivenLook.of(shown[row], scene) for row, object_id in enumerate(ids)}
        if join or network.fits:
            entry = HistoryEntry.of(
                self.index, ids, descriptors, background=not existed, lasting=network.fits, palettes=palettes
            )
            known.ring.put(entry)
        if not existed and network.matching:
            known.memory.remember(self.maps, ids, masks[0], reference=tuple(ids))
            known.motion.observe(ids, masks[0], self.time)
        return full

    def _decode(self, followed: ObjectIds) -> Decoded:
        """Decode all objects in the history: those followed so far, and those that start here and have joined it."""
        known = self.known
        matcher = self.network.model.matcher if self.network.matching else None
        if matcher is None or known.memory.previous is None:
            return Decoded(known.ids, self._with_colours(self._logits(None)[0]), None, {}, followed)
        before = known.memory.previous.masks_of(known.ids)[0]
        radii = known.motion.radii(known.ids, matcher.spread, self.time)
        whole = None if self.network.whole_frames else known.whole
        region = None if whole is None else whole.region(known.ids, before, radii)
        logits, cue = self._logits(region)
        if region is not None and holds_all(logits, region):
            logits = in_whole_frame(logits, region)
        elif region is not None:
            logits, cue = self._logits(None)
        height, width = self.geometry.scaled
        size = -(-height // 4), -(-width // 4)
        assert cue is not None  # there is a previous frame to match with
        logits, shares = limited(logits, before, radii, known.motion.largest(known.ids), size, cue.matched)
        given = [known.memory.has_given(object_id) for object_id in known.ids]
        logits = without_strays(without_absent(logits, cue, given), cue, given)
        return Decoded(known.ids, logits, cue, dict(zip(known.ids, shares, strict=True)), followed)

    def _with_colours(self, logits: Tensor) -> Tensor:
        """Logits (1, 10 + I, 2h, 2w) of descriptors alone, to which the palettes of objects are added."""
        palettes, codes = self.known.ring.palettes(self.known.ids), self.network.colours(self.maps)
        if palettes is None or codes is None:
            return logits
        bias = F.interpolate(colour_bias(codes, *palettes)[None], scale_factor=2, mode="bilinear", align_corners=False)
        return logits + F.pad(bias, (0, 0, 0, 0, NUM_NON_OBJECT, 0))

    def _logits(self, region: Region | None) -> tuple[Tensor, Cue | None]:
        """The logits of a region, or of the whole frame if None, and the cue they were decoded with.

        A region is normalised with the statistics of the last whole frame.
        """
        known, maps, model, cue = self.known, self.maps, self.network.model, None
        if self.network.matching:
            cue = known.memory.cue(model, maps, known.ids, self.ahead, region)
        whole = None if region is None else known.whole
        norms = None if cue is None else Norms(None if whole is None else whole.norms)
        logits = model.decode(maps, known.ring.stacked(known.ids), cue, region, norms)
        require_numbers(logits, self.index, self.network.dtype)
        if whole is not None:
            known.whole = replace(whole, age=whole.age + 1)
        elif norms is not None:
            known.whole = WholeFrame(known.ids, norms.statistics)
        return logits, cue

    def _finish(self, decoded: Decoded, reference: dict[int, Tensor]) -> tuple[np.ndarray, Measures]:
        """Make the frame's label map and measures, and add the frame to the history and the matching memory."""
        known, model, second = self.known, self.network.model, self.network.second
        # Objects that start here and were not decoded have no channel yet; their reference masks will fill it.
        started = len(known.ids) - len(decoded.object_ids)
        logits = F.pad(decoded.logits, (0, 0, 0, 0, 0, started), value=ABSENT)
        found = Measures(cut_off=dict(decoded.cut_off))
        in_second = None if second is None else second.start(self._labels, decoded)
        masks = masks_to_encode(logits, reference, known.ids, self.geometry)
        objects, background = predicted_masks(masks)
        entry = HistoryEntry.of(self.index, known.ids, model.encode(self.maps, objects, background))
        if model.config.hold_lost_objects:
            entry = hold_lost(entry, masks[0], known.ring, model)
        if decoded.cue is not None:
            measures = agreements(decoded.cue.of_given[0], masks[0, : len(decoded.object_ids)])
            found.agreement = dict(zip(decoded.object_ids, measures, strict=True))
        found.change = changes(known.looks, known.ids, entry.objects, entry.background)
        for object_id in self.given:  # these measures are for masks found by the network, not for given ones
            for measure in (found.cut_off, found.agreement, found.change):
                measure.pop(object_id, None)
        known.ring.put(entry)
        if self.network.matching:
            known.memory.remember(
                self.maps, known.ids, masks[0], reference=tuple(reference), rounded=self.ahead.rounded
            )
            known.motion.observe(known.ids, masks[0], self.time)
        labels, found.confidence = in_second.result() if in_second else self._labels(decoded)
        return labels, found

    @torch.inference_mode()
    def _labels(self, decoded: Decoded) -> tuple[np.ndarray, dict[int, float]]:
        """The label map of the objects of earlier frames at the frame's own size, and the mean probability inside each
        mask. Nothing in the step depends on it, so any thread may run it."""
        if self.planned is not None and not self.planned.shows:
            return np.zeros(self.geometry.original, dtype=np.uint16), {}
        logits = decoded.logits[:, : NUM_NON_OBJECT + len(decoded.followed)]
        return label_map(logits, self.geometry, list(decoded.followed))
