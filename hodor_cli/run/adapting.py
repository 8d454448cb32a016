"""Adapting a network to the frames of a source whose masks were given, before the source is followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hodor_cli.run.inputs import given_examples
from hodor_cli.run.settings import Box, SegmentSettings
from hodor_cli.video.source import FrameSource

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor
    from hodor_cli.training.adaptation import AdaptProgress


def adapted_to_given(
    model: Hodor,
    source: FrameSource,
    masks: Mapping[int, Any],
    boxes: Mapping[int, Mapping[int, Box]],
    budget: str,
    settings: SegmentSettings,
    *,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> tuple[Hodor, SegmentSettings]:
    """A copy of the model adapted to these masks and boxes (as `segment_source` takes them), or the cached one; and the
    settings to run it with, which name the resolution of adapted runs unless they named one before.

    budget: `60s` or `200steps`. Raises UsageError for another budget or a source that can be read only once, InputError
    for masks that do not fit.
    """
    from hodor_cli.run.runner import make_segmenter
    from hodor_cli.training.adaptation import Budget, default_cache

    parsed = Budget.parse(budget)
    segmenter = make_segmenter(model, settings)
    segmenter.adapt(given_examples(source, masks, boxes), parsed, cache=default_cache(), progress=progress)
    return segmenter.model, replace(settings, min_dim=segmenter.min_dim, max_dim=segmenter.max_dim)
