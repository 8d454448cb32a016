"""The plan of an offline run: which masks are given in which frames, and from which of them each frame is decoded."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby


@dataclass(frozen=True)
class Around:
    """An object's nearest masked frame at or before a frame, and the nearest at or after it; None if there is none."""

    before: int | None
    after: int | None

    def nearness(self, frame: int) -> float:
        """A frame's position between the two masks: 0 at the earlier, 1 at the later; with one mask, that mask's."""
        if self.before is None or self.after is None:
            return 0.0 if self.after is None else 1.0
        return (frame - self.before) / max(self.after - self.before, 1)


@dataclass(frozen=True)
class Plan:
    """The frames in which masks are given for a video, and where objects end and appear. Frames count from 0.

    marked: frame -> ids with a mask in it. ended: frame -> ids that are absent from it on, until their next mask.
    appears: id -> frame of its first mask; the object is not looked for before it.

    An object is followed forward from each of its masks to the frame where it ends, and backward from each of its masks
    to the previous mask or end, or to the first frame. Its references in a frame are its nearest masks before and after
    it, so a mask changes only the frames between its neighbours.
    """

    marked: Mapping[int, frozenset[int]]
    ended: Mapping[int, frozenset[int]] = field(default_factory=dict)
    appears: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def object_ids(self) -> list[int]:
        """All ids that have a mask."""
        return sorted({object_id for ids in self.marked.values() for object_id in ids})

    @cached_property
    def _marks(self) -> dict[int, list[int]]:
        return {i: sorted(frame for frame, ids in self.marked.items() if i in ids) for i in self.object_ids}

    @cached_property
    def _ends(self) -> dict[int, list[int]]:
        return {i: sorted(frame for frame, ids in self.ended.items() if i in ids) for i in self.object_ids}

    def references(self, object_id: int, frame: int) -> Around:
        """An object's nearest masks, even if it is not followed from them to this frame."""
        marks = self._marks[object_id]
        index = bisect_left(marks, frame)
        after = marks[index] if index < len(marks) else None
        return Around(after if after == frame else marks[index - 1] if index else None, after)

    def passed(self, object_id: int, frame: int, direction: int) -> Around:
        """The last of an object's masks that a pass forward (1) or backward (-1) has passed when it reaches a frame."""
        if direction > 0:
            return Around(self.references(object_id, frame - 1).before, None)
        return Around(None, self.references(object_id, frame + 1).after)

    def followed(self, object_id: int, frame: int) -> Around:
        """The masks from which an object is followed to a frame: forward from `before`, backward from `after`."""
        around, ends = self.references(object_id, frame), self._ends[object_id]
        last = bisect_right(ends, frame)
        ended = ends[last - 1] if last else -1
        before, after = around.before, around.after
        if before is not None and ended > before:
            before = None
        if after is not None and after != frame:
            gone = ended >= 0 and (around.before is None or ended > around.before)
            between = last < len(ends) and ends[last] < after
            if gone or between or self.appears.get(object_id) == after:
                after = None
        return Around(before, after)

    def forward(self, frame: int) -> list[int]:
        """The objects that are followed forward to a frame, or marked in it."""
        return [i for i in self.object_ids if self.followed(i, frame).before is not None]

    def backward(self, frame: int) -> list[int]:
        """The objects that are followed backward to a frame, or marked in it."""
        return [i for i in self.object_ids if self.followed(i, frame).after is not None]

    def serves(self, frame: int) -> bool:
        """Whether a frame's masks serve as references: not if both neighbouring frames have masks of its objects."""
        here, *neighbours = (self.marked.get(index, frozenset()) for index in (frame, frame - 1, frame + 1))
        return not all(ids >= here for ids in neighbours)

    def shares(self, object_ids: Iterable[int], frame: int) -> dict[int, float]:
        """The weight (0..1) of the pass backward for each object: how near the frame is to the object's later mask."""
        return {object_id: self.references(object_id, frame).nearness(frame) for object_id in object_ids}

    def stretches(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield (bottom, top) of each range of frames within first..last in which an object is followed backward, later
        ranges first. The first `top` may be after `last`."""
        last = min(last, max(self.marked, default=-1))
        reached = (self.followed(i, last).after for i in self.object_ids)
        start = max((mark for mark in reached if mark is not None), default=last)

        def is_followed(frame: int) -> bool:
            return any((after := self.followed(i, frame).after) is not None and after > frame for i in self.object_ids)

        for wanted, run in groupby(range(start, first - 1, -1), key=is_followed):
            if wanted:
                frames = list(run)
                yield frames[-1], frames[0] + 1
