"""What starts objects in a run: masks and boxes by frame, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError, UsageError
from hodor_cli.run.settings import Box
from hodor_cli.video.source import Frame, FrameSource

Labels = NDArray[np.uint16]


class StartMasks:
    """Label maps and boxes, by frame index.

    `masks` maps a frame to its label map (H, W), or to something with `labels` (as `read_mask_arguments` gives it),
    which is unpacked when it is needed; `boxes` maps a frame to {object id: (x, y, width, height)}, which GrabCut turns
    into masks when the frame comes.
    """

    def __init__(self, masks: Mapping[int, Any], boxes: Mapping[int, Mapping[int, Box]]) -> None:
        self._masks, self.boxes = masks, boxes
        self.frames = sorted(set(masks) | set(boxes))
        ids = {int(key) for of in boxes.values() for key in of}
        for labels in map(self.labels, masks):
            ids.update([] if labels is None else np.unique(labels).tolist())
        self.object_ids = sorted(ids - {0})

    @property
    def mask_frames(self) -> list[int]:
        """The frames that have a mask (boxes aside)."""
        return sorted(self._masks)

    def labels(self, frame: int) -> Labels | None:
        """The label map given for a frame, None if there is none."""
        given = self._masks.get(frame)
        return None if given is None else np.asarray(getattr(given, "labels", given))

    def check(self, source: FrameSource, *, known: bool = False) -> None:
        """Raise UsageError or InputError if something cannot belong to this source.

        known: the segmenter follows objects already, so that masks may be absent.
        """
        if not self.frames and not known:
            raise UsageError("there is no object to follow; give at least one --mask or --box")
        height, width = source.height, source.width
        for frame in self._masks:
            labels = self.labels(frame)
            if labels is not None and labels.shape != (height, width):
                size = "x".join(str(side) for side in labels.shape[::-1])
                raise InputError(
                    f"the mask of frame {frame} is {size} and the frames are {width}x{height}; "
                    "give a mask of the frames' size"
                )
            if labels is None or not labels.any():
                raise InputError(f"the mask of frame {frame} is empty; mark at least one object in it")
        if self.boxes:
            from hodor_cli.run.box import check_box

            for boxes in self.boxes.values():
                for box in boxes.values():
                    check_box(box, (height, width))
        for frame in {*self.frames[:1], *self.frames[-1:]}:  # asking about a frame may mean counting up to it
            if not source.has_frame(frame):
                last = "the end" if source.end is None else source.end - 1
                raise InputError(
                    f"there is no frame {frame} to start an object in: {source.label} is read from frame "
                    f"{source.start} to {last}{_frame_count(source)}; frames count from 0"
                )

    def at(self, frame: Frame) -> tuple[Labels | None, dict[int, Box], dict[int, NDArray[np.bool_]]]:
        """What starts or corrects objects in this frame: the label map for the segmenter (None: nothing), the boxes,
        and the masks made from them. A given mask's pixels stay its own where a box's mask overlaps it."""
        labels, boxes = self.labels(frame.index), self.boxes.get(frame.index, {})
        if not boxes:
            return labels, {}, {}
        from hodor_cli.run.box import mask_from_box

        labels = np.zeros(frame.image.shape[:2], np.uint16) if labels is None else labels.astype(np.uint16)
        made = {}
        for object_id, box in boxes.items():
            made[object_id] = mask_from_box(frame.image, box) & (labels == 0)
            labels[made[object_id]] = object_id
        return labels, dict(boxes), made

    def unused(self, first: int, last: int) -> list[int]:
        """The frames of masks and boxes that did not come, given the first and last frame that did."""
        return [frame for frame in self.frames if not first <= frame <= last]


def given_examples(
    source: FrameSource, masks: Mapping[int, Any], boxes: Mapping[int, Mapping[int, Box]]
) -> list[tuple[NDArray[np.uint8], Labels]]:
    """The frames for which masks or boxes are given, each with its label map, read ahead of the run.

    Raises UsageError for a source whose frames come only once.
    """
    if not source.reiterable:
        raise UsageError(f"--adapt reads frames ahead, and those of {source.label} come only once; leave it out")
    start = StartMasks(masks, boxes)
    start.check(source)
    examples = []
    for frame in source:
        labels, _, _ = start.at(frame)
        if labels is not None and labels.any():
            examples.append((frame.image, labels))
        if frame.index >= start.frames[-1]:
            break
    return examples


def _frame_count(source: FrameSource) -> str:
    return f" and has {source.length} frames" if source.exact_length and source.length is not None else ""
