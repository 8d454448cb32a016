"""Runs in both directions: all given masks are encoded and the passes backward made before the loop goes forward.

The passes backward store soft maps in `.progress`, with which the segmenter joins its results when it goes forward.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from hodor_cli.datasets.labels.combining import PackedLabels
from hodor_cli.engine.following import GivenMasks, encode_masks, pass_backward
from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.files import writing
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.settings import RunHooks
from hodor_cli.video.frames import FrameSource


def able_to_go_back(source: FrameSource, segmenter: Any) -> bool:
    """Whether frames can be read again and the segmenter can follow objects backward."""
    return source.reiterable and hasattr(segmenter, "backward") and not segmenter.object_ids


def follow_backward(
    source: FrameSource, inputs: RunInputs, segmenter: Any, folder: OutputFolder, hooks: RunHooks
) -> int:
    """Encode all masks and make the passes backward that are not finished; the segmenter can then go forward.

    Returns the number of frames of all passes backward.
    """
    masks = dict(inputs.masks)
    for at in {*inputs.boxes, *inputs.clicks}:
        for frame in source.between(at, at + 1):
            labels = inputs.at(frame).labels
            if labels is not None:
                masks[at] = PackedLabels(labels)
    given = GivenMasks(masks, inputs.removals, inputs.appears)
    with writing(folder.root):
        maps = MapFolder(folder.backward)
    segmenter.plan(given.plan, first=source.start, maps=maps)
    encode_masks(segmenter, source, given)
    stretches = list(given.plan.stretches(source.start, inputs.starts[-1]))
    with writing(folder.root):
        return make_passes(segmenter, source, given, stretches, maps, hooks, source.length)


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
