"""What a step does with one frame: encode the given masks, decode the history, make the result and history entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hodor_cli.engine.absence import without_absent
from hodor_cli.engine.decoded import Decoded, Measures, StepInput, hold_lost, masks_to_encode, require_numbers
from hodor_cli.engine.evidence import GivenLook, agreements, changes
from hodor_cli.engine.extraction import Extraction
from hodor_cli.engine.fitting import fits, fitted_to_frame
from hodor_cli.engine.history import HistoryEntry
from hodor_cli.engine.labels import label_map_of_logits
from hodor_cli.engine.motion import limited
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.region import WholeFrame, holds_all, in_whole_frame
from hodor_cli.engine.step_result import StepResult
from hodor_cli.model.background import predicted_masks, reference_masks, to_stride8
from hodor_cli.model.region import Norms, Region
from hodor_cli.model.types import Cue, Descriptors, Maps
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import Geometry, prepare_masks

#: Logit of an object at a pixel where it cannot be.
_NOWHERE = -1e4


class FrameSteps(Extraction):
    """The part of a `Segmenter` that runs the network; what is known about the objects is in `_known`.

    whole_frames: other code reads the decoder's logits, so all of each frame is decoded, not only where objects can be.
    """

    whole_frames = False

    def _follow(self, step: StepInput) -> StepResult:
        known = self._known
        known.ring.advance(step.index)
        followed = known.ids
        # 1. As in the paper, objects that start here join the history and so take part in decoding this frame.
        early = step.given.keys() - set(followed) if followed and self._starts_are_decoded else set()
        reference = self._encode_given(step, early, join=True)
        # 2. Decode the history. Corrections join it only later, so that they leave the other objects unchanged.
        decoded = self._decode(step, followed) if followed else None
        reference |= self._encode_given(step, step.given.keys() - early, join=not followed)
        if decoded is not None:
            # 3. Put the reference masks in, and encode the result as this frame's history entry.
            labels, found = self._finish(step, decoded, reference)
        else:
            labels, found = np.zeros(step.geometry.original, dtype=np.uint16), Measures()
        for object_id, mask in step.given.items():
            labels[labels == object_id] = 0
            labels[mask] = object_id
            found.confidence[object_id] = 1.0
        # `given` also has objects too small to be encoded.
        ids = known.ids.adding(step.given)
        return StepResult(labels=labels, objects=found.results(labels, ids))

    @property
    def _starts_are_decoded(self) -> bool:
        """Whether objects take part in decoding the frame in which they start; subclasses may override this."""
        return True

    def _encode_given(self, step: StepInput, ids: Collection[int], *, join: bool) -> dict[int, Tensor]:
        """Encode given masks, and warn about those that are too small. Returns the others, {id: (padded H, padded W)}.

        join: add them to the history now; otherwise only `_finish` does, with all objects of the frame. Fitted
        descriptors are always added, as a lasting entry.
        """
        given = {object_id: mask for object_id, mask in step.given.items() if object_id in ids}
        if not given:
            return {}
        known, scaled = self._known, step.geometry.scaled
        full = self._visible(given, step.geometry)
        for object_id in (key for key in given if key not in full):
            step.warnings.append(
                f"object {object_id} in frame {step.index} is too small to be encoded at {scaled[1]}x{scaled[0]};"
                " raise `min_dim` or leave it out"
            )
        if not full:
            return {}
        ids, existed = list(full), bool(known.ids)
        for object_id in ids:
            if object_id in known.ids:  # a correction makes earlier results for the object invalid
                known.forget(object_id)
        known.ids = known.ids.adding(ids)
        objects, descriptors = self._encoded(step.maps, full, step.index)
        shown, scene = descriptors.objects[0].float().cpu(), descriptors.background[0].float().cpu()
        known.looks = known.looks | {object_id: GivenLook.of(shown[row], scene) for row, object_id in enumerate(ids)}
        lasting = fits(self.model, self.matching)
        if join or lasting:
            known.ring.put(HistoryEntry.of(step.index, ids, descriptors, background=not existed, lasting=lasting))
        if not existed and self.matching:
            known.memory.remember(step.maps, ids, objects[0], reference=tuple(ids))
            known.motion.observe(ids, objects[0], step.time)
        return full

    def _visible(self, given: Mapping[int, np.ndarray], geometry: Geometry) -> dict[int, Tensor]:
        """Those of the masks that are large enough to be encoded, as the network sees them: (padded H, padded W)."""
        prepared = prepare_masks(np.stack(list(given.values())), geometry, self.device)
        visible = (to_stride8(prepared)[0] > 0.5).flatten(1).any(dim=1).tolist()
        return {key: mask for key, mask, seen in zip(given, prepared[0], visible, strict=True) if seen}

    def _encoded(self, maps: Maps, full: Mapping[int, Tensor], frame: int) -> tuple[Tensor, Descriptors]:
        """Given masks at stride 8, (1, I, h, w), and their descriptors."""
        masks = torch.stack(list(full.values()))
        objects, background = reference_masks(masks[None])
        descriptors = self.model.encode(maps, objects, background)
        require_numbers(descriptors.objects, frame, self.dtype)
        if fits(self.model, self.matching):
            descriptors = self._fitted(maps, descriptors, list(full), masks)
        return objects, descriptors

    def _fitted(self, maps: Maps, made: Descriptors, ids: list[int], masks: Tensor) -> Descriptors:
        """Descriptors fitted to the objects' masks (I, H, W)."""
        return fitted_to_frame(self.model, maps, made, masks)

    def _decode(self, step: StepInput, followed: ObjectIds) -> Decoded:
        """Decode all objects in the history: those followed so far, and those that start here and have joined it."""
        known, matcher = self._known, self.model.matcher if self.matching else None
        if matcher is None or known.memory.previous is None:
            logits, cue = self._logits(step, None)
            return Decoded(known.ids, self._final_logits(logits), cue, {}, followed)
        before = known.memory.previous.keyed_masks(known.ids).masks[0]
        radii = known.motion.radii(known.ids, matcher.spread, step.time)
        whole = None if self.whole_frames else known.whole
        region = None if whole is None else whole.region(known.ids, before, radii)
        logits, cue = self._logits(step, region)
        if region is not None and holds_all(logits, region):
            logits = in_whole_frame(logits, region)
        elif region is not None:
            logits, cue = self._logits(step, None)
        height, width = step.geometry.scaled
        size = -(-height // 4), -(-width // 4)
        assert cue is not None  # there is a previous frame to match with
        logits, shares = limited(logits, before, radii, known.motion.largest(known.ids), size, cue.matched)
        logits = without_absent(logits, cue, [known.memory.has_given(object_id) for object_id in known.ids])
        return Decoded(known.ids, self._final_logits(logits), cue, dict(zip(known.ids, shares, strict=True)), followed)

    def _logits(self, step: StepInput, region: Region | None) -> tuple[Tensor, Cue | None]:
        """The logits of a region, or of the whole frame if None, and the cue they were decoded with.

        A region is normalised with the statistics of the last whole frame.
        """
        known, maps = self._known, step.maps
        cue = known.memory.cue(self.model, maps, known.ids, step.carried, region) if self.matching else None
        whole = None if region is None else known.whole
        norms = None if cue is None else Norms(None if whole is None else whole.norms)
        logits = self.model.decode(maps, known.ring.stacked(known.ids), cue, region, norms)
        require_numbers(logits, step.index, self.dtype)
        if whole is not None:
            known.whole = replace(whole, age=whole.age + 1)
        elif norms is not None:
            known.whole = WholeFrame(known.ids, norms.statistics)
        return logits, cue

    def _finish(self, step: StepInput, decoded: Decoded, reference: dict[int, Tensor]) -> tuple[np.ndarray, Measures]:
        """Make the frame's label map and measures, and add the frame to the history and the matching memory."""
        known, maps = self._known, step.maps
        # Objects that start here and were not decoded have no channel yet; their reference masks will fill it.
        started = len(known.ids) - len(decoded.object_ids)
        logits = torch.nn.functional.pad(decoded.logits, (0, 0, 0, 0, 0, started), value=_NOWHERE)
        found = Measures(cut_off=dict(decoded.cut_off))
        in_second = None if self.second is None else self.second.start(self._labels, decoded, step.geometry)
        masks = masks_to_encode(logits, reference, known.ids, step.geometry)
        objects, background = predicted_masks(masks)
        entry = HistoryEntry.of(step.index, known.ids, self.model.encode(maps, objects, background))
        if self.model.config.hold_lost_objects:
            entry = hold_lost(entry, masks[0], known.ring, self.model)
        if decoded.cue is not None:
            measures = agreements(decoded.cue.of_given[0], masks[0, : len(decoded.object_ids)])
            found.agreement = dict(zip(decoded.object_ids, measures, strict=True))
        found.change = changes(known.looks, known.ids, entry.objects, entry.background)
        for object_id in step.given:  # these measures are for masks found by the network, not for given ones
            for measure in (found.cut_off, found.agreement, found.change):
                measure.pop(object_id, None)
        known.ring.put(entry)
        if self.matching:
            known.memory.remember(maps, known.ids, masks[0], reference=tuple(reference))
            known.motion.observe(known.ids, masks[0], step.time)
        labels, found.confidence = in_second.result() if in_second else self._labels(decoded, step.geometry)
        return labels, found

    def _final_logits(self, logits: Tensor) -> Tensor:
        """The logits from which a frame's masks and its history entry are made; subclasses may override this."""
        return logits

    @torch.inference_mode()
    def _labels(self, decoded: Decoded, geometry: Geometry) -> tuple[np.ndarray, dict[int, float]]:
        """The label map of the objects of earlier frames at the frame's own size, and the mean probability inside each
        mask. Nothing in the step depends on it, so any thread may run it."""
        followed = decoded.of_followed()
        with autocast(self.device, self.dtype):
            return label_map_of_logits(followed.logits, geometry, list(followed.object_ids))
