"""Figures as files: the failure sheet and score against history length."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.evaluation.failures import Failure
from hodor_cli.inference.output import write_whole, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hodor_cli.evaluation.results import EvaluationResult

J_COLOUR, F_COLOUR, SPEED_COLOUR = "#0b62a4", "#e07b00", "#777777"
_ROWS = ("input", "truth", "prediction")


def write_failure_sheet(failures: Sequence[Failure], path: Path) -> None:
    """One PNG: per object its frames as columns (input, truth, prediction), and J over time below."""
    from matplotlib.figure import Figure

    columns = max(len(failure.frames) for failure in failures)
    figure = Figure(figsize=(2.6 * columns + 0.6, 6.0 * len(failures)), dpi=80, layout="constrained")
    blocks = figure.subfigures(len(failures), 1, squeeze=False)[:, 0]
    for block, failure in zip(blocks, failures, strict=True):
        score = failure.score
        block.suptitle(f"{failure.sequence}, object {score.object_id}: J {score.j:.3f}, F {score.f:.3f}", fontsize=11)
        grid = block.add_gridspec(4, columns, height_ratios=(1, 1, 1, 0.8))
        for column, frame in enumerate(failure.frames):
            for row, picture in enumerate(frame.pictures):
                axes = block.add_subplot(grid[row, column])
                axes.imshow(picture)
                axes.set(xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(f"frame {frame.name}, J {frame.j:.2f}", fontsize=9)
                if column == 0:
                    axes.set_ylabel(_ROWS[row], fontsize=9)
        axes = block.add_subplot(grid[3, :])
        axes.plot(score.j_values, color=J_COLOUR, linewidth=1.2)
        for frame in failure.frames:
            axes.axvline(frame.position, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set(ylim=(-0.02, 1.02), xlim=(0, max(1, len(score.frames) - 1)), ylabel="J")
        axes.set_xlabel(f"frames {score.frames[0]} to {score.frames[-1]}", fontsize=9)
        axes.tick_params(labelsize=8)
    _save(figure, path)


def write_history_figure(results: Sequence[EvaluationResult], path: Path) -> None:
    """J&F and frames/s against history length (HODOR, CVPR 2022, fig. 1) as PNG."""
    _save(history_figure(results), path)


def history_svg(results: Sequence[EvaluationResult]) -> str:
    """The same figure as an SVG element for a page."""
    text = io.StringIO()
    history_figure(results).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def history_figure(results: Sequence[EvaluationResult]) -> Figure:
    from matplotlib.figure import Figure

    lengths = [int(result.settings["history"]) for result in results]
    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    lines = axes.plot(lengths, [100 * result.jf for result in results], "o-", color=J_COLOUR, label="J&F")
    axes.set(xlabel="history length (frames)", xticks=lengths)
    axes.set_ylabel("J&F (%)", color=J_COLOUR)
    axes.grid(axis="y", color="#e6e6e6")
    speeds = [result.frames_per_second for result in results]
    if all(speed is not None and speed == speed for speed in speeds):
        other = axes.twinx()
        lines += other.plot(lengths, speeds, "s--", color=SPEED_COLOUR, label="frames/s")  # type: ignore[arg-type]
        other.set_ylabel(f"frames/s ({str(results[0].settings.get('device', '')).split(',')[0]})", color=SPEED_COLOUR)
        other.set_ylim(bottom=0)
    axes.legend(handles=lines, loc="lower center", ncols=2, frameon=False)
    return figure


def _save(figure: Figure, path: Path) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data.getvalue())
