"""Prepares a run in both directions: encodes all given masks and makes the passes backward.

The loop then goes forward as in any run, and the segmenter joins its results with the soft maps in `.progress`.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hodor_cli.files import writing
from hodor_cli.run.inputs import Labels, RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.settings import RunHooks
from hodor_cli.video.frames import FrameSource

if TYPE_CHECKING:
    from hodor_cli.engine.following import GivenMasks


class _Packed:
    """A label map (H, W), compressed."""

    def __init__(self, labels: Labels) -> None:
        self._data, self._shape = zlib.compress(labels.tobytes(), 1), labels.shape

    @property
    def labels(self) -> Labels:
        return np.frombuffer(zlib.decompress(self._data), np.uint16).reshape(self._shape)


def able_to_go_back(source: FrameSource, segmenter: Any) -> bool:
    """Whether frames can be read again and the segmenter can follow objects backward."""
    return source.reiterable and hasattr(segmenter, "backward") and not segmenter.object_ids


def follow_backward(
    source: FrameSource, inputs: RunInputs, segmenter: Any, folder: OutputFolder, hooks: RunHooks
) -> RunHooks:
    """Encode all masks and make the passes backward that are not finished; the segmenter can then go forward.

    Returns the hooks for the loop, whose progress includes the frames of the passes backward.
    """
    from hodor_cli.engine.following import GivenMasks, encode_masks
    from hodor_cli.engine.soft_maps import MapFolder

    masks = dict(inputs.masks)
    for at in {*inputs.boxes, *inputs.clicks}:
        for frame in source.between(at, at + 1):
            labels = inputs.at(frame).labels
            if labels is not None:
                masks[at] = _Packed(labels)
    given = GivenMasks(masks, inputs.removals, inputs.appears)
    with writing(folder.root):
        maps = MapFolder(folder.backward)
    segmenter.plan(given.plan, first=source.start, maps=maps)
    encode_masks(segmenter, source, given)
    stretches = list(given.plan.stretches(source.start, inputs.starts[-1]))
    with writing(folder.root):
        return counting_from(make_passes(segmenter, source, given, stretches, maps, hooks, source.length), hooks)


def make_passes(
    segmenter: Any,
    source: FrameSource,
    given: GivenMasks,
    stretches: Sequence[tuple[int, int]],
    maps: Collection[int],
    hooks: RunHooks,
    ahead: int | None,
) -> int:
    """Make the passes backward that are not finished; returns their number of frames. ahead: the frames to come."""
    from hodor_cli.engine.following import pass_backward

    behind, done = sum(top - bottom + 1 for bottom, top in stretches), 0
    for bottom, top in stretches:
        if bottom in maps:  # a pass's last frame: it is finished
            done += top - bottom + 1
            continue
        for _ in pass_backward(segmenter, source, given, (bottom, top)):
            done += 1
            if hooks.progress:
                hooks.progress(done, None if ahead is None else behind + ahead)
    return behind


def counting_from(behind: int, hooks: RunHooks) -> RunHooks:
    """Hooks whose progress counts frames done before as well."""
    shown = hooks.progress
    if shown is None:
        return hooks
    return replace(hooks, progress=lambda done, total: shown(behind + done, None if total is None else behind + total))
