"""Score and speed against history length, as a figure (HODOR, CVPR 2022, fig. 1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.errors import require_matplotlib
from hodor_cli.files import write_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hodor_cli.evaluation.given import GivenScore
    from hodor_cli.evaluation.results import EvaluationResult

J_COLOUR, SPEED_COLOUR = "#0b62a4", "#777777"

#: Points of J&F that the axis shows at least.
_LEAST_SPAN = 4.0


def write_history_figure(results: Sequence[EvaluationResult], path: Path) -> None:
    """J&F and frames/s against history length (HODOR, CVPR 2022, fig. 1) as PNG."""
    _save(history_figure(results), path)


def history_svg(results: Sequence[EvaluationResult]) -> str:
    """The same figure as an SVG element for a page."""
    text = io.StringIO()
    history_figure(results).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def history_figure(results: Sequence[EvaluationResult]) -> Figure:
    """The figure itself. Raises UsageError without matplotlib."""
    require_matplotlib("a sweep of `history`")
    from matplotlib.figure import Figure

    lengths = [int(result.settings["history"]) for result in results]
    figure = Figure(figsize=(5.0, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    lines = axes.plot(lengths, [100 * result.jf for result in results], "o-", color=J_COLOUR, label="J&F")
    axes.set(xlabel="history length (frames)", xticks=lengths)
    axes.set_ylabel("J&F (%)", color=J_COLOUR)
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:  # differences of a hundredth must not look like a fall
        axes.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
    axes.grid(axis="y", color="#e6e6e6")
    speeds = [result.frames_per_second for result in results]
    if all(speed is not None and speed == speed for speed in speeds):
        other = axes.twinx()
        lines += other.plot(lengths, speeds, "s--", color=SPEED_COLOUR, label="frames/s")  # type: ignore[arg-type]
        other.set_ylabel(f"frames/s ({str(results[0].settings.get('device', '')).split(',')[0]})", color=SPEED_COLOUR)
        other.set_ylim(0, 1.15 * max(speed for speed in speeds if speed is not None))
    axes.legend(handles=lines, loc="lower center", ncols=2, frameon=False)
    return figure


def write_given_figure(scores: Sequence[GivenScore], choose: str, path: Path) -> None:
    """J&F, J and F of the frames that were not given against the number of given masks, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    counts = [score.given for score in scores]
    for name, values, style in (
        ("J&F", [100 * score.jf for score in scores], "o-"),
        ("J", [100 * score.j for score in scores], "^:"),
        ("F", [100 * score.f for score in scores], "v:"),
    ):
        axes.plot(counts, values, style, label=name, color=J_COLOUR if name == "J&F" else SPEED_COLOUR)
    axes.set(xlabel=f"given masks ({choose})", xticks=counts, ylabel="other frames (%)")
    axes.grid(axis="y", color="#e6e6e6")
    axes.legend(frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    write_result(path, data.getvalue())
