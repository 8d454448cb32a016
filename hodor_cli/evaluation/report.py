"""The report of an evaluation as one self-contained page, and figures of J&F (HODOR, CVPR 2022, fig. 1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from hodor_cli.errors import require_matplotlib
from hodor_cli.evaluation.failures import Failure
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.scoring import SequenceScore
from hodor_cli.files import new_file, write_result
from hodor_cli.pages import percent, render, speed
from hodor_cli.video.overlay import colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hodor_cli.evaluation.given import GivenScore

J_COLOUR, SPEED_COLOUR = "#0b62a4", "#777777"

#: The colour and line style of each way to choose given frames.
_WAYS = {
    "suggest": (J_COLOUR, "o-"),
    "uniform": ("#d1730e", "s-"),
    "random": ("#3d9a50", "v:"),
    "one-way": (SPEED_COLOUR, "^--"),
}
#: The J&F axis spans at least this many percentage points.
_LEAST_SPAN = 4.0


def history_figure(results: Sequence[EvaluationResult]) -> Figure:
    """J&F and frames/s against history length (HODOR, CVPR 2022, fig. 1). Raises UsageError without matplotlib."""
    lengths = [int(result.settings["history"]) for result in results]
    figure, axes = _empty_figure("a sweep of `history`")
    lines = axes.plot(lengths, [100 * result.jf for result in results], "o-", color=J_COLOUR, label="J&F")
    axes.set(xlabel="history length (frames)", xticks=lengths)
    axes.set_ylabel("J&F (%)", color=J_COLOUR)
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:  # tiny differences must not look like a collapse
        axes.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
    speeds = [result.frames_per_second for result in results]
    if all(speed is not None and speed == speed for speed in speeds):
        other = axes.twinx()
        lines += other.plot(lengths, speeds, "s--", color=SPEED_COLOUR, label="frames/s")  # type: ignore[arg-type]
        other.set_ylabel(f"frames/s ({str(results[0].settings.get('device', '')).split(',')[0]})", color=SPEED_COLOUR)
        other.set_ylim(0, 1.15 * max(speed for speed in speeds if speed is not None))
    axes.legend(handles=lines, loc="lower center", ncols=2, frameon=False)
    return figure


def write_given_figure(scores: Sequence[GivenScore], path: Path) -> None:
    """Plot J&F of the frames that were not given against the number of given masks, one line for each way, as PNG."""
    figure, axes = _empty_figure("the curve of `given`")
    for way, (colour, style) in _WAYS.items():
        points = [(score.given, 100 * score.means()["J&F"]) for score in scores if score.choose == way]
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=way)
    axes.set(xlabel="given masks", ylabel="J&F of the other frames (%)", xticks=sorted({one.given for one in scores}))
    axes.legend(frameon=False, loc="lower right")
    save_figure(figure, path)


def _empty_figure(what: str) -> tuple[Figure, Axes]:
    """A figure with one empty plot. Raises UsageError if matplotlib, which `what` needs, is not installed."""
    require_matplotlib(what)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y", color="#e6e6e6")
    return figure, axes


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def write_page(path: Path, result: EvaluationResult, failures: Sequence[Failure] = ()) -> None:
    """Write the page of one evaluation."""
    rows = [(score, *_over_time(score), result.timings.get(score.name)) for score in result.worst_first()]
    shown = [(failure, colour_of(failure.score.object_id)) for failure in failures]
    failed = [f"{name}: {message}" for name, message in result.failed.items()]
    title = f"Evaluation of {_short_name(result)}"
    _write(path, result, title=title, numbers=_numbers(result), rows=rows, failures=shown, failed=failed)


def write_sweep_page(path: Path, results: Sequence[EvaluationResult], figure: Figure) -> None:
    """Write the page of a history sweep."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = Markup(text.getvalue()[text.getvalue().index("<svg") :])
    title = f"History length on {_short_name(results[0])}"
    _write(path, results[0], title=title, sweep=results, figure=drawn, without=("history",))


def _write(path: Path, result: EvaluationResult, *, without: Sequence[str] = (), **values: Any) -> None:
    settings = [(name, _shown(value)) for name, value in result.settings.items() if name not in without]
    page = render("hodor_cli.evaluation", "report.html", result=result, settings=settings, **values)
    write_result(path, page.encode())


def _numbers(result: EvaluationResult) -> list[tuple[str, str]]:
    """The headline numbers: name and value."""
    if not result.sequences:
        return []
    names = ("J&F", "J", "F", "J_recall", "J_decay", "F_recall", "F_decay")
    numbers = [(name.replace("_", " "), percent(result.metric(name))) for name in names]
    numbers += [(f"J&F {group}", percent(means["J&F"])) for group, means in result.group_means().items()]
    if result.frames_per_second is not None:
        numbers.append(("frames/s, network", speed(result.frames_per_second)))
        numbers.append(("frames/s, end to end", speed(result.frames_per_second_end_to_end)))
    return numbers


def _short_name(result: EvaluationResult) -> str:
    return Path(str(result.settings.get("dataset", ""))).name or "a data set"


def _over_time(sequence: SequenceScore) -> npt.NDArray[np.float64]:
    """(2, frames): mean J and F over the objects that count in each frame."""
    frames = max((score.frames for score in sequence.objects.values()), key=len)
    positions = {frame: index for index, frame in enumerate(frames)}
    sums, counts = np.zeros((2, len(frames))), np.zeros(len(frames))
    for score in sequence.objects.values():
        where = [positions[frame] for frame in score.frames]
        sums[:, where] += np.stack([score.j_values, score.f_values])
        counts[where] += 1
    return sums / np.maximum(counts, 1)


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else "-" if value is None else str(value)
