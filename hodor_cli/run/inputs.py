"""The inputs of a run that start, correct and end objects: masks, boxes, clicks and removals by frame."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hodor_cli.clicks.shapes import owners
from hodor_cli.datasets.matching import require_frame
from hodor_cli.engine.masks import reference_masks_by_id
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import Box, array_of, ids_in
from hodor_cli.images.paths import listed
from hodor_cli.records import Click
from hodor_cli.run.prompted_masks import masks_from_prompts
from hodor_cli.run.prompts import check_box, check_click, check_clicks
from hodor_cli.video.frames import Frame, FrameSource

Labels = NDArray[np.uint16]


@dataclass(frozen=True)
class FrameInputs:
    """The inputs of one frame.

    labels: the label map for the segmenter, or None. given: the ids in it. removed: the ids of objects that end.
    box_masks: the masks made from `boxes` and `clicks`.
    """

    labels: Labels | None = None
    given: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    boxes: Mapping[int, Box] = field(default_factory=dict)
    clicks: Mapping[int, Sequence[Click]] = field(default_factory=dict)
    box_masks: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInputs:
    """The objects of a run, by frame index (from 0 in the source).

    A mask, a box or clicks start an object, or correct it if its id already exists. A removal ends an object until a
    later mask, box or click has its id. Clicks on an object with a mask or a box in the same frame correct that mask or
    box.

    masks: frame -> label map (H, W) of the frames' size whose values are object ids, or an object that `np.asarray`
        reads or unpacks to one.
    boxes: frame -> {object id: (x, y, width, height)}; the click network makes the masks during the run.
    clicks: frame -> {object id: its clicks (x, y) on it or (x, y, False) off it}, likewise.
    removals: frame -> ids of objects that are absent from this frame on.
    appears: id -> frame of its first mask; the object is not searched for in earlier frames.
    names: object id -> its name in the report and in exports.
    notes: how ambiguous masks were interpreted; the run reports them as warnings.
    """

    masks: Mapping[int, ArrayLike] = field(default_factory=dict)
    boxes: Mapping[int, Mapping[int, Box]] = field(default_factory=dict)
    removals: Mapping[int, Sequence[int]] = field(default_factory=dict)
    clicks: Mapping[int, Mapping[int, Sequence[Click]]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    appears: Mapping[int, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("masks", "boxes", "removals", "clicks", "names", "appears"):
            given = getattr(self, name)
            if not isinstance(given, Mapping) or not all(isinstance(key, (int, np.integer)) for key in given):
                raise UsageError(f"`{name}` must be a dict whose keys are whole numbers, such as masks={{0: labels}}")
        # Ids and frames are often NumPy's integers, which reports cannot store.
        object.__setattr__(self, "masks", {_plain(frame): given for frame, given in self.masks.items()})
        for name in ("boxes", "removals", "clicks", "names", "appears"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        clicks = {
            frame: {key: tuple(Click(*click) for click in clicks) for key, clicks in by_id.items()}
            for frame, by_id in self.clicks.items()
        }
        object.__setattr__(self, "clicks", clicks)

    @cached_property
    def starts(self) -> list[int]:
        """The frames with a mask, a box or clicks."""
        return sorted({*self.masks, *self.boxes, *self.clicks})

    @cached_property
    def object_ids(self) -> list[int]:
        """The ids of all masks, boxes and clicks."""
        return sorted({object_id for frame in self.starts for object_id in self.ids_of(frame)})

    def labels(self, frame: int) -> NDArray[np.integer] | None:
        """The label map given for a frame; None without one."""
        given = self.masks.get(frame)
        return None if given is None else array_of(given, f"the label map of frame {frame}")

    def check(self, source: FrameSource, *, known: Collection[int] = ()) -> None:
        """Raise UsageError or InputError if the inputs do not fit this source.

        known: ids that the segmenter already follows, so that they need no mask.
        """
        if not self.starts and not known:
            raise UsageError("there is no object to follow; give a `mask`, `box` or `click` (see `hodor look`)")
        height, width = source.height, source.width
        for frame in self.masks:
            reference_masks_by_id(np.asarray(self.labels(frame)), size=(height, width), frame=frame)
        for frame, boxes in self.boxes.items():
            for box in boxes.values():
                check_box(box, (height, width))
            if both := set(boxes).intersection(ids_in(self.labels(frame))):
                raise UsageError(f"object {min(both)} has a mask and a box in frame {frame}; give one of them")
        for frame, clicks in self.clicks.items():
            for click in chain.from_iterable(clicks.values()):
                check_click(click, (height, width))
            check_clicks(clicks, self.ids_of(frame, clicks=False), frame)
        self._check_removals(known)
        self._check_appearances()
        self._check_frames(source)

    def at(self, frame: Frame) -> FrameInputs:
        """The inputs of a frame.

        Where a mask made from a box or clicks overlaps a given mask, the given mask wins; where two made masks overlap,
        `owners` decides for each pixel.
        """
        labels, index = self.labels(frame.index), frame.index
        boxes, clicks = self.boxes.get(index, {}), self.clicks.get(index, {})
        removed = tuple(self.removals.get(index, ()))
        if not boxes and not clicks:
            given = None if labels is None else labels.astype(np.uint16)
            return FrameInputs(given, tuple(ids_in(given)), removed)
        joined = np.zeros(frame.image.shape[:2], np.uint16) if labels is None else labels.astype(np.uint16)
        corrected = {key: mask for key in clicks if (mask := joined == key).any()}
        masks = masks_from_prompts(frame.image, boxes, clicks, corrected)
        owner = owners(masks)
        for mask in corrected.values():
            joined[mask] = 0
        made: dict[int, NDArray[np.bool_]] = {}
        warnings = []
        for object_id, prompted in masks.items():
            found, mask = int(prompted.mask.sum()), (owner == object_id) & (joined == 0)
            if left := int(mask.sum()):
                made[object_id] = mask
                joined[mask] = object_id
            if 2 * left < found:
                prompt = "box" if object_id in boxes else "clicks"
                rest = f"mostly on other objects; only {left} pixels were" if left else "on other objects; it was not"
                warnings.append(f"the mask from the {prompt} of object {object_id} in frame {index} is {rest} used")
        given, ids = joined if joined.any() else None, tuple(ids_in(joined))
        return FrameInputs(given, ids, removed, dict(boxes), dict(clicks), made, tuple(warnings))

    def prompted(self, source: FrameSource) -> Iterator[tuple[int, Labels]]:
        """Read each frame with boxes or clicks; yield its index and its label map of given and made masks."""
        for start in sorted({*self.boxes, *self.clicks}):
            for frame in source.between(start, start + 1):
                if (labels := self.at(frame).labels) is not None:
                    yield start, labels

    def unused(self, first: int, last: int) -> list[int]:
        """The frames with inputs before the first or after the last frame of the run."""
        return sorted(frame for frame in {*self.starts, *self.removals} if not first <= frame <= last)

    def ids_of(self, frame: int, *, clicks: bool = True) -> set[int]:
        """The ids of the masks and boxes in a frame, and of the clicks if `clicks`."""
        clicked = self.clicks.get(frame, {}) if clicks else ()
        return {*ids_in(self.labels(frame)), *self.boxes.get(frame, {}), *clicked}

    def _check_appearances(self) -> None:
        for object_id, frame in self.appears.items():
            first = min((start for start in self.starts if object_id in self.ids_of(start)), default=None)
            if first != frame:
                why = f"its first mask or box is in frame {first}; name frame {first} instead, or add a mask to {frame}"
                why = f"it has no mask or box; add a mask to frame {frame}" if first is None else why
                raise UsageError(f"object {object_id} cannot appear in frame {frame}: {why}")

    def _check_frames(self, source: FrameSource) -> None:
        named = sorted({*self.starts, *self.removals})
        for frame in {*named[:1], *named[-1:]}:  # only two, because `has_frame` may have to count frames
            if not source.has_frame(frame):
                last = "the end" if source.end is None else source.end - 1
                what = "start an object in" if frame in self.starts else "remove an object in"
                known_length = source.exact_length and source.length is not None
                count = f" and has {source.length} frames" if known_length else ""
                raise InputError(
                    f"there is no frame {frame} to {what}; {source.label} has frames {source.start} to {last}{count}"
                )

    def _check_removals(self, known: Collection[int]) -> None:
        followed = set(known)
        for frame in sorted({*self.starts, *self.removals} if self.removals else ()):
            given = self.ids_of(frame)
            for object_id in self.removals.get(frame, ()):
                if object_id in given:
                    raise UsageError(f"object {object_id} is removed and has a mask or box in frame {frame}; give one")
                if object_id not in followed:
                    others = f"; the objects there are {listed(sorted(followed), 8)}" if followed else ""
                    before = [at for at, ids in self.removals.items() if at < frame and object_id in ids]
                    why = "no earlier frame marks it"
                    if before:
                        why = f"it is removed in frame {max(before)} already; leave this out, or mark it in between"
                    raise UsageError(f"object {object_id} cannot be removed in frame {frame}: {why}{others}")
                followed.discard(object_id)
            followed |= given


def _plain(value: Any) -> Any:
    """Mappings and sequences with Python's numbers in place of NumPy's; any other value as it is."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def removals_by_frame(arguments: Sequence[str], source: FrameSource) -> dict[int, list[int]]:
    """Parse texts "ID=FRAME" into frame -> ids of objects that are absent from that frame on.

    Raises UsageError for any other text, InputError for a frame after the end.
    """
    removals: dict[int, list[int]] = {}
    for object_id, frame in dict.fromkeys(ids_and_frames(arguments, source, "removal")):
        removals.setdefault(frame, []).append(object_id)
    return removals


def ids_and_frames(arguments: Sequence[str], source: FrameSource, what: str) -> Iterator[tuple[int, int]]:
    """Yield (object id, frame) from texts "ID=FRAME". Raises the same errors as `removals_by_frame`."""
    for argument in arguments:
        match = re.fullmatch(r"\s*(\d+)\s*=\s*(\d+)\s*", argument)
        if match is None:
            raise UsageError(f"{argument!r} is not a valid {what}; give ID=FRAME, for example 1=200")
        object_id, frame = (int(number) for number in match.groups())
        require_frame(frame, argument, source)
        yield object_id, frame
