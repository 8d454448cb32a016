"""Segments a video forward and backward from masks that are all known beforehand.

All given masks are encoded first. A frame between two masks of an object is decoded with the descriptors of both, and
its matching cue reads both, weighted by how near they are. Each frame is decoded twice, in a pass forward from the
earlier mask and in a pass backward from the later one, and the two results are joined per pixel. Masks beyond an
object's neighbouring ones have no influence on a frame. So an additional mask changes only the frames between its
neighbours, and memory does not grow with the video; it grows by 2 MB per mask at 480 lines.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.decoded import Decoded, require_numbers
from hodor_cli.engine.history import HistoryEntry
from hodor_cli.engine.joining import join
from hodor_cli.engine.labels import areas, label_map
from hodor_cli.engine.masks import reference_masks_by_id
from hodor_cli.engine.matching_memory import StoredFrame, stored_frame
from hodor_cli.engine.plan import Plan
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.engine.soft_maps import SoftMap
from hodor_cli.engine.state import Followed
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.errors import InputError
from hodor_cli.model.background import reference_masks, to_stride8
from hodor_cli.model.types import Maps
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.preprocess import Geometry, Scalable, prepare_frame, prepare_masks, resize

Masks = np.ndarray | Mapping[int, np.ndarray]
_Kept = TypeVar("_Kept", HistoryEntry, StoredFrame)
#: Smaller probabilities are raised to this one before a logarithm is taken.
_LEAST = 1e-6


@dataclass(frozen=True)
class KeyFrame:
    """A frame with given masks: its history entry, and, if the model matches, its keys and masks for matching. About
    2 MB at 480 lines, most of it keys."""

    entry: HistoryEntry
    stored: StoredFrame | None


class OfflineSegmenter(Segmenter):
    """A segmenter that knows all masks beforehand; before `plan` is called it is a plain `Segmenter`.

    First `encode` takes the masked frames, in any order. Then `backward` returns segmenters for the passes backward,
    which store their results in `maps`. The steps forward read these and join them with their own results.
    `hodor_cli.engine.follow` calls all of them in this order.
    """

    def reset(self) -> None:
        """Forget all objects, frames, masks and the plan."""
        super().reset()
        self._plan: Plan | None = None
        self._keys: dict[int, KeyFrame] = {}
        self._maps: MutableMapping[int, bytes] = {}
        self._first, self._direction, self._shown = 0, 1, True
        self._turn = _Turn()
        self._warnings: list[str] = []  # of encoding, for the next step forward

    def plan(self, plan: Plan, *, first: int = 0, maps: MutableMapping[int, bytes] | None = None) -> None:
        """Reset, and follow a plan from frame `first` on. maps: where the passes backward store their results, by
        frame; in memory if None."""
        self.reset()
        self._plan, self._first = plan, first
        self._maps = {} if maps is None else maps

    @property
    def position(self) -> int:
        """The frame of the next step."""
        return self._first + self._direction * self._next_frame

    def go_to(self, frame: int) -> None:
        """Continue at this frame, without results of earlier frames."""
        self._next_frame = self._direction * (frame - self._first)
        self._known = Followed.none(self.history)

    @torch.inference_mode()
    def encode(self, frame: int, image: np.ndarray | Scalable, masks: Masks) -> None:
        """Encode a masked frame as a reference for other frames. Objects too small to be encoded are left out.

        Args:
            frame: its index. image: as the frame of `step`.
            masks: label map (H, W) of object ids, or {id: (H, W) bool}.
        Raises:
            InputError as `step` does.
        """
        assert self._plan is not None
        geometry = self._check_frame(image)
        given = reference_masks_by_id(masks, size=geometry.original, frame=frame)
        geometry = self._choose_resolution(geometry, given, self._warnings)
        full = prepare_masks(np.stack(list(given.values())), geometry, self.device)
        visible = (to_stride8(full)[0] > 0.5).flatten(1).any(dim=1).tolist()
        ids = [object_id for object_id, seen in zip(given, visible, strict=True) if seen]
        if not ids:
            return
        with autocast(self.device, self.dtype):
            maps = self._extract(image)
            objects, background = reference_masks(full[:, torch.tensor(visible, device=self.device)])
            descriptors = self.model.encode(maps, objects, background)
        require_numbers(descriptors.objects, frame, self.dtype)
        # If an object of the plan has no mask here, the unmarked pixels are not all background.
        whole = {*self._plan.forward(frame), *self._plan.backward(frame)} <= set(ids)
        entry = HistoryEntry.of(-1, ids, descriptors, background=whole)
        stored = stored_frame(maps, ids, objects[0]) if self.matching else None
        self._keys[frame] = KeyFrame(entry, stored)

    def backward(self, top: int, *, shown: bool = False) -> OfflineSegmenter:
        """A segmenter for the frames top, top - 1, ..., whose steps store soft maps for this one.

        Give its steps negative times, `-time`. shown: whether its steps also return label maps, which takes longer.
        """
        other = copy.copy(self)
        Segmenter.reset(other)
        other._finer = self._finer
        other._first, other._direction, other._shown, other._turn = top, -1, shown, _Turn()
        return other

    def step(
        self, frame: np.ndarray | Scalable, masks: Masks | None = None, *, time: float | None = None
    ) -> np.ndarray:
        """Segment the next frame in this direction; see `Segmenter.step`. masks: those that the plan has for it."""
        if self._plan is None:
            return super().step(frame, masks, time=time)
        at = self.position
        followed = self._plan.forward(at) if self._direction > 0 else self._plan.backward(at)
        for object_id in set(self.object_ids).difference(followed):
            self.remove(object_id)
        if self._plan.marked.get(at, frozenset()).issuperset(self.object_ids):
            self._known = Followed.none(self.history)  # all masks are given, so earlier results have no influence
        self._read_references(at)
        self._turn = _Turn(at, self._found_later(at, time))
        super().step(frame, masks, time=time)
        if self._direction < 0:
            self._leave(at, time)
        elif self._turn.later is not None:
            if self.maps_are_read and masks is None and not self.object_ids:
                self._extract(frame)
            self.last = self._joined(self._turn.later, self.last, masks)
        if self._direction > 0 and self._warnings:
            self.last, self._warnings = replace(self.last, warnings=[*self._warnings, *self.last.warnings]), []
        return self.last.labels

    def descriptors(self) -> FrameDescriptors:
        """As `Segmenter.descriptors`; objects that only the pass backward follows have its descriptors."""
        found, later = super().descriptors(), self._turn.later
        if later is None:
            return found
        background = later.descriptors.background if found.background is None else found.background
        return FrameDescriptors({**later.descriptors.objects, **found.objects}, background)

    @torch.inference_mode()
    def _extract(self, image: np.ndarray | Scalable) -> Maps:
        geometry, config = self._check_frame(image), self.model.config
        with autocast(self.device, self.dtype):
            return self.model.extract(prepare_frame(image, geometry, config.pixel_mean, config.pixel_std, self.device))

    def _read_references(self, at: int) -> None:
        """Give decoding and matching the reference masks of a frame."""
        assert self._plan is not None
        rows: dict[int, dict[int, float]] = {}
        between: set[int] = set()
        for object_id in self._plan.object_ids:
            around = self._plan.references(object_id, at)
            if around.before == at:  # its mask is given: until then it is followed from the one behind
                around = self._plan.behind(object_id, at, self._direction)
            share = around.nearness(at)
            for key, weight in ((around.before, 1 - share), (around.after, share)):
                if key is not None and key in self._keys:
                    rows.setdefault(key, {})[object_id] = weight
            if around.before is not None and around.after is not None:
                between.add(object_id)
        entries = (_only(self._keys[key].entry, between.intersection(ids)) for key, ids in sorted(rows.items()))
        self._known.ring.pinned = [entry for entry in entries if entry is not None]
        memory = self._known.memory
        memory.references, memory.weights = [], []
        for key, weights in sorted(rows.items()):
            stored = self._keys[key].stored
            stored = None if stored is None else _only(stored, set(weights))
            if stored is not None:
                memory.references.append(stored)
                memory.weights.append(weights)

    def _found_later(self, at: int, time: float | None) -> SoftMap | None:
        """The result of the pass backward in a frame; None without one. Raises InputError if the times differ."""
        if self._direction < 0 or at not in self._maps:
            return None
        later = SoftMap.unpack(self._maps[at], self.device)
        if time is not None and later.time is not None and abs(time + later.time) > 1e-6:
            raise InputError(
                f"frame {at} is another one when the video is read backward; convert the video to a new file first"
            )
        return later

    @property
    def _starts_are_decoded(self) -> bool:
        return self._plan is None

    def _settled(self, logits: Tensor) -> Tensor:
        if self._plan is None:
            return logits
        own = SoftMap.of(self._known.ids, logits)
        if self._direction < 0:
            self._turn.own = own
        elif self._turn.later is not None:
            shares = self._plan.shares(own.object_ids, self._turn.frame)
            joined, self._turn.disagreement = join(own, self._turn.later, shares)
            self._turn.own = joined
            return _as_logits(joined, self._known.ids, logits)
        return logits

    def _labels(self, decoded: Decoded, geometry: Geometry) -> tuple[np.ndarray, dict[int, float]]:
        shown = self._shown if self._direction < 0 else self._turn.later is None
        if self._plan is None or shown:
            return super()._labels(decoded, geometry)
        # The labels are not used, or `_joined` makes them at the end of the step.
        return np.zeros(geometry.original, dtype=np.uint16), {}

    def _leave(self, at: int, time: float | None) -> None:
        """Store the result of a step backward for the step forward through the same frame."""
        if self._turn.own is None:  # all objects of the frame have a mask
            return
        found = self.last.objects
        measures = {
            i: [np.nan if value is None else value for value in (entry.cut_off, entry.agreement, entry.change)]
            for i, entry in found.items()
        }
        self._maps[at] = replace(self._turn.own, measures=measures, descriptors=super().descriptors(), time=time).pack()

    def _joined(self, later: SoftMap, own: StepResult, masks: Masks | None) -> StepResult:
        """The result of a step for all objects, with the result of the pass backward, in one label map."""
        size = own.labels.shape
        geometry = Geometry.of(*size, min_dim=self.min_dim, max_dim=self.max_dim)
        soft = self._turn.own or later
        labels, confidence = soft_labels(soft, geometry)
        given = (
            {}
            if masks is None
            else reference_masks_by_id(masks, size=size, frame=self._turn.frame, followed=soft.object_ids)
        )
        for object_id, mask in given.items():
            labels[labels == object_id] = 0
            labels[mask] = object_id
            confidence[object_id] = 1.0
        ids = soft.object_ids.adding(own.objects)
        objects = {}
        for object_id, area in areas(labels, list(ids)).items():
            cut_off, agreement, change = soft.measures.get(object_id, (0.0, np.nan, np.nan))
            entry = own.objects.get(object_id) or ObjectResult(
                0, 0.0, True, cut_off, None if np.isnan(agreement) else agreement, None if np.isnan(change) else change
            )
            objects[object_id] = replace(
                entry,
                area=area,
                confidence=confidence.get(object_id, 0.0),
                lost=not area,
                disagreement=None if object_id in given else self._turn.disagreement.get(object_id),
            )
        return replace(own, labels=labels, objects=objects)


@dataclass
class _Turn:
    """The data of one step: its frame, the soft map of the pass backward (later), its own soft map (joined with it in
    the pass forward), and the disagreement of the two by object id."""

    frame: int = -1
    later: SoftMap | None = None
    own: SoftMap | None = None
    disagreement: Mapping[int, float] = field(default_factory=dict)


def soft_labels(soft: SoftMap, geometry: Geometry) -> tuple[np.ndarray, dict[int, float]]:
    """The label map (H, W) of a soft map at the frame's own size, and each object's confidence."""
    rest = (1 - soft.objects.sum(dim=0) - soft.background).clamp(min=_LEAST)
    channels = torch.cat((rest[None], soft.background[None], soft.objects)).clamp(min=_LEAST).log()[None]
    probabilities = resize(channels, geometry.padded).softmax(dim=1)
    # The first channel is the rest of the background channels, each of which is lower than the highest one.
    return label_map(probabilities[:, 1:], geometry, list(soft.object_ids), background=1)


def _as_logits(soft: SoftMap, object_ids: Iterable[int], logits: Tensor) -> Tensor:
    """Logits (1, 10 + I, h, w) that give the objects the probabilities of a soft map; the ten other channels share the
    rest in the proportions that they have in `logits`."""
    own = soft.objects[soft.object_ids.rows(object_ids)]
    rest = (1 - own.sum(dim=0, keepdim=True)).clamp(min=_LEAST).log()
    background = logits[0, :NUM_NON_OBJECT].float().log_softmax(dim=0) + rest
    return torch.cat((background, own.clamp(min=_LEAST).log()))[None]


def _only(frame: _Kept, object_ids: set[int]) -> _Kept | None:
    """The frame with only these objects; None if it has none of them."""
    if object_ids.isdisjoint(frame.object_ids):
        return None
    for object_id in set(frame.object_ids).difference(object_ids):
        frame = frame.without(object_id) or frame
    return frame
