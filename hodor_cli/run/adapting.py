"""Adapts a network to the frames with given masks before a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hodor_cli.adaptation.settings import AdaptSettings, Budget
from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.errors import UsageError
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.video.frames import FrameSource

if TYPE_CHECKING:
    from hodor_cli.adaptation.settings import AdaptProgress
    from hodor_cli.model.hodor import Hodor

Settings = TypeVar("Settings", bound=SegmenterSettings)


def adapted_to_given(
    model: Hodor,
    source: FrameSource,
    inputs: RunInputs,
    budget: str,
    settings: SegmentSettings,
    *,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> tuple[Hodor, SegmentSettings]:
    """A copy of the model adapted to the masks and boxes of `inputs` (from the cache if possible), and the settings to
    run it with, which have the resolution of adapted runs unless the user chose one.

    budget: `60s` or `200steps`. Raises UsageError for another budget or a source that can be read only once, InputError
    for masks that do not fit.
    """
    from hodor_cli.adaptation.adapt import adapt, default_cache
    from hodor_cli.adaptation.examples import Example, Rgb, followed_after
    from hodor_cli.engine.segmenter import placed
    from hodor_cli.runtime.device import choose_device

    how, settings = adaptation(model, budget, settings, min(source.height, source.width))
    if not source.reiterable:
        raise UsageError(f"`adapt` reads frames ahead, and those of {source.label} come only once; leave it out")
    inputs.check(source)
    following = followed_after(inputs.starts)
    wanted = {index: mark for mark, indices in following.items() for index in indices}
    examples: dict[int, Example] = {}
    seen: dict[int, list[Rgb]] = {mark: [] for mark in following}
    for frame in source:
        given = inputs.at(frame).labels if frame.index in following else None
        if given is not None:
            examples[frame.index] = Example(frame.image, given, seen[frame.index])
        elif frame.index in wanted:
            seen[wanted[frame.index]].append(frame.image)
        if frame.index >= max(*following, *wanted):
            break
    model = placed(model, choose_device(settings.device))
    return adapt(model, list(examples.values()), how, cache=default_cache(), progress=progress), settings


def adaptation(model: Hodor, budget: str, settings: Settings, lines: int) -> tuple[AdaptSettings, Settings]:
    """How to adapt a network within a budget, and the settings to use it with.

    lines: the shorter side of the frames. Raises UsageError for another budget.
    """
    min_dim, max_dim = model.config.resolution(settings.min_dim, settings.max_dim, adapted_lines=lines)
    how = AdaptSettings(Budget.parse(budget), min_dim=min_dim, max_dim=max_dim, precision=settings.precision)
    return how, replace(settings, min_dim=min_dim, max_dim=max_dim)
