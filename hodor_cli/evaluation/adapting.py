"""Adapts a copy of the network to the masks given in an evaluation, as `segment` does with `adapt`."""

from __future__ import annotations

from collections.abc import Sequence

from hodor_cli.adaptation.adapt import adapted
from hodor_cli.adaptation.examples import Example, followed_after
from hodor_cli.adaptation.settings import Budget
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.evaluation.settings import EvaluationSettings, Start, StepSegmenter
from hodor_cli.images.picture import read_picture
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import choose_device, placed


class Adapting:
    """Makes segmenters whose network is adapted to given frames, within the budget `adapt` of the settings.

    Raises UsageError if that is not a valid budget.
    """

    def __init__(self, model: Hodor, settings: EvaluationSettings) -> None:
        self._settings, self._budget = settings, settings.adapt or ""
        Budget.parse(self._budget)
        self._model = placed(model, choose_device(settings.device))  # training runs there

    def on_start(self, _: StepSegmenter, start: Start) -> Segmenter:
        """A segmenter adapted to the first masks of a sequence."""
        after = [read_picture(start.following[n - 1]) for n in followed_after([0], len(start.following) + 1)[0]]
        example = Example.of(start.frame, start.masks, following=after)
        network, settings = adapted(self._model, [example], self._budget, self._settings)
        return settings.segmenter(network)

    def offline(self, examples: Sequence[Example]) -> OfflineSegmenter:
        """A segmenter for masks known in advance, adapted to the given frames."""
        network, settings = adapted(self._model, examples, self._budget, self._settings)
        return settings.offline(network)
