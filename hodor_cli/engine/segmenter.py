"""Following objects through a video, one frame at a time, with constant memory (HODOR, sec. 3.4)."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from hodor_cli.engine.history import HistoryRing
from hodor_cli.engine.masks import Masks, reference_masks_by_id
from hodor_cli.engine.network import Network
from hodor_cli.engine.planned import PlannedStep
from hodor_cli.engine.resolution import WorkingResolution
from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.engine.state import STATE_VERSION, Followed, Watches, check_state
from hodor_cli.engine.step import FrameStep
from hodor_cli.engine.step_result import FrameDescriptors, StepResult
from hodor_cli.errors import InputError, UsageError, not_a_network
from hodor_cli.images.paths import size_text
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import autocast, choose_device, choose_precision, placed
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.runtime.preprocess import Geometry, Scalable, frame_fault


class Segmenter:
    """Follows objects through frames given one by one.

    An object may start in any frame. A later mask for its id corrects it from there on; `remove` or an empty mask ends
    it. Ids are the user's and are never renumbered. Memory does not grow with the video.

        segmenter = Segmenter(load_model("mini"))
        labels = segmenter.step(first_frame, masks=first_labels)  # (H, W) uint16 ids
        labels = segmenter.step(second_frame)

    Args:
        model: the network, such as `load_model` returns. If it is on another device than `device`, in another dtype
            than float32, or in training mode, the segmenter works with a copy.
        history: how many frames before the newest one are kept to decode from (7 is best in the paper).
        min_dim, max_dim: working resolution in pixels; None for the model's own, which is finer while the objects are
            small.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        matching: whether to use the correspondence cue of models that have one, besides the descriptors.
    """

    def __init__(
        self,
        model: Hodor,
        *,
        history: int = SegmenterSettings.history,
        min_dim: int | None = SegmenterSettings.min_dim,
        max_dim: int | None = SegmenterSettings.max_dim,
        device: str | torch.device = SegmenterSettings.device,
        precision: str = SegmenterSettings.precision,
        matching: bool = SegmenterSettings.matching,
    ) -> None:
        if not isinstance(model, torch.nn.Module) or not hasattr(model, "config"):
            raise not_a_network(model)
        settings = SegmenterSettings(history, min_dim, max_dim, str(device), precision, matching)
        self.device = choose_device(device)
        self.dtype = choose_precision(settings.precision, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.model = placed(model, self.device)
        self.history, self.matching = settings.history, settings.matching
        #: (min_dim, max_dim) for large, medium-sized, small and tiny objects.
        self.sides = model.config.resolutions(settings.min_dim, settings.max_dim, matching=settings.matching)
        self.network = Network(self.model, self.device, self.dtype, matching=self.matching)
        #: By name; their states are saved under `watch/NAME/`.
        self.watches = Watches()
        self.reset()

    def __repr__(self) -> str:
        name, ids = self.model.config.name, self.object_ids
        return f"Segmenter({name}, history={self.history}, device={str(self.device)!r}, object_ids={ids})"

    def reset(self) -> None:
        """Forget all objects and frames."""
        self.last = StepResult()
        self._next_frame = 0
        self._geometry: Geometry | None = None
        self._known = Followed(HistoryRing(self.history))
        self._planned: PlannedStep | None = None
        self._resolution = WorkingResolution(self.sides)

    @property
    def min_dim(self) -> int:
        """The shorter side of the network's input, in pixels."""
        return self._resolution.min_dim

    @property
    def max_dim(self) -> int:
        """The limit of its longer side."""
        return self._resolution.max_dim

    @property
    def object_ids(self) -> list[int]:
        """The ids of the objects that are followed."""
        return list(self._known.ids)

    @torch.inference_mode()
    def step(
        self, frame: np.ndarray | Scalable, masks: Masks | None = None, *, time: float | None = None
    ) -> np.ndarray:
        """Segment the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB, or a picture that scales itself; all frames have the same size.
            masks: reference masks given in this frame: a label map (H, W) of object ids, or {id: (H, W) bool}, or None.
                They say nothing about other objects. A correction does not change the masks of other objects, except
                where they overlap with it; an object that starts takes part in decoding the frame, as in the paper. An
                empty mask means that a followed object is gone, and ends it.
            time: when the frame was taken, in seconds; the longer since the previous frame, the farther objects may
                have moved. None: consecutive frames of ordinary video.
        Returns:
            Label map (H, W) uint16, 0 for background; reference masks appear in it exactly as given. `last` has more.
        Raises:
            InputError if the frame, a mask or the time cannot be used. WeightsError or DeviceError if the network
            returns NaN or infinite values. After any exception the state is unchanged.
        """
        geometry, index = self._geometry_of(frame), self._next_frame
        given: dict[int, np.ndarray] = {}
        if masks is not None:
            given = reference_masks_by_id(masks, size=geometry.original, frame=index, followed=self._known.ids)
        started = clock.perf_counter()
        before, resolution, self._known = self._known, self._resolution, self._known.copy()
        warnings: list[str] = []
        try:
            geometry = self._change_resolution(self._choose_resolution(geometry, given, warnings))
            for object_id in [key for key, mask in given.items() if not mask.any()]:
                self.remove(object_id)
                del given[object_id]
            if given or self._known.ids:
                with autocast(self.device, self.dtype):
                    maps, ahead = self.network.prepared(frame, geometry)
                    result = FrameStep(
                        self.network, self._known, self._planned, index, time, geometry, maps, ahead, given, warnings
                    ).result()
            else:
                result = StepResult(labels=np.zeros(geometry.original, dtype=np.uint16))
            last = replace(result, warnings=warnings, network_seconds=clock.perf_counter() - started)
            self._geometry, self._next_frame, self.last = geometry, index + 1, last
        except BaseException:  # out of memory, or interrupted
            if self._next_frame == index:
                self._known, self._resolution = before, resolution
            raise
        return result.labels

    def expect(self, frame: np.ndarray | Scalable) -> None:
        """Start to prepare a frame during the step before it, if there is a second thread; see `LookAhead`."""
        if self._geometry is not None and self._geometry.original == frame.shape[:2]:
            self.network.expect(frame, self._geometry, self._known)

    def remove(self, object_id: int) -> None:
        """Stop following an object; a later mask starts it again. Raises UsageError if it is not being followed."""
        if object_id not in self.object_ids:
            raise UsageError(f"object {object_id} is not followed; the ids are {self.object_ids or 'none'}")
        self._known.remove(object_id)

    def start_from(self, objects: Mapping[int, np.ndarray], background: np.ndarray | None = None) -> None:
        """Follow objects given by saved descriptors instead of masks; call it before the first step.

        Args:
            objects: {id: (D,) or (K, D)}: one or more descriptors of each object.
            background: (9, D) descriptors of a scene, or None.
        Raises:
            UsageError if objects are already being followed, InputError for descriptors of another size.
        """
        if self._known.ids or not isinstance(objects, Mapping) or not objects:
            raise UsageError(
                "give descriptors of at least one object, as {id: descriptors}, before any object is followed"
            )
        self._known.start_from(objects, background, self.model, self.device)

    def descriptors(self) -> FrameDescriptors:
        """Descriptors of the newest frame, as they entered the history; empty if nothing was followed in it."""
        newest = [entry for entry in self._known.ring.entries[-1:] if entry.frame == self._next_frame - 1]
        return newest[0].descriptors() if newest else FrameDescriptors({}, None)

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next step depends on, as arrays that `np.savez` can write; about 2 MB."""
        return {
            "version": np.array(STATE_VERSION),
            "model": np.array(self.model.config.name),
            "next_frame": np.array(self._next_frame),
            "size": np.array((0, 0) if self._geometry is None else self._geometry.original),
            "resolution": self._resolution.pack(),
            **self._known.pack(),
            **self.watches.pack(),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of `state`, or from a file of it that `np.savez` wrote and `np.load` has opened.

        Raises InputError, and changes nothing, if it is not a state, is damaged, or was made with another architecture
        or working resolution.
        """
        try:
            height, width = (int(n) for n in state.get("size", (0, 0)))
            resolution = WorkingResolution.unpack(self.sides, state.get("resolution"))
            geometry = resolution.geometry((height, width)) if height else None
            check_state(state, self.model.config, geometry if self.matching else None)
            known = Followed.unpack(state, self.history, self.device, matching=self.matching)
            next_frame = int(state["next_frame"])
        except InputError:
            raise
        except Exception as error:  # other objects, and damaged data, can raise any kind of exception
            raise InputError(
                f"this {type(state).__name__} is not a segmenter state, or is damaged ({error}); give the arrays that"
                " `state` returned, or the file that `np.load` opened"
            ) from error
        self.last, self._known, self._next_frame = StepResult(), known, next_frame
        self._geometry, self._resolution = geometry, resolution
        self.watches.unpack(state)

    def _geometry_of(self, frame: np.ndarray | Scalable) -> Geometry:
        """How a frame becomes the network's input. Raises InputError if it is no frame, or of another size."""
        if not hasattr(frame, "scaled") and (wrong := frame_fault(frame)):
            raise InputError(wrong)
        size = (frame.shape[0], frame.shape[1])
        if self._geometry is not None and self._geometry.original != size:
            raise InputError(
                f"frame {self._next_frame} is {size_text(size)} and those before it are"
                f" {size_text(self._geometry.original)}; give frames of one size or reset the segmenter"
            )
        return self._resolution.geometry(size)

    def _choose_resolution(self, geometry: Geometry, given: Mapping[int, np.ndarray], warnings: list[str]) -> Geometry:
        """The frame's geometry, which is finer if the first masks are small; `warnings` then says so."""
        if self._known.ids:
            return geometry
        self._resolution = self._resolution.for_masks(given.values())
        finer = self._resolution.geometry(geometry.original)
        if finer != geometry:
            warnings.append(self._resolution.notice(usual=geometry))
        return finer

    def _change_resolution(self, geometry: Geometry) -> Geometry:
        """The frame's geometry, after a change of resolution if the objects have grown or shrunk."""
        previous = self._known.memory.previous
        if previous is None or self._resolution.chosen is None:
            return geometry
        self._resolution = self._resolution.following(previous.areas.values(), geometry)
        new = self._resolution.geometry(geometry.original)
        if new != geometry:
            self._known.resize(geometry, new, self.model.matcher)
        return new
