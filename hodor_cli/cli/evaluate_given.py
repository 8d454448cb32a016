"""`hodor evaluate --given`: the gain from more given masks; and `--adapt`: networks adapted to given masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.evaluate_tables import percent, score_table
from hodor_cli.cli.terminal import progress_bar
from hodor_cli.errors import OutputError, UsageError, require_matplotlib
from hodor_cli.evaluation.settings import EvaluationOutput, EvaluationSettings, Start

if TYPE_CHECKING:
    from rich.console import Console

    from hodor_cli.engine.keyframes import OfflineSegmenter
    from hodor_cli.model.hodor import Hodor


def evaluate_given(
    dataset: list[Path],
    sequences: list[str] | None,
    how: tuple[str, str],
    settings: EvaluationSettings,
    output: EvaluationOutput | None,
    console: Console,
) -> str:
    """Run and print the curve over the number of given masks; returns it as JSON.

    how: the texts of --given and --choose.
    """
    from hodor_cli.evaluation.given import GivenSettings, evaluate_given, given_json, write_given
    from hodor_cli.formats.opening import open_benchmark
    from hodor_cli.weights import load_model

    given, choose = how
    try:
        counts = tuple(int(part) for part in given.split(","))
    except ValueError:
        raise UsageError(f"--given takes numbers of masks such as 1,2,3,5, not {given!r}") from None
    chosen = GivenSettings(counts, tuple(names_in(choose) or ()))  # type: ignore[arg-type]
    if len(dataset) > 1:
        raise UsageError(f"one data set at a time, not {len(dataset)}")
    if output is not None:
        require_matplotlib("the curve of `given`")
        if (output.folder / "given.json").exists() and not output.overwrite:
            raise OutputError(f"{output.folder} holds results already; choose another folder, or add `overwrite`")
    with open_benchmark(dataset[0]) as whole, progress_bar("evaluating", None) as progress:
        found = whole.select(sequences)
        console.print(found.describe())
        model = load_model(settings.weights or "")
        segmenter = settings.offline(model)
        adapt = None if settings.adapt is None else Adapting(model, settings).offline
        scores = evaluate_given(found, segmenter, chosen, adapt=adapt, progress=progress)
    table = score_table("chosen", "masks", "J&F", "J", "F")
    for score in scores:
        table.add_row(score.choose, str(score.given), *(percent(value) for value in (score.jf, score.j, score.f)))
    console.print(table)
    facts: dict[str, Any] = {"dataset": str(dataset[0]), "weights": settings.weights}
    facts |= {"min_dim": segmenter.min_dim, "adapt": settings.adapt}
    if output is not None:
        write_given(scores, facts, output.folder)
        console.print(f"Results in {output.folder}: given.json and given.png")
    return given_json(scores, facts)


class Adapting:
    """Makes segmenters whose network is adapted to given frames, as a run of `segment` with `adapt` does it."""

    def __init__(self, model: Hodor, settings: EvaluationSettings) -> None:
        from hodor_cli.run.adapting import adaptation

        self._model = model
        self._how, self._settings = adaptation(model, settings.adapt or "", settings)

    def _adapted(self, model: Hodor, examples: list[Any], checked: list[Any]) -> Hodor:
        from hodor_cli.training.adaptation import adapt, default_cache

        return adapt(model, examples, self._how, frames=checked, cache=default_cache())

    def on_start(self, segmenter: Any, start: Start) -> Any:
        """A segmenter like this one, adapted to the first masks of a sequence."""
        from hodor_cli.images.picture import read_picture
        from hodor_cli.training.adapt_settings import CHECKED_AHEAD
        from hodor_cli.training.agreement import Example

        checked = [read_picture(start.following[n - 1]) for n in CHECKED_AHEAD if n <= len(start.following)]
        adapted = self._adapted(segmenter.model, [Example.of(start.frame, start.masks)], checked)
        settings = replace(self._settings, history=segmenter.history, device=str(segmenter.device))
        return settings.segmenter(adapted)

    def offline(self, given: list[tuple[Any, Any]], checked: list[Any]) -> OfflineSegmenter:
        """A segmenter adapted to all given frames, (image, label map) each."""
        from hodor_cli.training.agreement import Example

        examples = [Example(frame, labels) for frame, labels in given]
        return self._settings.offline(self._adapted(self._model, examples, checked))


def names_in(text: str | None) -> list[str] | None:
    """The names in A,B,...; None for None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
