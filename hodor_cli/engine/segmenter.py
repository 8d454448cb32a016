"""Following objects through a video, one frame at a time, with constant memory (HODOR, sec. 3.4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_BACKGROUND, NUM_NON_OBJECT
from hodor_cli.engine.history import HistoryEntry, HistoryRing, entry_of
from hodor_cli.engine.labels import areas, label_map
from hodor_cli.engine.masks import check_object_id, reference_masks_by_id
from hodor_cli.engine.matching_memory import MatchingMemory
from hodor_cli.engine.state import (
    STATE_VERSION,
    check_state,
    pack_history,
    pack_matching,
    unpack_history,
    unpack_matching,
)
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.errors import InputError, UsageError
from hodor_cli.model.background import predicted_masks, reference_masks, to_stride8
from hodor_cli.model.fpn import Maps
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import autocast, choose_device, choose_precision
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.runtime.preprocess import Geometry, prepare_frame, prepare_masks, resize

if TYPE_CHECKING:
    from hodor_cli.training.adaptation import AdaptProgress, Budget


class Segmenter:
    """Follows objects through frames given one by one.

    Objects may start at any frame; a mask for a known id corrects it from there on. Ids are the user's and are never
    renumbered. The state is the history window (and, for models that match, two frames of keys) and nothing else, so
    memory does not grow with the video.

    Args:
        model: the network, as `load_model` gives it; it is moved to `device`.
        history: frames of descriptors that are decoded from besides the newest (the paper's best is 7).
        min_dim, max_dim: working resolution in pixels; None for the model's own.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        matching: use the correspondence cue of models that have one; False leaves the plain descriptor model.
    """

    def __init__(
        self,
        model: Hodor,
        *,
        history: int = 7,
        min_dim: int | None = None,
        max_dim: int | None = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        matching: bool = True,
    ) -> None:
        if history < 1:
            raise UsageError(f"history must be at least 1 frame, not {history}")
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device, dense=model.config.dense)
        self._precision = precision
        if self.device.type == "cpu":
            keep_freed_memory()
        # Channels last in memory: convolutions on a CPU, and attention everywhere, read a pixel's channels together.
        model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = self._given_model = model.eval()
        self.history = history
        self._wanted_dims = (min_dim, max_dim)
        self.min_dim, self.max_dim = model.config.resolution(min_dim, max_dim)
        self.matching = matching
        self.reset()

    def reset(self) -> None:
        """Forget all objects, frames, and what `adapt` learned."""
        self.model = self._given_model
        self.min_dim, self.max_dim = self.model.config.resolution(*self._wanted_dims)
        self.object_ids: list[int] = []
        self.last = StepResult(labels=np.zeros((0, 0), dtype=np.uint16))
        self._next_frame = 0
        self._geometry: Geometry | None = None
        self._ring = HistoryRing(self.history)
        self._memory = MatchingMemory()

    def adapt(
        self,
        examples: Sequence[tuple[np.ndarray, np.ndarray | Mapping[int, np.ndarray]]],
        budget: Budget | None = None,
        *,
        cache: Path | None = None,
        progress: Callable[[AdaptProgress], None] | None = None,
    ) -> None:
        """Go on with a copy of the network that is fine-tuned on these frames; the model given stays as it is.

        HODOR learns from still images, so frames whose masks the user gave are a training set. Call it before the
        frames are stepped through; `reset` returns to the given model. Unless a resolution was given, it is from now on
        the one that the model's configuration names for adapted runs (`mini`: 384 lines instead of 288).

        Args:
            examples: (frame, masks) pairs as `step` takes them.
            budget: seconds or steps; None for about a minute.
            cache: a folder in which adapted networks are kept and found again.
            progress: called after every training step.
        Raises:
            InputError for a mask that is empty, covers the frame, or does not fit it.
        """
        from hodor_cli.training.adaptation import DEFAULT_BUDGET, AdaptSettings, Example, adapt

        prepared = []
        for number, (frame, masks) in enumerate(examples):
            labels = np.zeros(frame.shape[:2], np.uint16)
            by_id = reference_masks_by_id(masks, size=(len(frame), frame.shape[1]), frame=number)
            for object_id, mask in by_id.items():
                labels[mask] = object_id
            prepared.append(Example(frame, labels))
        min_dim, max_dim = self._given_model.config.resolution(*self._wanted_dims, adapted=True)
        settings = AdaptSettings(budget or DEFAULT_BUDGET, min_dim=min_dim, max_dim=max_dim, precision=self._precision)
        adapted = adapt(self._given_model, prepared, settings, cache=cache, progress=progress)
        self.model, self.min_dim, self.max_dim = adapted.to(self.device).eval(), min_dim, max_dim

    @torch.inference_mode()
    def step(self, frame: np.ndarray, masks: np.ndarray | Mapping[int, np.ndarray] | None = None) -> np.ndarray:
        """Segment the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB; all frames have the same size.
            masks: reference masks given in this frame: a label map (H, W) of object ids, or {id: (H, W) bool}, or None.
        Returns:
            Label map (H, W) uint16, 0 for background; inside reference masks exactly those. `last` holds more.
        Raises:
            InputError if the frame or a mask is of another size or kind. After any exception the state is unchanged.
        """
        geometry = self._check_frame(frame)
        index = self._next_frame
        given = {} if masks is None else reference_masks_by_id(masks, size=geometry.original, frame=index)
        started = time.perf_counter()
        warnings: list[str] = []
        if not given and not self.object_ids:
            result = StepResult(labels=np.zeros(geometry.original, dtype=np.uint16))
        else:
            before = self._ring, self._memory, self.object_ids
            self._ring, self._memory = self._ring.copy(), self._memory.copy()
            try:
                with autocast(self.device, self.dtype):
                    result = self._follow(frame, given, geometry, index, warnings)
            except BaseException:  # out of memory, or interrupted
                self._ring, self._memory, self.object_ids = before
                raise
        self._geometry, self._next_frame = geometry, index + 1
        self.last = replace(result, warnings=warnings, network_seconds=time.perf_counter() - started)
        return result.labels

    def remove(self, object_id: int) -> None:
        """Stop following an object. Raises UsageError if it is not followed."""
        if object_id not in self.object_ids:
            raise UsageError(f"object {object_id} is not followed; the ids are {self.object_ids or 'none'}")
        # A new list, so that `for i in segmenter.object_ids: segmenter.remove(i)` does what it says.
        self.object_ids = [known for known in self.object_ids if known != object_id]
        self._ring.forget(object_id)
        self._memory.forget(object_id)

    def start_from(self, objects: Mapping[int, np.ndarray], background: np.ndarray | None = None) -> None:
        """Follow objects known by saved descriptors instead of masks; call it before the first step.

        Args:
            objects: {id: (D,) or (K, D)}: one or several descriptors of each object.
            background: (9, D) descriptors of a scene, or None.
        """
        if self.object_ids or not objects:
            raise UsageError("start from descriptors of at least one object, before any object is followed")
        channels = self.model.config.descriptor_channels
        rows = {object_id: np.atleast_2d(np.asarray(value, np.float32)) for object_id, value in objects.items()}
        for object_id, value in rows.items():
            check_object_id(object_id, "among the descriptors")
            if value.shape[1] != channels:
                raise InputError(
                    f"the descriptor of object {object_id} has {value.shape[1]} channels and the model makes"
                    f" {channels}; export it again with these weights"
                )
        if background is not None:
            background = np.asarray(background, np.float32)
            if background.shape != (NUM_BACKGROUND, channels):
                raise InputError(
                    f"the background descriptors are {background.shape} and must be ({NUM_BACKGROUND}, {channels});"
                    " export them again with these weights"
                )
        self.object_ids = [int(object_id) for object_id in rows]
        for k in range(max(len(value) for value in rows.values())):
            ids = [object_id for object_id, value in rows.items() if k < len(value)]
            self._ring.pinned.append(
                HistoryEntry(
                    frame=-1,
                    object_ids=tuple(ids),
                    objects=torch.tensor(np.stack([rows[i][k] for i in ids]), device=self.device),
                    background=None if background is None else torch.tensor(background, device=self.device),
                )
            )

    def descriptors(self) -> FrameDescriptors:
        """Descriptors of the newest frame, as they entered the history; empty if nothing was followed in it."""
        entry = self._ring.latest()
        if entry is None or entry.frame != self._next_frame - 1:
            return FrameDescriptors({}, None)
        objects = entry.objects.cpu().numpy().copy()  # the caller's own: the history stays as it is
        background = None if entry.background is None else entry.background.cpu().numpy().copy()
        return FrameDescriptors(dict(zip(entry.object_ids, objects, strict=True)), background)

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next step depends on, as arrays that `np.savez` can write; about a MB."""
        size = (0, 0) if self._geometry is None else self._geometry.original
        return {
            "version": np.array(STATE_VERSION),
            "model": np.array(self.model.config.name),
            "next_frame": np.array(self._next_frame),
            "size": np.array(size),
            "object_ids": np.array(self.object_ids, dtype=np.int64),
            **pack_history(self._ring),
            **pack_matching(self._memory),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave, or the file that `np.savez` made of it.

        Raises InputError if it is no state, or was made with another architecture or working resolution; what is
        followed then stays as it was.
        """
        config = self.model.config
        height, width = (int(n) for n in state.get("size", (0, 0)))
        geometry = Geometry.of(height, width, min_dim=self.min_dim, max_dim=self.max_dim) if height else None
        keys = None
        if self.matching and config.matching is not None and geometry is not None:
            keys = (config.matching.key_channels, geometry.padded[0] // 8, geometry.padded[1] // 8)
        check_state(state, model=config.name, descriptor_channels=config.descriptor_channels, keys=keys)
        ring, memory = HistoryRing(self.history), MatchingMemory()
        unpack_history(state, ring, self.device)
        if self.matching:
            unpack_matching(state, memory, self.device)
        self.last = StepResult(labels=np.zeros((0, 0), dtype=np.uint16))
        self.object_ids = [int(i) for i in state["object_ids"]]
        self._next_frame = int(state["next_frame"])
        self._geometry, self._ring, self._memory = geometry, ring, memory

    def _check_frame(self, frame: np.ndarray) -> Geometry:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise InputError(f"a frame must be (H, W, 3) uint8 RGB, not {frame.shape} {frame.dtype}")
        height, width = frame.shape[:2]
        if self._geometry is None:
            return Geometry.of(height, width, min_dim=self.min_dim, max_dim=self.max_dim)
        if self._geometry.original != (height, width):
            was = self._geometry.original
            raise InputError(
                f"frame {self._next_frame} is {width}x{height} and those before it are {was[1]}x{was[0]};"
                " give frames of one size or reset the segmenter"
            )
        return self._geometry

    def _follow(
        self, frame: np.ndarray, given: dict[int, np.ndarray], geometry: Geometry, index: int, warnings: list[str]
    ) -> StepResult:
        config = self.model.config
        image = prepare_frame(frame, geometry, config.pixel_mean, config.pixel_std, self.device)
        maps = self.model.extract(image)
        existed = bool(self.object_ids)
        self._ring.advance(index)
        # 1. Reference masks of this frame are encoded alone and join the history.
        reference = self._encode_given(maps, given, geometry, index, warnings)
        confidence: dict[int, float] = {}
        if not existed:
            labels = np.zeros(geometry.original, dtype=np.uint16)
        else:
            # 2. Decode the history, put the reference masks in, and encode what came out as this frame's entry.
            labels, confidence = self._decode(maps, reference, geometry, index)
        for object_id, mask in given.items():
            labels[labels == object_id] = 0
            labels[mask] = object_id
            confidence[object_id] = 1.0
        # Objects too small to be encoded as well: their masks were given.
        ids = list(dict.fromkeys((*self.object_ids, *given)))
        counts = areas(labels, ids)
        objects = {i: ObjectResult(area=counts[i], confidence=confidence.get(i, 0.0), lost=not counts[i]) for i in ids}
        return StepResult(labels=labels, objects=objects)

    def _encode_given(
        self, maps: Maps, given: dict[int, np.ndarray], geometry: Geometry, index: int, warnings: list[str]
    ) -> dict[int, Tensor]:
        """Encode given masks; returns {id: (padded H, padded W)} of those large enough, and warns of the others."""
        if not given:
            return {}
        prepared = prepare_masks(np.stack(list(given.values())), geometry, self.device)
        visible = (to_stride8(prepared)[0] > 0.5).flatten(1).any(dim=1).tolist()
        for object_id, seen in zip(list(given), visible, strict=True):
            if not seen:
                warnings.append(
                    f"object {object_id} in frame {index} is too small to be encoded at"
                    f" {geometry.scaled[1]}x{geometry.scaled[0]}; raise --min-dim or leave it out"
                )
        ids = [object_id for object_id, seen in zip(given, visible, strict=True) if seen]
        if not ids:
            return {}
        full = prepared[:, torch.tensor(visible, device=self.device)]
        existed = bool(self.object_ids)
        for object_id in ids:
            if object_id in self.object_ids:  # a correction: what was believed of the object before is void
                self._ring.forget(object_id)
                self._memory.forget(object_id)
            else:
                self.object_ids = [*self.object_ids, object_id]
        objects, background = reference_masks(full)
        entry = entry_of(index, ids, self.model.encode(maps, objects, background), background=not existed)
        self._ring.put(entry)
        if self.matching and not existed:
            self._memory.remember(maps, ids, objects[0], reference=tuple(ids))
        return dict(zip(ids, full[0], strict=True))

    def _decode(
        self, maps: Maps, reference: dict[int, Tensor], geometry: Geometry, index: int
    ) -> tuple[np.ndarray, dict[int, float]]:
        cue = self._memory.cue(self.model, maps, self.object_ids) if self.matching else None
        logits = self.model.decode(maps, self._ring.stacked(self.object_ids), cue)
        labels, confidence = self._labels(logits, reference, geometry)
        masks = self._masks_to_encode(logits, reference, geometry)
        objects, background = predicted_masks(masks)
        descriptors = self.model.encode(maps, objects, background)
        entry = entry_of(index, self.object_ids, descriptors)
        if self.model.config.hold_lost_objects:
            entry = self._hold_lost(entry, masks[0])
        self._ring.put(entry)
        if self.matching:
            self._memory.remember(maps, self.object_ids, masks[0], reference=tuple(reference))
        return labels, confidence

    def _labels(
        self, logits: Tensor, reference: dict[int, Tensor], geometry: Geometry
    ) -> tuple[np.ndarray, dict[int, float]]:
        """The label map at the frame's own size, and the mean probability inside each object's mask."""
        probabilities = resize(logits, geometry.padded).softmax(dim=1)
        probabilities = self._put_in(probabilities, reference)
        return label_map(probabilities, geometry, self.object_ids)

    def _masks_to_encode(self, logits: Tensor, reference: dict[int, Tensor], geometry: Geometry) -> Tensor:
        """Soft object masks (1, I, h, w) at stride 8 for this frame's descriptors."""
        probabilities = logits.softmax(dim=1)[:, NUM_NON_OBJECT:]
        if not reference:
            # The same as upsampling to the padded size and sampling at stride 8.
            return torch.nn.functional.avg_pool2d(probabilities, 2)
        full = self._put_in(resize(logits.softmax(dim=1), geometry.padded), reference)
        return to_stride8(full[:, NUM_NON_OBJECT:])

    def _put_in(self, probabilities: Tensor, reference: dict[int, Tensor]) -> Tensor:
        """Reference masks into (1, 10 + I, H, W): inside one every other channel is 0, its own channel is the mask."""
        for mask in reference.values():
            probabilities = probabilities * (1 - mask)
        for object_id, mask in reference.items():
            probabilities[:, NUM_NON_OBJECT + self.object_ids.index(object_id)] = mask
        return probabilities

    def _hold_lost(self, entry: HistoryEntry, masks: Tensor) -> HistoryEntry:
        """Give objects without any likely pixel their newest earlier descriptor."""
        lost = (masks.flatten(1).amax(dim=1) <= 0.5).tolist()
        if not any(lost):
            return entry
        objects = entry.objects.clone()
        for row, (object_id, is_lost) in enumerate(zip(entry.object_ids, lost, strict=True)):
            earlier = self._ring.newest(object_id) if is_lost else None
            if earlier is not None:
                objects[row] = earlier
        return replace(entry, objects=objects)


__all__ = ["FrameDescriptors", "ObjectResult", "Segmenter", "StepResult"]
