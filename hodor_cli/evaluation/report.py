"""report.html: table, curves and failures in one file that needs nothing else, readable on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.evaluation.curves import Series, line_chart, sparkline
from hodor_cli.evaluation.failures import Failure
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.scoring import SequenceScore
from hodor_cli.files import write_result
from hodor_cli.pages import percent, render, speed
from hodor_cli.video.overlay import object_colours


def write_page(path: Path, result: EvaluationResult, failures: Sequence[Failure] = ()) -> None:
    """Write the page of one evaluation."""
    from markupsafe import Markup

    rows = [
        (score, Markup(sparkline(_over_time(score))), _frames_per_second(result, score.name))
        for score in result.worst_first()
    ]
    shown = [(failure, _colour(failure), Markup(_curve(failure))) for failure in failures]
    failed = [f"{name}: {message}" for name, message in result.failed.items()]
    title = f"Evaluation of {_short_name(result)}"
    _write(path, result, title=title, numbers=_numbers(result), rows=rows, failures=shown, failed=failed)


def write_sweep_page(path: Path, results: Sequence[EvaluationResult], figure: str) -> None:
    """Write the page of a history sweep; `figure` is an SVG element."""
    from markupsafe import Markup

    title = f"History length on {_short_name(results[0])}"
    _write(path, results[0], title=title, sweep=results, figure=Markup(figure), without=("history",))


def _write(path: Path, result: EvaluationResult, *, without: Sequence[str] = (), **values: Any) -> None:
    settings = [(name, _shown(value)) for name, value in result.settings.items() if name not in without]
    page = render("hodor_cli.evaluation", "report.html", result=result, settings=settings, **values)
    write_result(path, page.encode())


def _numbers(result: EvaluationResult) -> list[tuple[str, str]]:
    """The headline: what is measured, and its value."""
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


def _frames_per_second(result: EvaluationResult, name: str) -> float | None:
    timing = result.timings.get(name)
    return None if timing is None else timing.frames_per_second


def _colour(failure: Failure) -> tuple[int, ...]:
    return tuple(int(value) for value in object_colours(np.array([failure.score.object_id]))[0])


def _curve(failure: Failure) -> str:
    series = [Series("J", failure.score.j_values, "var(--j)")]
    return line_chart(series, failure.score.frames, [frame.position for frame in failure.frames])


def _over_time(sequence: SequenceScore) -> list[Series]:
    """Mean J and F over the objects that count in each frame."""
    frames = max((score.frames for score in sequence.objects.values()), key=len)
    positions = {frame: index for index, frame in enumerate(frames)}
    sums, counts = np.zeros((2, len(frames))), np.zeros(len(frames))
    for score in sequence.objects.values():
        where = [positions[frame] for frame in score.frames]
        sums[:, where] += np.stack([score.j_values, score.f_values])
        counts[where] += 1
    j, f = sums / np.maximum(counts, 1)
    return [Series("J", j, "var(--j)"), Series("F", f, "var(--f)")]


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else "-" if value is None else str(value)
