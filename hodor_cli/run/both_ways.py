"""Prepares a run in both directions: encodes all given masks and makes the passes backward.

The loop then goes forward as in any run, and the segmenter joins its results with the soft maps in `.progress`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.files import writing
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.settings import RunHooks
from hodor_cli.video.frames import FrameSource


class _MasksOfRun(Mapping[int, NDArray[np.integer]]):
    """Frame -> label map, unpacked at each use; masks of boxes and clicks are computed once."""

    def __init__(self, source: FrameSource, inputs: RunInputs) -> None:
        self._inputs = inputs
        self._boxed: dict[int, tuple[bytes, tuple[int, ...]]] = {}
        for index in {*inputs.boxes, *inputs.clicks}:
            for frame in source.between(index, index + 1):
                labels = inputs.at(frame).labels
                if labels is not None:
                    self._boxed[index] = (zlib.compress(labels.tobytes(), 1), labels.shape)

    def __getitem__(self, frame: int) -> NDArray[np.integer]:
        if frame in self._boxed:
            packed, shape = self._boxed[frame]
            return np.frombuffer(zlib.decompress(packed), np.uint16).reshape(shape)
        labels = self._inputs.labels(frame)
        if labels is None:
            raise KeyError(frame)
        return labels

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({*self._boxed, *self._inputs.masks}))

    def __len__(self) -> int:
        return len({*self._boxed, *self._inputs.masks})


def able_to_go_back(source: FrameSource, segmenter: Any) -> bool:
    """Whether frames can be read again and the segmenter can follow objects backward."""
    return source.reiterable and hasattr(segmenter, "backward") and not segmenter.object_ids


def goes_both_ways(source: FrameSource, inputs: RunInputs, segmenter: Any) -> bool:
    """Whether the run needs both directions: a mask is given after the first frame, and `able_to_go_back`.

    The frames of a camera or a pipe come only once, so there a mask is used only from its frame on.
    """
    return able_to_go_back(source, segmenter) and set(inputs.starts) != {source.start}


def follow_backward(
    source: FrameSource, inputs: RunInputs, segmenter: Any, folder: OutputFolder, hooks: RunHooks
) -> RunHooks:
    """Encode all masks and make the passes backward that are not finished; the segmenter can then go forward.

    Returns the hooks for the loop, whose progress includes the frames of the passes backward.
    """
    from hodor_cli.engine.following import GivenMasks, encode_masks, pass_backward
    from hodor_cli.engine.soft_maps import MapFolder

    given = GivenMasks(_MasksOfRun(source, inputs), inputs.removals, inputs.appears)
    with writing(folder.root):
        maps = MapFolder(folder.backward)
    segmenter.plan(given.plan, first=source.start, maps=maps)
    encode_masks(segmenter, source, given)
    stretches = list(given.plan.stretches(source.start, inputs.starts[-1]))
    behind = sum(top - bottom + 1 for bottom, top in stretches)
    done = 0
    for bottom, top in stretches:
        if bottom not in maps:  # `bottom` is a pass's last frame, so the pass is unfinished and is made again
            with writing(folder.root):
                for _ in pass_backward(segmenter, source, given, (bottom, top)):
                    done += 1
                    if hooks.progress:
                        hooks.progress(done, None if source.length is None else behind + source.length)
        else:
            done += top - bottom + 1
    return counting_from(behind, hooks)


def counting_from(behind: int, hooks: RunHooks) -> RunHooks:
    """Hooks whose progress counts frames done before as well."""
    shown = hooks.progress
    if shown is None:
        return hooks
    return replace(hooks, progress=lambda done, total: shown(behind + done, None if total is None else behind + total))
