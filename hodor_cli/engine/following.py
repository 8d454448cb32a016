"""Segments a video whose masks are all known beforehand, forward and backward: frames and masks in, label maps out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter

import numpy as np
from numpy.typing import ArrayLike

from hodor_cli.engine.ahead import LookAhead
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.masks import Masks, check_object_id
from hodor_cli.engine.plan import Plan
from hodor_cli.engine.soft_maps import PackedMaps
from hodor_cli.engine.step_result import StepResult
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import array_of, ids_in
from hodor_cli.video.frames import FrameSource, backwards
from hodor_cli.video.yuv import YuvPicture

#: A source that can be read more than once, or RGB frames (H, W, 3) uint8 by index.
Footage = FrameSource | Sequence[np.ndarray]
#: Index, image, and time in seconds (None: consecutive frames of ordinary video).
NumberedFrame = tuple[int, np.ndarray | YuvPicture, "float | None"]


@dataclass(frozen=True)
class GivenMasks:
    """Everything known beforehand about a video's objects, by frame index.

    masks: frame -> label map (H, W) of object ids, an object that `np.asarray` unpacks to one, or {id: (H, W) bool}.
        Masks say nothing about objects that are not in them; an empty mask means that the object is absent until its
        next mask.
    ended: frame -> ids that are absent from that frame on, as with an empty mask.
    appears: id -> frame of its first mask; the object is not looked for before it.
    """

    masks: Mapping[int, ArrayLike | Mapping[int, np.ndarray]]
    ended: Mapping[int, Iterable[int]] = field(default_factory=dict)
    appears: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def plan(self) -> Plan:
        """The plan for these masks. Raises InputError for invalid ids, UsageError if masks contradict `ended`."""
        marked: dict[int, frozenset[int]] = {}
        ended = {frame: frozenset(ids) for frame, ids in self.ended.items()}
        for frame in sorted(self.masks):
            masks = self._given(frame)
            if isinstance(masks, Mapping):
                for key in masks:
                    check_object_id(key, f"in frame {frame}")
                present = frozenset(int(i) for i, mask in masks.items() if np.any(mask))
                empty = frozenset(map(int, masks)) - present
            else:
                present, empty = frozenset(ids_in(masks)), frozenset()
            if present:
                marked[frame] = present
            if empty:
                ended[frame] = ended.get(frame, frozenset()) | empty
        for frame, ids in marked.items():
            for object_id in ids & ended.get(frame, frozenset()):
                raise UsageError(
                    f"object {object_id} has a mask in frame {frame} but is absent from there on; give only one of them"
                )
        return Plan(marked, ended, dict(self.appears))

    def at(self, frame: int) -> Masks | None:
        """The masks of a frame, without empty ones; None if there are none."""
        masks = self._given(frame)
        if isinstance(masks, Mapping):
            return {object_id: mask for object_id, mask in masks.items() if np.any(mask)} or None
        return masks if masks is not None and np.any(masks) else None

    def _given(self, frame: int) -> Masks | None:
        given = self.masks.get(frame)
        if given is None or isinstance(given, Mapping):
            return given
        return array_of(given, f"the label map of frame {frame}")


@dataclass(frozen=True)
class FollowedFrame:
    """The result for a frame: its index, the label map (H, W) uint16, and details for each object.

    final: False for a preview from the pass backward, which the pass forward replaces later.
    """

    frame: int
    labels: np.ndarray
    result: StepResult
    final: bool = True


def follow(
    segmenter: OfflineSegmenter,
    footage: Footage,
    given: GivenMasks | Mapping[int, ArrayLike | Mapping[int, np.ndarray]],
    *,
    frames: tuple[int, int | None] = (0, None),
    preview: bool = False,
    maps: PackedMaps | None = None,
) -> Iterator[FollowedFrame]:
    """Follow objects from all given masks, and yield the result of one frame after the other.

        frames = [read_picture(file) for file in sorted(Path("clip").glob("*.jpg"))]
        given = {0: first_labels, 40: {1: corrected_mask}}
        segmenter = OfflineSegmenter(load_model("mini"))
        for found in follow(segmenter, frames, given):
            show(found.frame, found.labels)

    Args:
        segmenter: holds the network and the settings; it is reset.
        footage: a `FrameSource` that can be read again (files, folders), or a sequence of frames.
        given: the masks, and where objects end and appear.
        frames: the first and the last frame to segment (None: the video's last). Masks outside this range still serve
            as references.
        preview: yield the results of the pass backward first, from the last frame on (`final` is False).
        maps: where the pass backward stores its soft maps, a few KB per frame: in memory if None, in files with a
            `MapFolder`.

    Raises:
        UsageError for another segmenter, or a source that can be read only once. InputError for invalid masks or
        frames.
    """
    if not isinstance(segmenter, OfflineSegmenter):
        raise UsageError(f"`segmenter` is a {type(segmenter).__name__}; give an OfflineSegmenter")
    if isinstance(footage, FrameSource) and not footage.reiterable:
        raise UsageError(
            f"the frames of {footage.label} can be read only once and not backward; save the video to a file first"
        )
    known = given if isinstance(given, GivenMasks) else GivenMasks(given)
    plan = known.plan
    if not plan.marked:
        raise UsageError("there is no object to follow; give at least one mask")
    first, last = frames[0], _last_frame(footage)
    end = last if frames[1] is None else min(frames[1], last)
    if min(first, *plan.marked) < 0:
        raise InputError(f"frame {min(first, *plan.marked)} is negative; number frames from 0")
    # A source that ends earlier than planned, such as a damaged file, may leave masks unused.
    if max(plan.marked) > last and (frames[1] is None or not isinstance(footage, FrameSource)):
        raise InputError(
            f"a mask is given for frame {max(plan.marked)}, but the last frame is {last}; number frames from 0"
        )
    segmenter.plan(plan, first=first, maps=maps)
    encode_masks(segmenter, footage, known)
    for stretch in plan.stretches(first, end):
        for found in pass_backward(segmenter, footage, known, stretch, shown=preview):
            if preview and found.frame <= end:
                yield found
    with LookAhead(_read(footage, first, end), segmenter, itemgetter(1)) as numbered:
        for index, image, time in numbered:
            segmenter.step(image, known.at(index), time=time)
            yield FollowedFrame(index, segmenter.last.labels, segmenter.last)


def encode_masks(segmenter: OfflineSegmenter, footage: Footage, given: GivenMasks) -> None:
    """Encode the masked frames that serve as references."""
    for frame in filter(given.plan.serves, sorted(given.plan.marked)):
        masks = given.at(frame)
        for index, image, _ in _read(footage, frame, frame):
            assert masks is not None
            segmenter.encode(index, image, masks)


def pass_backward(
    segmenter: OfflineSegmenter,
    footage: Footage,
    given: GivenMasks,
    stretch: tuple[int, int],
    *,
    shown: bool = False,
) -> Iterator[FollowedFrame]:
    """Go backward through one of the plan's ranges (bottom, top), and store soft maps for the pass forward.

    Yields the frames from top to bottom; their label maps are empty unless `shown`.
    """
    bottom, top = stretch
    reverse = segmenter.backward(top, shown=shown)
    with LookAhead(_read(footage, bottom, top, backward=True), reverse, itemgetter(1)) as numbered:
        for index, image, time in numbered:
            reverse.step(image, given.at(index), time=None if time is None else -time)
            yield FollowedFrame(index, reverse.last.labels, reverse.last, final=False)


def passes_backward(
    segmenter: OfflineSegmenter,
    footage: Footage,
    given: GivenMasks,
    stretches: Sequence[tuple[int, int]],
    maps: PackedMaps,
    *,
    progress: Callable[[int, int], object],
) -> int:
    """Encode all masks and run the passes backward through these ranges, except finished ones.

    maps: where the segmenter stores soft maps. progress: called with the number of frames done, and of all frames.
    Returns the number of all frames.
    """
    encode_masks(segmenter, footage, given)
    done, count = 0, sum(top - bottom + 1 for bottom, top in stretches)
    for bottom, top in stretches:
        if bottom in maps:  # the pass has reached its last frame
            done += top - bottom + 1
            continue
        for _ in pass_backward(segmenter, footage, given, (bottom, top)):
            done += 1
            progress(done, count)
    return count


def _read(footage: Footage, first: int, last: int, *, backward: bool = False) -> Iterator[NumberedFrame]:
    """The frames first..last, or last..first."""
    if isinstance(footage, FrameSource):
        frames = backwards(footage, first, last + 1) if backward else footage.between(first, last + 1)
        yield from ((frame.index, frame.picture, frame.time) for frame in frames)
        return
    for index in range(last, first - 1, -1) if backward else range(first, last + 1):
        yield index, np.asarray(footage[index]), None


def _last_frame(footage: Footage) -> int:
    if not isinstance(footage, FrameSource):
        return len(footage) - 1
    count = footage.count_up_to(1 << 30) if footage.end is None else footage.end
    return (footage.start + (footage.length or 1) if count is None else count) - 1
