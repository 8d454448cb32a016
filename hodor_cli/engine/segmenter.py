"""Following objects through a video, one frame at a time, with constant memory (HODOR, sec. 3.4)."""

from __future__ import annotations

import copy
import time as clock
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hodor_cli.engine.decoded import Decoded, Measures, StepInput, hold_lost, masks_to_encode, require_numbers
from hodor_cli.engine.evidence import GivenLook, agreements, changes
from hodor_cli.engine.history import HistoryEntry
from hodor_cli.engine.labels import label_map
from hodor_cli.engine.masks import are_small, reference_masks_by_id
from hodor_cli.engine.motion import limited
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.state import STATE_VERSION, Followed, check_state
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.errors import InputError, UsageError
from hodor_cli.model.background import predicted_masks, reference_masks, to_stride8
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import autocast, choose_device, choose_precision
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.runtime.preprocess import Geometry, Scalable, prepare_frame, prepare_masks, resize

#: The logit of an object at a pixel where it cannot be.
_NOWHERE = -1e4


class Segmenter:
    """Follows objects through frames given one by one.

    Objects may start at any frame; a mask for a known id corrects it from there on, and `remove` or an empty mask ends
    it. Ids are the user's and are never renumbered. The state is the history window (and, for models that match, four
    frames of keys) and nothing else, so memory does not grow with the video.

        segmenter = Segmenter(load_model("mini"))
        labels = segmenter.step(first_frame, masks=first_labels)  # (H, W) uint16 ids
        labels = segmenter.step(second_frame)

    Args:
        model: the network, as `load_model` gives it. It stays where it is: if `device` is another one, or the model is
            in training mode, the segmenter works with a copy.
        history: frames of descriptors that are decoded from besides the newest (the paper's best is 7).
        min_dim, max_dim: working resolution in pixels; None for the model's own, which may be a finer one where the
            first masks are small.
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
        self.dtype = choose_precision(precision, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.model = placed(model, self.device)
        self.history = history
        own, small = model.config.resolution(min_dim, max_dim), model.config.small_min_dim
        #: The working resolution, and that for small objects if there is another one.
        self._resolutions = [own]
        if small is not None and matching and min_dim is None and max_dim is None:
            self._resolutions.append(model.config.resolution(small, None))
        self.matching = matching
        #: Whether other code reads the backbone's maps of every frame, even if no object is followed.
        self.maps_are_read = False
        self.reset()

    def reset(self) -> None:
        """Forget all objects and frames."""
        self.last = StepResult(labels=np.zeros((0, 0), dtype=np.uint16))
        self._next_frame = 0
        self._geometry: Geometry | None = None
        self._known = Followed.none(self.history)
        #: Whether the finer resolution is used; None until the first masks decide.
        self._finer: bool | None = None

    @property
    def min_dim(self) -> int:
        """The shorter side of the network's input, in pixels."""
        return self._resolutions[bool(self._finer)][0]

    @property
    def max_dim(self) -> int:
        """The limit of its longer side."""
        return self._resolutions[bool(self._finer)][1]

    @property
    def object_ids(self) -> list[int]:
        """The ids of the objects that are followed."""
        return list(self._known.ids)

    @torch.inference_mode()
    def step(
        self,
        frame: np.ndarray | Scalable,
        masks: np.ndarray | Mapping[int, np.ndarray] | None = None,
        *,
        time: float | None = None,
    ) -> np.ndarray:
        """Segment the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB, or a picture that scales itself; all frames have the same size.
            masks: reference masks given in this frame: a label map (H, W) of object ids, or {id: (H, W) bool}, or None.
                They say nothing of other objects: a correction leaves them the masks they would have without it,
                except where these overlap, and an object that starts takes part in decoding the frame, as in the paper.
                An empty mask says that a followed object is not there: it is followed no longer.
            time: when the frame was taken, in seconds; the longer after the frame before, the farther objects may have
                moved. None: frames follow each other as in ordinary video.
        Returns:
            Label map (H, W) uint16, 0 for background; inside reference masks exactly those. `last` holds more.
        Raises:
            InputError if the frame or a mask is of another size or kind. WeightsError or DeviceError if the network
            computes values that are not numbers. After any exception the state is unchanged.
        """
        geometry = self._check_frame(frame)
        index = self._next_frame
        given: dict[int, np.ndarray] = {}
        if masks is not None:
            given = reference_masks_by_id(masks, size=geometry.original, frame=index, followed=self._known.ids)
        started = clock.perf_counter()
        before, finer, self._known = self._known, self._finer, self._known.copy()
        warnings: list[str] = []
        try:
            geometry = self._choose_resolution(geometry, given, warnings)
            for object_id in [key for key, mask in given.items() if not mask.any()]:
                self.remove(object_id)
                del given[object_id]
            result = StepResult(labels=np.zeros(geometry.original, dtype=np.uint16))
            if given or self._known.ids:
                with autocast(self.device, self.dtype):
                    config = self.model.config
                    image = prepare_frame(frame, geometry, config.pixel_mean, config.pixel_std, self.device)
                    maps = self.model.extract(image)
                    result = self._follow(StepInput(index, time, geometry, maps, given, warnings))
            spent = clock.perf_counter() - started
            last = replace(result, warnings=warnings, network_seconds=spent)
            self._geometry, self._next_frame, self.last = geometry, index + 1, last
        except BaseException:  # out of memory, or interrupted
            if self._next_frame == index:
                self._known, self._finer = before, finer
            raise
        return result.labels

    def remove(self, object_id: int) -> None:
        """Stop following an object; a later mask starts it again. Raises UsageError if it is not followed."""
        if object_id not in self._known.ids:
            raise UsageError(f"object {object_id} is not followed; the ids are {self.object_ids or 'none'}")
        self._known.ids = self._known.ids.without(object_id)
        self._known.forget(object_id)

    def start_from(self, objects: Mapping[int, np.ndarray], background: np.ndarray | None = None) -> None:
        """Follow objects known by saved descriptors instead of masks; call it before the first step.

        Args:
            objects: {id: (D,) or (K, D)}: one or several descriptors of each object.
            background: (9, D) descriptors of a scene, or None.
        Raises:
            UsageError if objects are followed already, InputError for descriptors of another size.
        """
        if self._known.ids or not objects:
            raise UsageError("start from descriptors of at least one object, before any object is followed")
        channels = self.model.config.descriptor_channels
        self._known = Followed.of_descriptors(objects, background, channels, self.history, self.device)

    def descriptors(self) -> FrameDescriptors:
        """Descriptors of the newest frame, as they entered the history; empty if nothing was followed in it."""
        entry = self._known.ring.latest()
        if entry is None or entry.frame != self._next_frame - 1:
            return FrameDescriptors({}, None)
        objects = entry.objects.cpu().numpy().copy()  # the caller's own: the history stays as it is
        background = None if entry.background is None else entry.background.cpu().numpy().copy()
        return FrameDescriptors(dict(zip(entry.object_ids, objects, strict=True)), background)

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next step depends on, as arrays that `np.savez` can write; about 2 MB."""
        size = (0, 0) if self._geometry is None else self._geometry.original
        return {
            "version": np.array(STATE_VERSION),
            "model": np.array(self.model.config.name),
            "next_frame": np.array(self._next_frame),
            "size": np.array(size),
            "finer": np.array(-1 if self._finer is None else int(self._finer)),
            **self._known.pack(),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of `state`, or from the file that `np.savez` made of it.

        Raises InputError if it is not a state, or was made with another architecture or working resolution; the
        segmenter is then unchanged.
        """
        config = self.model.config
        height, width = (int(n) for n in state.get("size", (0, 0)))
        decided = int(state.get("finer", 0))
        finer = None if decided < 0 else decided > 0 and len(self._resolutions) > 1
        min_dim, max_dim = self._resolutions[bool(finer)]
        geometry = Geometry.of(height, width, min_dim=min_dim, max_dim=max_dim) if height else None
        keys = None
        if self.matching and config.matching is not None and geometry is not None:
            keys = (config.matching.key_channels, geometry.padded[0] // 8, geometry.padded[1] // 8)
        check_state(state, model=config.name, descriptor_channels=config.descriptor_channels, keys=keys)
        known = Followed.unpack(state, self.history, self.device, matching=self.matching)
        self.last = StepResult(labels=np.zeros((0, 0), dtype=np.uint16))
        self._known, self._next_frame, self._geometry, self._finer = known, int(state["next_frame"]), geometry, finer

    def _check_frame(self, frame: np.ndarray | Scalable) -> Geometry:
        if isinstance(frame, np.ndarray) and (frame.shape[2:] != (3,) or frame.dtype != np.uint8 or not frame.size):
            raise InputError(f"a frame must be (H, W, 3) uint8 RGB, not {frame.shape} {frame.dtype}")
        height, width = frame.shape[:2]
        if self._geometry is not None and self._geometry.original != (height, width):
            was = self._geometry.original
            raise InputError(
                f"frame {self._next_frame} is {width}x{height} and those before it are {was[1]}x{was[0]};"
                " give frames of one size or reset the segmenter"
            )
        return Geometry.of(height, width, min_dim=self.min_dim, max_dim=self.max_dim)

    def choose_resolution(self, masks: Mapping[int, np.ndarray]) -> None:
        """Choose the working resolution as these masks, {id: (H, W) bool}, would if they were the first."""
        height, width = next(iter(masks.values())).shape
        self._choose_resolution(Geometry.of(height, width, min_dim=self.min_dim, max_dim=self.max_dim), masks, [])

    def _choose_resolution(self, geometry: Geometry, given: Mapping[int, np.ndarray], warnings: list[str]) -> Geometry:
        """The frames' geometry, finer if the first masks are small; a warning says so."""
        masks = [mask for mask in given.values() if mask.any()]
        if self._finer is not None or self._known.ids or not masks:
            return geometry
        self._finer = len(self._resolutions) > 1 and are_small(masks, geometry.scaled)
        if not self._finer:
            return geometry
        coarse, finer = geometry.scaled, Geometry.of(*geometry.original, min_dim=self.min_dim, max_dim=self.max_dim)
        warnings.append(
            f"the objects are small, so that the network sees frames of {finer.scaled[1]}x{finer.scaled[0]} instead of"
            f" {coarse[1]}x{coarse[0]}; `min_dim` {self._resolutions[0][0]} is faster and less accurate"
        )
        return finer

    def _follow(self, step: StepInput) -> StepResult:
        known = self._known
        known.ring.advance(step.index)
        followed = known.ids
        # 1. As in the paper, objects that start here join the history, and with it the decoding of this frame.
        early = step.given.keys() - set(followed) if followed and self._starts_are_decoded else set()
        reference = self._encode_given(step, early, join=True)
        # 2. Decode the history. A correction does not change it, and so leaves the other objects as they were.
        decoded = self._decode(step, followed) if followed else None
        reference |= self._encode_given(step, step.given.keys() - early, join=not followed)
        labels, found = np.zeros(step.geometry.original, dtype=np.uint16), Measures()
        if decoded is not None:
            # 3. Put the reference masks in, and encode what came out as this frame's entry.
            labels, found = self._settle(step, decoded, reference)
        for object_id, mask in step.given.items():
            labels[labels == object_id] = 0
            labels[mask] = object_id
            found.confidence[object_id] = 1.0
        # Objects too small to be encoded as well: their masks were given.
        ids = known.ids.adding(step.given)
        return StepResult(labels=labels, objects=found.results(labels, ids))

    @property
    def _starts_are_decoded(self) -> bool:
        """Whether objects take part in decoding the frame in which they start; a subclass may decide otherwise."""
        return True

    def _encode_given(self, step: StepInput, ids: Collection[int], *, join: bool) -> dict[int, Tensor]:
        """Encode given masks; returns {id: (padded H, padded W)} of those large enough, and warns of the others.

        join: they join the history at once; else `_settle` encodes them with all objects of the frame.
        """
        given = {object_id: mask for object_id, mask in step.given.items() if object_id in ids}
        if not given:
            return {}
        known, geometry = self._known, step.geometry
        prepared = prepare_masks(np.stack(list(given.values())), geometry, self.device)
        visible = (to_stride8(prepared)[0] > 0.5).flatten(1).any(dim=1).tolist()
        for object_id, seen in zip(given, visible, strict=True):
            if not seen:
                step.warnings.append(
                    f"object {object_id} in frame {step.index} is too small to be encoded at"
                    f" {geometry.scaled[1]}x{geometry.scaled[0]}; raise `min_dim` or leave it out"
                )
        ids = [object_id for object_id, seen in zip(given, visible, strict=True) if seen]
        if not ids:
            return {}
        full = prepared[:, torch.tensor(visible, device=self.device)]
        existed = bool(known.ids)
        for object_id in ids:
            if object_id in known.ids:  # a correction makes earlier results for the object invalid
                known.forget(object_id)
        known.ids = known.ids.adding(ids)
        objects, background = reference_masks(full)
        descriptors = self.model.encode(step.maps, objects, background)
        require_numbers(descriptors.objects, step.index, self.dtype)
        shown, scene = descriptors.objects[0].float().cpu(), descriptors.background[0].float().cpu()
        known.looks |= {object_id: GivenLook.of(shown[row], scene) for row, object_id in enumerate(ids)}
        if join:
            known.ring.put(HistoryEntry.of(step.index, ids, descriptors, background=not existed))
        if not existed and self.matching:
            known.memory.remember(step.maps, ids, objects[0], reference=tuple(ids))
            known.motion.observe(ids, objects[0], step.time)
        return dict(zip(ids, full[0], strict=True))

    def _decode(self, step: StepInput, followed: ObjectIds) -> Decoded:
        """Decode the objects of the history: those followed so far, and those that start here and have joined it."""
        known, maps = self._known, step.maps
        cue = known.memory.cue(self.model, maps, known.ids) if self.matching else None
        logits = self.model.decode(maps, known.ring.stacked(known.ids), cue)
        require_numbers(logits, step.index, self.dtype)
        cut_off: dict[int, float] = {}
        if cue is not None and known.memory.previous is not None and self.model.matcher is not None:
            was = known.memory.previous.keyed_masks(known.ids).masks[0]
            radii = known.motion.radii(known.ids, self.model.matcher.spread, step.time)
            logits, shares = limited(logits, was, radii)
            cut_off = dict(zip(known.ids, shares, strict=True))
        return Decoded(known.ids, self._settled(logits), cue, cut_off, followed)

    def _settle(self, step: StepInput, decoded: Decoded, reference: dict[int, Tensor]) -> tuple[np.ndarray, Measures]:
        """Make the frame's label map and other results, and add the frame to history and matching memory."""
        known, maps = self._known, step.maps
        # Objects that start here and were not decoded have no channel yet; their masks are given.
        started = len(known.ids) - len(decoded.object_ids)
        logits = torch.nn.functional.pad(decoded.logits, (0, 0, 0, 0, 0, started), value=_NOWHERE)
        found = Measures(cut_off=dict(decoded.cut_off))
        labels, found.confidence = self._labels(decoded.of_followed(), step.geometry)
        masks = masks_to_encode(logits, reference, known.ids, step.geometry)
        objects, background = predicted_masks(masks)
        entry = HistoryEntry.of(step.index, known.ids, self.model.encode(maps, objects, background))
        if self.model.config.hold_lost_objects:
            entry = hold_lost(entry, masks[0], known.ring)
        if decoded.cue is not None:
            given = decoded.cue.reference if decoded.cue.given is None else decoded.cue.given
            measures = agreements(given[0], masks[0, : len(decoded.object_ids)])
            found.agreement = dict(zip(decoded.object_ids, measures, strict=True))
        found.change = changes(known.looks, known.ids, entry.objects, entry.background)
        for object_id in reference:  # these measures are only for masks that the network found
            for measure in (found.cut_off, found.agreement, found.change):
                measure.pop(object_id, None)
        known.ring.put(entry)
        if self.matching:
            known.memory.remember(maps, known.ids, masks[0], reference=tuple(reference))
            known.motion.observe(known.ids, masks[0], step.time)
        return labels, found

    def _settled(self, logits: Tensor) -> Tensor:
        """The logits from which a frame's masks and its history entry are made; a subclass may change them."""
        return logits

    def _labels(self, decoded: Decoded, geometry: Geometry) -> tuple[np.ndarray, dict[int, float]]:
        """The label map at the frame's own size, and the mean probability inside each object's mask."""
        probabilities = resize(decoded.logits, geometry.padded).softmax(dim=1)
        return label_map(probabilities, geometry, list(decoded.object_ids))


def placed(model: Hodor, device: torch.device) -> Hodor:
    """The model in evaluation mode on a device: the model itself if it already is, otherwise a copy."""
    if model.training or any(parameter.device != device for parameter in model.parameters()):
        model = copy.deepcopy(model).eval()
    # Channels last in memory: convolutions on a CPU, and attention everywhere, read a pixel's channels together.
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


__all__ = ["FrameDescriptors", "ObjectResult", "Segmenter", "StepResult"]
