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

#: How the ways to choose given frames are drawn.
_WAYS = {
    "suggest": (J_COLOUR, "o-"),
    "uniform": ("#d1730e", "s-"),
    "random": ("#3d9a50", "v:"),
    "one-way": (SPEED_COLOUR, "^--"),
}
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


def write_given_figure(scores: Sequence[GivenScore], path: Path) -> None:
    """J&F of the frames that were not given against the number of given masks, one line for each way, as PNG."""
    require_matplotlib("the curve of `given`")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for way, (colour, style) in _WAYS.items():
        points = [(score.given, 100 * score.jf) for score in scores if score.choose == way]
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=way)
    axes.set(xlabel="given masks", ylabel="J&F of the other frames (%)", xticks=sorted({one.given for one in scores}))
    axes.grid(axis="y", color="#e6e6e6")
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    write_result(path, data.getvalue())
