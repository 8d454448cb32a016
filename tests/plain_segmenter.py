"""Following objects frame by frame in float32, step by step as the paper's section 3.4 tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_BACKGROUND, NUM_NON_OBJECT
from hodor_cli.engine.masks import reference_masks_by_id
from hodor_cli.engine.matching_memory import MatchingMemory
from hodor_cli.model.background import predicted_masks, reference_masks, to_stride8
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Descriptors, History, Maps
from hodor_cli.runtime.preprocess import Geometry, prepare_frame, prepare_masks, resize


@dataclass
class _Entry:
    """Descriptors of one frame: {object id: (D,)} and (9, D), or no background."""

    frame: int
    objects: dict[int, Tensor]
    background: Tensor | None


class PlainSegmenter:
    """The readable counterpart of `Segmenter`: the same frames and masks in, the same label maps out, no shortcuts.

    Probabilities are made at the padded full resolution, reference masks are put in there, and the result is resized
    back for the labels and by 1/8 for the next descriptors. Objects may start at any frame; corrections of known ones,
    saved states and everything else around the method are left to `Segmenter`.

    Args:
        model: the network whose parameters are used; it is moved to `device`.
        history: frames of descriptors that masks are decoded from.
        min_dim, max_dim: working resolution in pixels; None for the model's own.
    """

    def __init__(
        self,
        model: Hodor,
        *,
        history: int = 7,
        min_dim: int | None = None,
        max_dim: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.history = history
        self.min_dim, self.max_dim = model.config.resolution(min_dim, max_dim)
        self.reset()

    def reset(self) -> None:
        """Forget all objects and frames."""
        self.object_ids: list[int] = []
        self._entries: list[_Entry] = []
        self._memory = MatchingMemory()
        self._next_frame = 0

    @torch.inference_mode()
    def step(self, frame: np.ndarray, masks: np.ndarray | Mapping[int, np.ndarray] | None = None) -> np.ndarray:
        """The next frame (H, W, 3) uint8 RGB, with masks of new objects as `Segmenter` takes them -> label map."""
        index, self._next_frame = self._next_frame, self._next_frame + 1
        geometry = Geometry.of(*frame.shape[:2], min_dim=self.min_dim, max_dim=self.max_dim)
        given = {} if masks is None else reference_masks_by_id(masks, size=geometry.original, frame=index)
        labels = np.zeros(geometry.original, dtype=np.uint16)
        if not given and not self.object_ids:
            return labels
        config = self.model.config
        maps = self.model.extract(prepare_frame(frame, geometry, config.pixel_mean, config.pixel_std, self.device))
        self._entries = [entry for entry in self._entries if entry.frame >= index - self.history]
        existed = bool(self.object_ids)
        reference = self._start_objects(maps, given, geometry, index)
        if existed:
            probabilities = self._decode(maps, reference, geometry, index)
            height, width = geometry.scaled
            found = resize(probabilities[:, :, :height, :width], geometry.original)[0].argmax(dim=0)
            ids = torch.tensor([0] * NUM_NON_OBJECT + self.object_ids, device=self.device)
            labels = ids[found].cpu().numpy().astype(np.uint16)
        for object_id, mask in given.items():
            labels[labels == object_id] = 0
            labels[mask] = object_id
        return labels

    def _start_objects(
        self, maps: Maps, given: dict[int, np.ndarray], geometry: Geometry, index: int
    ) -> dict[int, Tensor]:
        """Encode given masks on their own; {id: (padded H, padded W)} of those that show at stride 8."""
        prepared = {i: prepare_masks(mask[None], geometry, self.device)[0, 0] for i, mask in given.items()}
        prepared = {i: mask for i, mask in prepared.items() if (to_stride8(mask[None, None]) > 0.5).any()}
        if not prepared:
            return {}
        existed = bool(self.object_ids)
        self.object_ids += list(prepared)
        objects, background = reference_masks(torch.stack(list(prepared.values()))[None])
        descriptors = self.model.encode(maps, objects, background)
        self._remember(index, list(prepared), descriptors, with_background=not existed)
        if not existed:
            self._memory.remember(maps, self.object_ids, objects[0], reference=tuple(prepared))
        return prepared

    def _decode(self, maps: Maps, reference: dict[int, Tensor], geometry: Geometry, index: int) -> Tensor:
        """Probabilities (1, 10 + I, padded H, padded W); this frame's descriptors join the history."""
        cue = self._memory.cue(self.model, maps, self.object_ids)
        logits = self.model.decode(maps, self._stacked(), cue)
        shown = self._put_in(resize(logits, geometry.padded).softmax(dim=1), reference)

        soft = self._put_in(resize(logits.softmax(dim=1), geometry.padded), reference)
        objects, background = predicted_masks(to_stride8(soft[:, NUM_NON_OBJECT:]))
        descriptors = self.model.encode(maps, objects, background)
        if self.model.config.hold_lost_objects:
            descriptors = self._hold_lost(descriptors, objects)
        self._remember(index, self.object_ids, descriptors)
        self._memory.remember(maps, self.object_ids, objects[0], reference=tuple(reference))
        return shown

    def _put_in(self, probabilities: Tensor, reference: dict[int, Tensor]) -> Tensor:
        """Inside a reference mask all other channels become 0; the object's own channel becomes the mask."""
        for mask in reference.values():
            probabilities = probabilities * (1 - mask)
        for object_id, mask in reference.items():
            probabilities[:, NUM_NON_OBJECT + self.object_ids.index(object_id)] = mask
        return probabilities

    def _remember(self, index: int, ids: list[int], made: Descriptors, *, with_background: bool = True) -> None:
        """Put a frame's descriptors into the history, in place of what the same frame put in before."""
        self._entries = [entry for entry in self._entries if entry.frame != index]
        objects = dict(zip(ids, made.objects[0], strict=True))
        self._entries.append(_Entry(index, objects, made.background[0] if with_background else None))

    def _stacked(self) -> History:
        """The history as tensors; what a frame lacks is zero and marked as absent."""
        channels = self.model.config.descriptor_channels
        objects = torch.zeros(1, len(self._entries), len(self.object_ids), channels, device=self.device)
        background = torch.zeros(1, len(self._entries), NUM_BACKGROUND, channels, device=self.device)
        has_object = torch.zeros(objects.shape[:3], dtype=torch.bool, device=self.device)
        has_background = torch.zeros(background.shape[:2], dtype=torch.bool, device=self.device)
        for t, entry in enumerate(self._entries):
            for i, object_id in enumerate(self.object_ids):
                if object_id in entry.objects:
                    objects[0, t, i], has_object[0, t, i] = entry.objects[object_id], True
            if entry.background is not None:
                background[0, t], has_background[0, t] = entry.background, True
        return History(objects, background, has_object, has_background)

    def _hold_lost(self, made: Descriptors, masks: Tensor) -> Descriptors:
        """Objects without any likely pixel keep their newest descriptor without its place, if so configured."""
        objects = made.objects.clone()
        for i, object_id in enumerate(self.object_ids):
            if not (masks[0, i] > 0.5).any():
                for entry in self._entries:
                    if object_id in entry.objects:
                        objects[0, i] = self.model.without_place(entry.objects[object_id])
        return made._replace(objects=objects)
