"""What a plan adds to a step: its result is stored for the other direction, or joined with the result of that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from hodor_cli.engine.labels import areas
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.plan import Plan
from hodor_cli.engine.references import References
from hodor_cli.engine.soft_maps import PackedMaps, SoftMap
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult
from hodor_cli.images.label_png import ids_in
from hodor_cli.model.types import Descriptors
from hodor_cli.runtime.preprocess import Geometry


@dataclass
class PlannedStep:
    """A step of a plan. Objects take no part in decoding the frame in which their mask is given.

    references: the masked frames. backward: whether it is a step of a pass backward. later: what that pass stored for
    the frame, for a step forward. shows: whether the step makes a label map of what it finds; else of given masks.
    own: the soft map that the step makes. disagreement: of both passes, by object id.
    """

    frame: int
    plan: Plan
    references: References
    backward: bool
    shows: bool
    later: SoftMap | None
    own: SoftMap | None = None
    disagreement: Mapping[int, float] = field(default_factory=dict)

    def fitted(self, object_ids: list[int]) -> Descriptors | None:
        """The frame's descriptors as encoded for the plan, if for the same objects; fitting them took seconds."""
        known = self.references.entry(self.frame, set(object_ids)) if self.frame in self.references else None
        if known is None or known.background is None or list(known.object_ids) != object_ids:
            return None
        return Descriptors(known.objects[None], known.background[None])

    def final_logits(self, object_ids: ObjectIds, logits: Tensor) -> Tensor:
        """The logits (1, 10 + I, h, w) from which the frame's masks and its history entry are made."""
        if self.later is None and not self.backward:
            return logits
        self.own = SoftMap.of(object_ids, logits)
        if self.later is None:
            return logits
        self.own, self.disagreement = self.own.joined(self.later, self.plan.shares(object_ids, self.frame))
        return self.own.logits(object_ids, logits)

    def store(self, maps: PackedMaps, found: StepResult, descriptors: FrameDescriptors, time: float | None) -> None:
        """Store the result of a step backward for the step forward, unless all masks of the frame are given."""
        if self.own is not None:
            measures = {key: (one.cut_off, one.agreement, one.change) for key, one in found.objects.items()}
            maps[self.frame] = replace(self.own, measures=measures, descriptors=descriptors, time=time).pack()

    def joined(self, later: SoftMap, own: StepResult, geometry: Geometry, *, has_given: bool) -> StepResult:
        """The result of a step forward, whose label map has only given masks, joined with that of the pass backward."""
        soft = self.own or later
        labels, confidence = soft.labels(geometry)
        given = ids_in(own.labels) if has_given else []
        for object_id in given:
            labels[labels == object_id] = 0
            labels[own.labels == object_id] = object_id
            confidence[object_id] = 1.0
        objects = {}
        for object_id, area in areas(labels, list(soft.object_ids.adding(own.objects))).items():
            entry = own.objects.get(object_id) or ObjectResult(0, 0.0, True, *soft.measures.get(object_id, ()))
            objects[object_id] = replace(
                entry,
                area=area,
                confidence=confidence.get(object_id, 0.0),
                lost=not area,
                disagreement=None if object_id in given else self.disagreement.get(object_id),
            )
        return replace(own, labels=labels, objects=objects)
